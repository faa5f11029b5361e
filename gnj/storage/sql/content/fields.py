"""The models that a batch of entries names: found, made, and given the fields that the entries have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Row, or_, select

from gnj.content.model import NewEntry
from gnj.queue.values import Json
from gnj.storage.sql.content import bounds
from gnj.storage.sql.content.base import Base
from gnj.storage.sql.content.loading import load, make_room
from gnj.storage.sql.content.turns import Locked
from gnj.storage.sql.content.versions import count
from gnj.storage.sql.schema_content import CURRENT
from gnj.storage.sql.transaction import SqlRows

_MODEL: Final = ("environment", "since", "until", "model_id", "alias", "name", "fields")


@dataclass(slots=True)
class _Model:
    """A model, as the batch will leave it."""

    id: str
    alias: str
    fields: list[Json]
    row: Row[Any] | None
    """What is stored of it; None: nothing yet."""
    known: set[str] = field(init=False)
    size: int = field(init=False)
    """Bytes of their names."""
    changed: bool = False

    def __post_init__(self) -> None:
        self.known = {each["alias"] for each in self.fields}
        self.size = sum(map(_size, self.known))
        self.changed = self.row is None


class Models:
    """The models of one batch."""

    def __init__(self, base: Base, rows: SqlRows, at: Locked, stored: Sequence[Row[Any]]) -> None:
        self._base, self._rows, self._at = base, rows, at
        self._ids: dict[str, _Model] = {}
        self._aliases: dict[str, _Model] = {}
        self._stored: int | None = None
        for row in stored:
            self._add(_Model(row.model_id, row.alias, list(row.fields), row))

    @classmethod
    def of(cls, base: Base, rows: SqlRows, at: Locked, entries: Sequence[NewEntry]) -> Models:
        """Those that the entries name, by their ids or aliases, or that have the aliases of those that are to be made."""
        table = base.tables.model
        named = {each.model_id for each in entries} | {each.model_alias for each in entries if each.model_alias}
        found = select(table).where(
            table.c.environment == at.id,
            table.c.until == CURRENT,
            or_(base.among(table.c.model_id, "named"), base.among(table.c.alias, "named")),
        )
        return cls(base, rows, at, rows.run(found, {"named": base.texts(named)}).all())

    def refuses(self, new: NewEntry) -> str | None:
        """Why an entry cannot have its model."""
        model = self._named(new.model_id)
        if model is None and not self._room():
            return f"the environment would have more than {bounds.MOST_MODELS:,} models"
        known, size = (set(), 0) if model is None else (model.known, model.size)
        more = new.content.keys() - known
        for name in more:
            if (reason := bounds.too_long({"name of a field": name}, bounds.LONGEST)) is not None:
                return reason
        if more and len(known) + len(more) > bounds.MOST_FIELDS:
            return f"the model {new.model_id} would have more than {bounds.MOST_FIELDS:,} fields"
        if more and size + sum(map(_size, more)) > bounds.FIELDS:
            return f"the names of the fields of the model {new.model_id} would have more than {bounds.FIELDS:,} bytes"
        return None

    def take(self, new: NewEntry) -> str:
        """The id of the entry's model, which is there and has the entry's fields once `write` was called."""
        model = self._named(new.model_id)
        if model is None:
            alias = new.model_alias or new.model_id
            model = _Model(new.model_id, new.model_id if alias in self._aliases else alias, [], None)
            self._add(model)
        if not model.known >= new.content.keys():
            more = [name for name in new.content if name not in model.known]
            model.fields += ({"alias": name} for name in more)
            model.known.update(more)
            model.size += sum(map(_size, more))
            model.changed = True
        return model.id

    def write(self) -> None:
        """Writes those that are new or have changed into the version to come."""
        table, at = self._base.tables.model, self._at
        changed = [model for model in self._ids.values() if model.changed]
        make_room(self._rows, at, table, [model.row for model in changed if model.row is not None])
        made = [
            (
                *(at.id, at.coming, CURRENT, model.id, model.alias),
                *(model.alias if model.row is None else model.row.name, model.fields),
            )
            for model in changed
        ]
        load(self._rows, table, _MODEL, made)

    def _room(self) -> int:
        """How many models may be made."""
        if self._stored is None:
            table = self._base.tables.model
            of = (table.c.environment == self._at.id, table.c.until == CURRENT)
            self._stored = count(self._rows, table, *of)
        made = sum(model.row is None for model in self._ids.values())
        return max(0, bounds.MOST_MODELS - self._stored - made)

    def _add(self, model: _Model) -> None:
        self._ids[model.id] = self._aliases[model.alias] = model

    def _named(self, named: str) -> _Model | None:
        return self._ids.get(named) or self._aliases.get(named)


def _size(name: str) -> int:
    return len(name.encode())
