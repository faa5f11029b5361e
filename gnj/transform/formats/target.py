"""Target formats: what each record of a transformation job has to look like in the end."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias, cast

from gnj.queue.errors import InvalidInput
from gnj.queue.values import MAX_INT64, shown
from gnj.transform.errors import BadFormat, RecordRejected
from gnj.transform.formats.conversion import (
    MAX_REASONS,
    Converter,
    Step,
    arrays,
    booleans,
    chosen,
    chosen_element,
    described,
    is_missing,
    numbers,
    strings,
    text_of,
)
from gnj.transform.formats.definition import ROOT, read_fields, whole
from gnj.transform.formats.faults import Fault
from gnj.transform.formats.figures import MIN_INT64, positive, rounded_down, to_number, two_decimals
from gnj.transform.formats.forms import form
from gnj.transform.formats.model import FORMS, HANDLED, Attribute, Field, FieldType
from gnj.transform.values import Value
from gnj.transform.writing import capitalized

Handler: TypeAlias = Callable[[Value], Value]
"""Carries out an attribute that gnj only keeps: given a field's value, gives what the record has instead. `ValueError`
rejects the record with the error's text; any other error is the run's."""

MAX_KEY: Final = 200
"""Characters of a record's key."""
_LONGEST_REFUSAL: Final = 300
_WRITTEN: Final = FORMS | {Attribute.CAPITALIZED}
_PLAIN_KINDS: Final[Mapping[FieldType, type]] = {
    FieldType.STRING: str,
    FieldType.BOOLEAN: bool,
    FieldType.ARRAY: list,
}
_any_to_string: Final = strings((), None)
_any_to_number: Final = numbers((), None)
_MAKERS: Final = {FieldType.STRING: strings, FieldType.NUMBER: numbers, FieldType.BOOLEAN: booleans}
_ROUNDINGS: Final[Mapping[Attribute, Step]] = {
    Attribute.WHOLE_NUMBER: rounded_down,
    Attribute.DECIMAL_NUMBER: two_decimals,
    Attribute.POSITIVE_NUMBER: positive,
}


def compile_format(
    definition: object, *, region: str = "US", handlers: Mapping[str, Handler] | None = None
) -> TargetFormat:
    """A target format out of its JSON: an object of fields by their names, or a list of that alone.

    Compile once, convert often: it imports the libraries that the format's attributes need, and keeps what they converted.

    Args:
        definition: As given (section "Target formats" of the transformation jobs contract).
        region: The country, two letters, of phone numbers that do not tell theirs.
        handlers: What the host does for `indexProductID`, `embedText` and `embedImage`, by these names.

    Raises:
        BadFormat: The definition is not what it has to be; the message names the field and what would be right.
        InvalidInput: There is no such region, and phone numbers are asked for; or there is no such attribute to handle.
    """
    given = {} if handlers is None else dict(handlers)
    if unknown := set(given).difference(HANDLED):
        raise InvalidInput(f"handlers must be of {', '.join(HANDLED)}, not of {shown(min(unknown))}")
    fields = read_fields(definition)
    wire = cast("dict[str, Any]", copy.deepcopy(dict(whole(definition))))
    return TargetFormat(fields, wire, _Shape(fields, ROOT, _Compiler(region, given), top=True))


class TargetFormat:
    """The fields that records get, and how values become theirs. Threads may share it.

    Args:
        fields: What `compile_format` read.
        wire: The JSON object that it read.
        shape: What it made of the fields.
    """

    __slots__ = ("_encode", "_shape", "_wire", "fields", "primary")

    def __init__(self, fields: tuple[Field, ...], wire: dict[str, Any], shape: _Shape) -> None:
        self.fields = fields
        self.primary = tuple(each.name for each in fields if _is_primary(each))
        self._wire = wire
        self._shape = shape
        self._encode = json.JSONEncoder(separators=(",", ":"), sort_keys=True).encode

    def convert(self, mapped: Mapping[str, Value]) -> dict[str, Value]:
        """A record of this format: every field of it, and no other, in its order.

        Lists that need no conversion are those of `mapped`, not copies. Raises `RecordRejected` with a sentence for each field
        at fault, or for the first 100 of them.
        """
        try:
            return self._shape.convert(mapped)
        except Fault as fault:
            parts = fault.parts
        reasons = [f"{place} {sentence}" for place, sentence in parts[:MAX_REASONS]]
        if len(parts) > MAX_REASONS:
            reasons.append("and other fields are at fault")
        raise RecordRejected(reasons)

    def key(self, converted: Mapping[str, Value]) -> str | None:
        """The key of a record that `convert` gave, by its primary fields; None in a format without any.

        The same values give the same key, other values another one: it is the JSON list of them, in ASCII, or if that is longer
        than 200 characters its SHA-256 after `sha256:`. A whole number has one key, be it 1 or 1.0.
        """
        if not self.primary:
            return None
        text = self._encode([_canonical(converted[name]) for name in self.primary])
        return text if len(text) <= MAX_KEY else f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"

    def wire(self) -> dict[str, Any]:
        """The JSON object it was made from, without the list that may have been around it."""
        return copy.deepcopy(self._wire)


