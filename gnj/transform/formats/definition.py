"""Target formats as they are given: from JSON to fields."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

from gnj.queue.errors import InvalidInput
from gnj.queue.values import check_text, shown
from gnj.transform.errors import BadFormat
from gnj.transform.formats.model import (
    FORMS,
    MAX_CHOICE,
    MAX_CHOICES,
    MAX_DEPTH,
    MAX_DESCRIPTION,
    MAX_FIELD_NAME,
    MAX_FIELDS,
    Attribute,
    Field,
    FieldType,
)
from gnj.transform.values import Value

ROOT: Final = "targetFormat"
"""Where the path of every field begins."""

_KEYS: Final = ("type", "description", "choices", "attributes", "fields")
_TYPES: Final[Mapping[str, FieldType]] = MappingProxyType({each.value: each for each in FieldType})
_ATTRIBUTES: Final[Mapping[str, Attribute]] = MappingProxyType({each.value: each for each in Attribute})


def read_fields(definition: object) -> tuple[Field, ...]:
    """The fields of a format: `{name: {"type", "description", "choices", "attributes", "fields"}}`, or a list of that alone.

    Only the type must be given. Raises `BadFormat`, naming the path of what is wrong.
    """
    fields = _fields(whole(definition), ROOT, depth=1)
    if (count := _count(fields)) > MAX_FIELDS:
        raise BadFormat(f"{ROOT} must have at most {MAX_FIELDS} fields, those of elements included, not {count:,}")
    return fields


def whole(definition: object) -> Mapping[str, object]:
    """The object that describes a format, taken out of the list that may be around it; `BadFormat` if there is none."""
    if isinstance(definition, (list, tuple)):
        if len(definition) != 1:
            raise BadFormat(f"{ROOT} must be one object of fields, or a list of one, not a list of {len(definition):,}")
        definition = definition[0]
    if not isinstance(definition, Mapping):
        raise BadFormat(f"{ROOT} must be an object of fields by their names, not {shown(definition)}")
    if not definition:
        raise BadFormat(f"{ROOT} must have at least one field")
    return definition


def _count(fields: Iterable[Field]) -> int:
    return sum(1 + _count(each.fields) for each in fields)


def _fields(definition: Mapping[str, object], path: str, *, depth: int) -> tuple[Field, ...]:
    if depth > MAX_DEPTH:
        raise BadFormat(f"{path} must not be deeper than {MAX_DEPTH} levels of fields")
    if len(definition) > MAX_FIELDS:
        raise BadFormat(f"{path} must have at most {MAX_FIELDS} fields, not {len(definition):,}")
    return tuple(_field(name, inner, path, depth) for name, inner in definition.items())


def _field(name: object, definition: object, parent: str, depth: int) -> Field:
    name = _text(name, f"the name of a field in {parent}", MAX_FIELD_NAME, empty=False)
    path = f"{parent}.{name}"
    if not isinstance(definition, Mapping):
        raise BadFormat(f'{path} must be an object such as {{"type": "string"}}, not {shown(definition)}')
    for key in definition:
        if key not in _KEYS:
            raise BadFormat(f"{path} has an unknown key {shown(key)}; a field has {', '.join(_KEYS)}")
    type = _type(definition, path)
    attributes = _attributes(definition.get("attributes", []), f"{path}.attributes", type)
    inner = _inner(definition.get("fields", {}), f"{path}.fields", type, depth)
    choices = _choices(definition.get("choices", []), f"{path}.choices")
    if inner and choices:
        raise BadFormat(f"{path} must have choices or fields, not both: elements with fields are objects")
    description = _text(definition.get("description", ""), f"{path}.description", MAX_DESCRIPTION)
    return Field(name=name, type=type, description=description, choices=choices, attributes=attributes, fields=inner)


def _type(definition: Mapping[str, object], path: str) -> FieldType:
    allowed = ", ".join(FieldType)
    if "type" not in definition:
        raise BadFormat(f"{path}.type is missing; it is one of {allowed}")
    given = definition["type"]
    found = _TYPES.get(given) if isinstance(given, str) else None
    if found is None:
        raise BadFormat(f"{path}.type must be one of {allowed}, not {shown(given)}")
    return found


def _attributes(given: object, path: str, type: FieldType) -> tuple[Attribute, ...]:
    found: dict[Attribute, None] = {}
    for place, each in enumerate(_list(given, path, "attributes", len(Attribute) * 2)):
        attribute = _ATTRIBUTES.get(each) if isinstance(each, str) else None
        if attribute is None:
            raise BadFormat(f"{path}[{place}] must be one of {', '.join(Attribute)}, not {shown(each)}")
        found[attribute] = None
    if type is FieldType.STRING and len(forms := [each for each in found if each in FORMS]) > 1:
        raise BadFormat(f"{path} must have one of {' and '.join(forms)}: no text can be written as each of them asks")
    return tuple(found)


def _inner(given: object, path: str, type: FieldType, depth: int) -> tuple[Field, ...]:
    if not isinstance(given, Mapping):
        raise BadFormat(f"{path} must be an object of fields by their names, not {shown(given)}")
    if given and type is not FieldType.ARRAY:
        raise BadFormat(f"{path} describes the elements of an array, and this field is a {type}")
    return _fields(given, path, depth=depth + 1) if given else ()


def _choices(given: object, path: str) -> tuple[Value, ...]:
    found: list[Value] = []
    for place, each in enumerate(_list(given, path, "choices", MAX_CHOICES)):
        if isinstance(each, str):
            found.append(_text(each, f"{path}[{place}]", MAX_CHOICE))
        elif isinstance(each, (bool, int, float)):
            found.append(each)
        else:
            raise BadFormat(f"{path}[{place}] must be a text, a number or a boolean, not {shown(each)}")
    return tuple(found)


def _list(given: object, path: str, what: str, most: int) -> list[object]:
    if not isinstance(given, (list, tuple)):
        raise BadFormat(f"{path} must be a list, not {shown(given)}")
    if len(given) > most:
        raise BadFormat(f"{path} must have at most {most:,} {what}, not {len(given):,}")
    return list(given)


def _text(given: object, what: str, most: int, *, empty: bool = True) -> str:
    try:
        return check_text(given, what, maximum=most, empty=empty)
    except InvalidInput as refused:
        raise BadFormat(str(refused)) from None
