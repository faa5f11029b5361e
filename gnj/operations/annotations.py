"""Annotations as GraphQL types: the text of the types, and the values on their way in and out."""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import json
import math
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from gnj.operations.models import UNKNOWN, Part, build, is_structure, parts_of
from gnj.operations.spec import Origin, paragraph
from gnj.queue.errors import GnjError, InvalidInput, SchemaError
from gnj.queue.values import check_json, shown

_SCALARS: Final[Mapping[Any, str]] = {
    str: "String",
    int: "Int",
    float: "Float",
    bool: "Boolean",
    datetime: "Date",
}
_JSON: Final = "SequelizeJSON"
_OBJECTS: Final = (dict, collections.abc.Mapping, collections.abc.MutableMapping)
_LISTS: Final = (list, tuple, collections.abc.Sequence)
_NAME: Final = re.compile(r"(?!__)[_A-Za-z][_0-9A-Za-z]*")
_TAKEN: Final = frozenset({"true", "false", "null"})
WORKS: Final = (
    "str, int, float, bool, datetime, dict or Any (JSON), list[…], … | None, an Enum, a dataclass, a pydantic model, or, "
    "as a result, gnj's records"
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where an annotation stands, for messages."""

    origin: Origin
    field: str
    """The operation's."""
    what: str
    """Such as `the parameter type_list`."""

    def error(self, problem: str) -> SchemaError:
        """The error that says so."""
        return self.origin.error(f"{self.what} {problem}", self.field)

    def within(self, what: str) -> Place:
        """A place inside this one."""
        return Place(self.origin, self.field, f"{what}, in {self.what},")


@dataclass(frozen=True, slots=True)
class Type:
    """One annotation as GraphQL has it."""

    name: str
    """Without the mark of what is never null."""
    convert: Callable[[Any], Any]
    """From the wire to Python, or the other way. Never given null."""
    nullable: bool = False
    literal: Callable[[Any], str | None] = field(default=lambda _value: None)
    """A default of Python's as GraphQL writes it; None if it cannot."""

    @property
    def text(self) -> str:
        """As it stands in a schema."""
        return self.name if self.nullable else f"{self.name}!"

    def given(self, value: Any) -> Any:
        """A result, converted; None stays None. TypeError: it is not what the annotation says."""
        if value is None and not self.nullable:
            raise TypeError(f"{self.text} was to be given, not None")
        return None if value is None else self.convert(value)


@dataclass(slots=True)
class _Named:
    """A type that has a name, as it was defined."""

    python: Any
    origin: Origin
    text: str = ""


class Types:
    """The types that annotations need.

    Args:
        records: The records that have object types already, and their names.
    """

    def __init__(self, records: Mapping[type, str]) -> None:
        self._records = records
        self._named: dict[str, _Named] = {}
        self._inputs: dict[str, dict[str, tuple[Part, Type]]] = {}
        self.resolvers: dict[str, dict[str, Callable[..., Any]]] = {}
        """What resolves the fields of the object types: takes the source value and graphql-core's info."""

    def definitions(self) -> Mapping[str, tuple[str, Origin]]:
        """The text of each type by its name, and where it was first needed."""
        return {name: (named.text, named.origin) for name, named in self._named.items()}

    def of(self, hint: Any, place: Place, names: Mapping[str, Any], *, out: bool) -> Type:
        """The type of an annotation, of a result (`out`) or of an argument. Raises `SchemaError`."""
        hint, nullable = _optional(bare(hint), place)
        found = self._of(hint, place, names, out=out)
        return dataclasses.replace(found, nullable=nullable or found.nullable)

    def _of(self, hint: Any, place: Place, names: Mapping[str, Any], *, out: bool) -> Type:
        origin = typing.get_origin(hint) or hint
        if not _has_hash(hint):  # such as [int], or Literal[[1]]
            raise place.error(_unknown(hint))
        if hint in (Any, object):
            return Type(_JSON, _checked_json if out else _same, nullable=True, literal=_json_literal)
        if origin in _OBJECTS:
            return Type(_JSON, _checked_json if out else _object, literal=_json_literal)
        if hint in _SCALARS:
            return Type(_SCALARS[hint], _checked_scalar(hint) if out else _same, literal=_scalar_literal(hint))
        if origin in _LISTS:
            return self._list(origin, hint, place, names, out=out)
        if isinstance(hint, type) and issubclass(hint, enum.Enum):
            return self._enum(hint, place, out=out)
        if hint in self._records:
            if not out:
                raise place.error(f"is a {hint.__name__}: gnj's records are results only; take its id")
            return Type(self._records[hint], _checked_instance(hint))
        if is_structure(hint):
            return (self._object_type if out else self._input_type)(hint, place, names)
        raise place.error(_unknown(hint))

    def _list(self, origin: Any, hint: Any, place: Place, names: Mapping[str, Any], *, out: bool) -> Type:
        arguments = [each for each in typing.get_args(hint) if each is not Ellipsis]
        if len(arguments) != 1 or (origin is tuple and typing.get_args(hint)[-1] is not Ellipsis):
            raise place.error(f"has the annotation {_spelled(hint)}: say of what, as in list[str]")
        item = self.of(arguments[0], place, names, out=out)
        make = tuple if origin is tuple and not out else list

        def convert(value: Any) -> Any:
            if out and (isinstance(value, (str, Mapping)) or not isinstance(value, collections.abc.Iterable)):
                raise TypeError(f"a list was to be given, not {shown(value)}")
            return make([item.given(each) for each in value])

        def literal(value: Any) -> str | None:
            if not isinstance(value, (list, tuple)):
                return None
            texts = ["null" if each is None else item.literal(each) for each in value]
            return None if None in texts else f"[{', '.join(text for text in texts if text)}]"

        return Type(f"[{item.text}]", convert, literal=literal)

    def _enum(self, hint: type[enum.Enum], place: Place, *, out: bool) -> Type:
        name = hint.__name__
        members = {member.name: member for member in hint}
        if self._define(name, hint, place):
            if not members:
                raise place.error(f"is the Enum {name}, which has no members")
            for member in members:
                check_name(member, place, f"the member {member} of {name}")
                if member in _TAKEN:
                    raise place.error(f"is the Enum {name}: GraphQL has its own meaning for {member}")
            values = "\n".join(f"  {member}" for member in members)
            self._named[name].text = f"{described(vars(hint).get('__doc__'))}enum {name} {{\n{values}\n}}"

        checked = _checked_instance(hint)

        def given(value: Any) -> Any:
            return checked(value).name

        def literal(value: Any) -> str | None:
            return value.name if isinstance(value, hint) else None

        return Type(name, given if out else members.__getitem__, literal=literal)

    def _object_type(self, hint: type, place: Place, names: Mapping[str, Any]) -> Type:
        name = hint.__name__
        if self._define(name, hint, place):
            lines, resolvers = [], {}
            for wire, part in self._parts(hint, place, names, out=True).items():
                found = self.of(part.hint, place.within(f"the field {part.name} of {name}"), names, out=True)
                lines.append(f"{described(part.description, '  ')}  {wire}: {found.text}")
                resolvers[wire] = _reader(part.name, found)
            self.resolvers[name] = resolvers
            self._named[name].text = _block(f"type {name}", lines, _doc(hint))
        return Type(name, _checked_instance(hint))

    def _input_type(self, hint: type, place: Place, names: Mapping[str, Any]) -> Type:
        name = f"{hint.__name__}Input"
        # filled while the type is defined, which may lead back to it
        known = self._inputs.setdefault(name, {})
        if self._define(name, (hint, "input"), place):
            lines = []
            for wire, part in self._parts(hint, place, names, out=False).items():
                inside = place.within(f"the field {part.name} of {hint.__name__}")
                found = self.of(part.hint, inside, names, out=False)
                known[wire] = (part, found)
                lines.append(f"{described(part.description, '  ')}  {wire}: {argument(found, part, inside)}")
            self._named[name].text = _block(f"input {name}", lines, _doc(hint))

        def convert(value: Mapping[str, Any]) -> Any:
            return build(hint, converted(known, value))

        def literal(value: Any) -> str | None:
            if not isinstance(value, hint):
                return None
            texts = {}
            for wire, (part, found) in known.items():
                inner = getattr(value, part.name)
                texts[wire] = "null" if inner is None else found.literal(inner)
            return None if None in texts.values() else f"{{{', '.join(f'{k}: {v}' for k, v in texts.items())}}}"

        return Type(name, convert, literal=literal)

    def _parts(self, hint: type, place: Place, names: Mapping[str, Any], *, out: bool) -> dict[str, Part]:
        try:
            parts = parts_of(hint, names)
        except NameError as error:
            raise place.error(f"is a {hint.__name__}, of which an annotation cannot be found: {error}") from error
        found: dict[str, Part] = {}
        for part in parts:
            if not out and not part.given:
                continue
            wire = camel_case(part.name)
            check_name(wire, place, f"the field {part.name} of {hint.__name__}")
            if wire in found:
                raise place.error(f"is a {hint.__name__}, of which two fields would be called {wire}")
            found[wire] = part
        if not found:
            raise place.error(f"is a {hint.__name__}, which has no fields")
        return found

    def _define(self, name: str, python: Any, place: Place) -> bool:
        """Whether the type has yet to be defined. Raises `SchemaError` where another one has its name."""
        check_name(name, place, f"the type {name}")
        there = self._named.get(name)
        if there is None:
            self._named[name] = _Named(python, place.origin)
            return True
        if there.python != python:
            other = f"{there.origin.name} [{there.origin.file}:{there.origin.line}]"
            raise place.error(f"needs a type {name}, and there is a different one of that name already, for {other}")
        return False


def bare(hint: Any) -> Any:
    """An annotation without what says nothing of its type."""
    while True:
        if typing.get_origin(hint) is typing.Annotated:
            hint = typing.get_args(hint)[0]
        elif hasattr(hint, "__supertype__"):
            hint = hint.__supertype__
        elif type(hint).__name__ == "TypeAliasType":
            hint = hint.__value__
        else:
            return hint


def converted(known: Mapping[str, tuple[Part, Type]], given: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments, or the fields of an input object, by Python's names.

    Null stands for what was not given, unless the annotation allows None.
    """
    result = {}
    for wire, (part, found) in known.items():
        value = given.get(wire)
        if value is not None:
            try:
                result[part.name] = found.convert(value)
            except _Wrong as error:
                raise InvalidInput(f"{wire} {error}") from None
        elif found.nullable and (wire in given or not part.has_default):
            result[part.name] = None
    return result


def argument(found: Type, part: Part, place: Place) -> str:
    """The type of an argument or input field, with its default: one that has a default may be left out, or be null."""
    if not part.has_default:
        return found.text
    if part.default is None or part.default is UNKNOWN:
        return found.name
    text = found.literal(part.default)
    if text is None and isinstance(part.default, (str, int, enum.Enum, datetime)):
        raise place.error(f"has a default that its annotation does not allow: {shown(part.default)}")
    return found.name if text is None else f"{found.name} = {text}"


def camel_case(name: str) -> str:
    """`type_list` as `typeList`."""
    first, *rest = name.split("_") if not name.startswith("_") else [name]
    return first + "".join(word[:1].upper() + word[1:] for word in rest)


def described(text: str | None, indent: str = "") -> str:
    """A description as it stands before what it describes."""
    first = paragraph(text)
    return "" if first is None else f"{indent}{json.dumps(first, ensure_ascii=False)}\n"


class _Wrong(ValueError):
    """What was given is not of the type; the message goes after the name of the argument."""


def _same(value: Any) -> Any:
    return value


def _object(value: Any) -> Any:
    if not isinstance(value, dict):
        raise _Wrong(f"must be a JSON object, not {shown(value)}")
    return value


def _checked_json(value: Any) -> Any:
    try:
        return check_json(value, "the result")
    except GnjError as error:
        # the host's mistake, not the client's
        raise TypeError(str(error)) from error


def _checked_instance(kind: type) -> Callable[[Any], Any]:
    def checked(value: Any) -> Any:
        if not isinstance(value, kind):
            raise TypeError(f"a {kind.__name__} was to be given, not {shown(value)}")
        return value

    return checked


def _checked_scalar(kind: Any) -> Callable[[Any], Any]:
    """Refuses what GraphQL would refuse as well, but after the commit."""
    kinds = (int, float) if kind is float else kind

    def checked(value: Any) -> Any:
        if not isinstance(value, kinds) or not _fits(kind, value):
            raise TypeError(f"{_SCALARS[kind]} was to be given, not {shown(value)}")
        return value

    return checked


def _fits(kind: Any, value: float) -> bool:
    """Whether GraphQL has that number."""
    if kind is int:
        return -(2**31) <= value < 2**31
    return kind is not float or math.isfinite(value)


def _has_hash(hint: Any) -> bool:
    try:
        hash(hint)
    except TypeError:
        return False
    return True


def _unknown(hint: Any) -> str:
    return f"has the annotation {_spelled(hint)}; what works is {WORKS}"


def _optional(hint: Any, place: Place) -> tuple[Any, bool]:
    if typing.get_origin(hint) not in (typing.Union, types.UnionType):
        return hint, False
    others = [each for each in typing.get_args(hint) if each is not types.NoneType]
    if len(others) != 1:
        raise place.error(f"has the annotation {_spelled(hint)}; of several types GraphQL takes none: {WORKS}")
    return bare(others[0]), len(others) < len(typing.get_args(hint))


def _reader(name: str, found: Type) -> Callable[..., Any]:
    def resolve(source: Any, _info: Any) -> Any:
        return found.given(getattr(source, name))

    return resolve


def check_name(name: str, place: Place, what: str) -> None:
    """Raises `SchemaError` where GraphQL does not take a name."""
    if not _NAME.fullmatch(name):
        raise place.error(f"has a name that GraphQL does not take: {what}")


def _doc(hint: type) -> str | None:
    """The docstring that somebody wrote: a dataclass without one makes its own."""
    text = vars(hint).get("__doc__")
    return None if text is None or text.startswith(f"{hint.__name__}(") else text


def _block(head: str, lines: Sequence[str], description: str | None) -> str:
    return "\n".join([f"{described(description)}{head} {{", *lines, "}"])


def _spelled(hint: Any) -> str:
    return getattr(hint, "__name__", str(hint)) if isinstance(hint, type) and not typing.get_args(hint) else str(hint)


def _scalar_literal(hint: Any) -> Callable[[Any], str | None]:
    def literal(value: Any) -> str | None:
        if hint is float and type(value) is int:
            value = float(value)
        if type(value) is not hint or not _fits(hint, value):
            return None
        if hint is datetime:
            return json.dumps(value.astimezone(UTC).isoformat()) if value.tzinfo else None
        return json.dumps(value, ensure_ascii=False)

    return literal


def _json_literal(value: Any) -> str | None:
    match value:
        case None | bool() | int() | float() | str():
            return (
                None if isinstance(value, float) and not math.isfinite(value) else json.dumps(value, ensure_ascii=False)
            )
        case list():
            items = [_json_literal(item) for item in value]
            return None if None in items else f"[{', '.join(item for item in items if item)}]"
        case dict():
            if not all(isinstance(key, str) and _NAME.fullmatch(key) for key in value):
                return None
            texts = {key: _json_literal(item) for key, item in value.items()}
            return None if None in texts.values() else f"{{{', '.join(f'{k}: {v}' for k, v in texts.items())}}}"
        case _:
            return None
