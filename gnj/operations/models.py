"""Classes with named fields - dataclasses, and pydantic models where pydantic is there - as one thing."""

from __future__ import annotations

import dataclasses
import sys
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from gnj.queue.errors import InvalidInput


class _Unknown:
    """The value of a default that is made anew each time."""


UNKNOWN: Final = _Unknown()


@dataclass(frozen=True, slots=True)
class Part:
    """One field, or one parameter of a function."""

    name: str
    hint: Any
    has_default: bool = False
    default: Any = None
    description: str | None = None
    given: bool = True
    """Whether it is given to make an instance."""


def is_structure(hint: Any) -> bool:
    """Whether it is such a class."""
    return isinstance(hint, type) and not typing.get_args(hint) and (dataclasses.is_dataclass(hint) or _is_model(hint))


def parts_of(hint: Any, names: Mapping[str, Any]) -> list[Part]:
    """The fields of the class; `names` are looked up in besides those of its module. Raises NameError."""
    if _is_model(hint):
        if not hint.__pydantic_complete__:
            hint.model_rebuild(_types_namespace=dict(names), raise_errors=False)
        return [_of_model(name, info) for name, info in hint.model_fields.items()]
    hints = typing.get_type_hints(hint, localns=dict(names), include_extras=True)
    return [_of_dataclass(each, hints[each.name]) for each in dataclasses.fields(hint)]


def build(hint: Any, values: Mapping[str, Any]) -> Any:
    """An instance. Raises `InvalidInput` for what a pydantic model does not take; what a dataclass raises goes on."""
    if not _is_model(hint):
        return hint(**values)
    pydantic: Any = sys.modules["pydantic"]
    try:
        return hint.model_validate({_key(hint.model_fields[name], name): value for name, value in values.items()})
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(each) for each in first["loc"])
        raise InvalidInput(f"{hint.__name__}{'.' if where else ''}{where}: {first['msg']}") from None


def _is_model(hint: Any) -> bool:
    """Whether it is a pydantic model; pydantic is not imported to find out, for then it would have been."""
    pydantic: Any = sys.modules.get("pydantic")
    return pydantic is not None and isinstance(hint, type) and issubclass(hint, pydantic.BaseModel)


def _of_dataclass(field: Any, hint: Any) -> Part:
    default = UNKNOWN if field.default is dataclasses.MISSING else field.default
    has_default = field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
    return Part(field.name, hint, has_default, default if has_default else None, given=field.init)


def _of_model(name: str, info: Any) -> Part:
    has_default = not info.is_required()
    default = info.default if has_default and info.default_factory is None else UNKNOWN
    return Part(name, info.annotation, has_default, default if has_default else None, info.description)


def _key(info: Any, name: str) -> str:
    """Under which key the model takes a field."""
    alias = info.validation_alias or info.alias
    return alias if isinstance(alias, str) else name
