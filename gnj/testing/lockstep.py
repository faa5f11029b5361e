"""Two queues that are given the same commands, and whose rows and answers are compared although their ids may differ."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final

from gnj.queue.catalog import RECORDS
from gnj.queue.errors import GnjError
from gnj.queue.model import Batch, Job, Kind, Pipeline, Record, attributes
from gnj.queue.service import Queue
from gnj.queue.storage import Select
from gnj.queue.values import same_json

REFERENCES: Final[Mapping[str, type[Record]]] = {
    "retry_of": Job,
    "replaced_by": Job,
    "job_id": Job,
    "batch_id": Batch,
    "pipeline_id": Pipeline,
}
"""Attributes that name rows of other tables."""


@dataclass
class Side:
    """One of the two queues, and the model's names for its ids (a rolled-back insert may use ids up, or not)."""

    queue: Queue
    theirs: dict[type[Record], dict[int, int]] = field(default_factory=lambda: {kind: {} for kind in RECORDS.values()})
    """The side's id for each of the model's."""
    ours: dict[type[Record], dict[int, int]] = field(default_factory=lambda: {kind: {} for kind in RECORDS.values()})
    """The model's id for each of the side's."""
    apart: bool = False
    """Whether the two sides name a row differently."""

    def id(self, kind: type[Record], id: int) -> int:
        """The side's name for a row of the model's."""
        return self.theirs[kind].get(id, id)

    def values(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Attribute values, the references among them in the side's names."""
        return {
            name: self.id(kind, value) if (kind := REFERENCES.get(name)) and value is not None else value
            for name, value in values.items()
        }

    def rows(self) -> dict[type[Record], list[Any]]:
        """Every row of every table by id, the deleted ones too."""
        with self.queue.storage.begin(write=False) as tx:
            return {kind: tx.find(kind, Select(deleted=True)) for kind in RECORDS.values()}

    def plain(self, answer: Any) -> Any:
        """An answer as it is compared: records as dicts in the model's names, errors as their type and text."""
        if isinstance(answer, Record):
            return {f.name: self._plain(type(answer), f.name, getattr(answer, f.name)) for f in fields(answer)}
        if isinstance(answer, GnjError):
            # the ids in a text are the side's own
            return type(answer).__name__, re.sub(r"\d+", "#", str(answer)) if self.apart else str(answer)
        if isinstance(answer, list):
            return [self.plain(item) for item in answer]
        return answer

    def _plain(self, record: type[Record], name: str, value: Any) -> Any:
        if name == "position" and value < 0:  # of one that comes first: its id, or that of the one it was retried from
            return -self.ours[Job].get(-value, -value)
        kind = record if name == "id" else REFERENCES.get(name)
        if kind is None or value is None:
            return _Json(value) if attributes(record)[name].kind is Kind.JSON else value
        return self.ours[kind].get(value, value)


@dataclass(frozen=True, eq=False)
class _Json:
    value: Any

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Json) and same_json(self.value, other.value)

    __hash__ = None  # type: ignore[assignment]