class _Shape:
    """The fields of one object, ready to convert.

    Values that are as their fields want them cost no call: strings and numbers of which nothing is asked are looked at where they
    are, and so are booleans and arrays. It makes 2.5 µs of 3.6 for a record of 20 such fields.
    """

    __slots__ = ("_empty", "_handled", "_others", "_plain_numbers", "_plain_strings")

    def __init__(self, fields: Sequence[Field], path: str, compiler: _Compiler, *, top: bool) -> None:
        plain = [each for each in fields if not (each.choices or each.fields or each.attributes)]
        self._plain_strings = tuple(each.name for each in plain if each.type is FieldType.STRING)
        self._plain_numbers = tuple(each.name for each in plain if each.type is FieldType.NUMBER)
        apart = {*self._plain_strings, *self._plain_numbers}
        self._others = tuple(
            (each.name, compiler.kind(each), compiler.converter(each, f"{path}.{each.name}", top=top))
            for each in fields
            if each.name not in apart
        )
        # The others' values are put in their places.
        self._empty: dict[str, Value] = dict.fromkeys(each.name for each in fields)
        self._empty |= dict.fromkeys(self._plain_strings, "") | dict.fromkeys(self._plain_numbers, 0)
        self._handled = tuple(
            (each.name, compiler.handlers[attribute])
            for each in fields
            for attribute in HANDLED
            if attribute in each.attributes and attribute in compiler.handlers
        )

    def convert(self, mapped: Mapping[str, Value]) -> dict[str, Value]:
        """The object's fields; `Fault` with a part for each that is at fault."""
        get = mapped.get
        out = self._empty.copy()
        faults: dict[str, Fault] | None = None
        name = ""
        strings, numbers, others = iter(self._plain_strings), iter(self._plain_numbers), iter(self._others)
        while True:
            try:
                for name in strings:
                    value = get(name)
                    if type(value) is str:
                        out[name] = value
                    elif value is not None:
                        out[name] = _any_to_string(value)
                for name in numbers:
                    value = get(name)
                    # A float minus itself is 0 unless it is infinite or NaN.
                    if (type(value) is float and value - value == 0.0) or (
                        type(value) is int and MIN_INT64 <= value <= MAX_INT64
                    ):
                        out[name] = value
                    elif value is not None:
                        out[name] = to_number(value) if type(value) is str and value else _any_to_number(value)
                for name, kind, convert in others:
                    value = get(name)
                    out[name] = value if type(value) is kind and value else convert(value)
                break
            except Fault as fault:
                # The iterator stands behind the field at fault.
                faults = faults or {}
                faults[name] = fault
        if faults:
            parts = ((f"{each}{at}", text) for each in out if each in faults for at, text in faults[each].parts)
            raise Fault("must have other fields", parts)
        for name, handler in self._handled:
            if not is_missing(get(name)):
                out[name] = _handled(name, handler, out[name])
        return out

    def element(self, value: Value) -> dict[str, Value]:
        """The object's fields, for an element of an array."""
        if not isinstance(value, Mapping):
            raise Fault(f"must be an object, not {described(value)}")
        try:
            return self.convert(value)
        except Fault as fault:
            raise Fault(str(fault), ((f".{place}", sentence) for place, sentence in fault.parts)) from None


class _Compiler:
    """Makes converters of fields."""

    def __init__(self, region: str, handlers: Mapping[str, Handler]) -> None:
        self.handlers = handlers
        self._region = region

    def kind(self, field: Field) -> type | None:
        """The type of values that the field takes as they are, unless they are empty; None if it takes none unseen."""
        written = field.type is FieldType.STRING and not _WRITTEN.isdisjoint(field.attributes)
        return None if written or field.choices or field.fields else _PLAIN_KINDS.get(field.type)

    def converter(self, field: Field, path: str, *, top: bool) -> Converter:
        """Of one field; `BadFormat` if it would not take one of its own choices."""
        needed = None
        if Attribute.REQUIRED in field.attributes:
            needed = "is required and has no value"
        if top and _is_primary(field):
            needed = "is primary and has no value"
        if field.type is FieldType.ARRAY:
            return arrays(self._element(field, path), needed)
        steps, make = self._steps(field), _MAKERS[field.type]
        if field.choices:
            steps.append(chosen(_as_converted(field, make(tuple(steps), "must have a value"), path)))
        return make(tuple(steps), needed)

    def _element(self, field: Field, path: str) -> Step | None:
        if field.fields:
            return _Shape(field.fields, path, self, top=False).element
        return chosen_element(_as_converted(field, text_of, path)) if field.choices else None

    def _steps(self, field: Field) -> list[Step]:
        """What is done to values of the field's type, in the order of `Attribute`."""
        asked = [each for each in Attribute if each in field.attributes]
        if field.type is FieldType.STRING:
            words: list[Step] = [capitalized] if Attribute.CAPITALIZED in asked else []
            return words + [form(each, self._region) for each in asked if each in FORMS]
        if field.type is FieldType.NUMBER:
            return [_ROUNDINGS[each] for each in asked if each in _ROUNDINGS]
        return []


def _is_primary(field: Field) -> bool:
    return Attribute.PRIMARY in field.attributes and field.type is not FieldType.ARRAY


def _as_converted(field: Field, convert: Converter, path: str) -> list[Any]:
    """A field's choices as its values are written, so that `usd` as a choice of currencies is `USD`."""
    out = []
    for place, each in enumerate(field.choices):
        if each == "" and field.type is FieldType.STRING:
            # A missing value, which needs no choice.
            continue
        try:
            out.append(convert(each))
        except Fault as fault:
            raise BadFormat(f"{path}.choices[{place}] {fault}") from None
    return out


def _handled(name: str, handler: Handler, value: Value) -> Value:
    try:
        return handler(value)
    except ValueError as refused:
        raise Fault("", [(name, f"cannot be handled: {str(refused)[:_LONGEST_REFUSAL]}")]) from None


def _canonical(value: Value) -> Value:
    return int(value) if isinstance(value, float) and value.is_integer() else value
