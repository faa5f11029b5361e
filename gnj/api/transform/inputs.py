"""The input objects of the face, as `gnj.transform` takes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from gnj.transform.requests import FormatInput, MappingInput, SourceInput, SourceRequest, number

Input: TypeAlias = Mapping[str, Any]
"""An input object, by the names in the schema; what was not given is not there."""


def source_request(given: Input) -> SourceRequest:
    """Where records are to come from."""
    return SourceRequest(
        type=given["type"],
        name=given.get("name"),
        url=given.get("url"),
        description=given.get("description"),
        headers=given.get("sourceHeaders"),
        body=given.get("sourceBody"),
        method=given.get("sourceMethod"),
        credentials=given.get("credentials"),
    )


def source_input(given: Input) -> SourceInput:
    """A source that is to be used."""
    request = given.get("sourceRequest")
    return SourceInput(
        id=_number(given), request=None if request is None else source_request(request), data=given.get("data")
    )


def mapping_input(given: Input) -> MappingInput:
    """A mapping that is to be used."""
    return MappingInput(id=_number(given), data=given.get("data"))


def format_input(given: Input | None) -> FormatInput | None:
    """A target format that is to be used; None: the default one."""
    return None if given is None else FormatInput(id=_number(given), data=given.get("data"))


def _number(given: Input) -> int | None:
    id = given.get("id")
    return None if id is None else number(id)
