"""Deleting entries, assets, labels and fields."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Text, cast, func, literal, literal_column, or_, select, type_coerce
from sqlalchemy.dialects.postgresql import JSONB

from gnj.content.store import Delete, DeleteField, Holder, Step
from gnj.queue.values import Json, dump_json, load_json
from gnj.queue.working import Line
from gnj.storage.sql.columns import JSON
from gnj.storage.sql.content.base import Base
from gnj.storage.sql.content.turns import Locked, locked
from gnj.storage.sql.content.versions import (
    after,
    count,
    count_ended,
    counted,
    end_of_bytes,
    end_of_page,
    info,
    nothing,
    raw,
    rewrite,
    seen,
    standing,
    supersede,
    upto,
    warning,
)
from gnj.storage.sql.content.where import meets
from gnj.storage.sql.transaction import SqlRows

PAGE: Final = 2_000
"""Rows that a step looks at: on SQLite nobody else writes meanwhile."""
_NOUNS: Final = {
    "entries": ("entry was deleted", "entries were deleted"),
    "assets": ("asset was deleted", "assets were deleted"),
    "labels": ("entry lost its labels", "entries lost their labels"),
    "fields": ("entry lost the field", "entries lost the field"),
}


class Deleting(Base):
    """Steps of `Delete` and `DeleteField`.

    A step goes by what readers still see: so it comes to the same when it is repeated. Its cursor tells the kind of rows it is
    at, the last key it dealt with, and how many rows of each kind there were.
    """

    def delete(self, tenant: str, holder: Holder, operation: Delete, cursor: Json) -> Step:
        """One step; the first one only counts."""
        if cursor is None:
            with self.begin(write=False) as rows:
                place = locked(self, rows, tenant, operation.environment_id, holder, lock=False)
                return self._delete_begun(rows, place, operation)
        with self.begin(write=True) as rows:
            place = locked(self, rows, tenant, operation.environment_id, holder)
            model = cursor["model"]
            if cursor["kind"] == "assets":
                return self._delete_assets(rows, place, operation.site_id, cursor)
            e = self.tables.entry
            matching = [meets(self.tables, operation.filter), *self._within(operation.site_id, model)]
            end, page = self._delete_page(rows, place, cursor["after"], operation.site_id, model)
            conditions = [*page, *matching]
            if cursor["kind"] == "entries":
                supersede(rows, e, place.id, place.coming, *conditions)
            else:
                empty = self._no_labels(rows)
                labelled = [*conditions, raw(e.c.labels) != empty]
                rewrite(self, rows, e, place.id, place.coming, labelled, {"labels": empty})
            return _stepped(cursor, end, count_ended(rows, e, place.id, place.coming, *conditions))

    def delete_field(self, tenant: str, holder: Holder, operation: DeleteField, cursor: Json) -> Step:
        """One step; the first one changes the model."""
        e = self.tables.entry
        total = self._field_total(tenant, holder, operation) if cursor is None else 0
        with self.begin(write=True) as rows:
            place = locked(self, rows, tenant, operation.environment_id, holder)
            if cursor is None:
                return self._field_begun(rows, place, operation, total)
            end, page = self._delete_page(rows, place, cursor["after"], operation.site_id, cursor["model"])
            has, without = _without(rows, e.c.content, operation.field)
            conditions = [*page, *self._within(operation.site_id, cursor["model"])]
            rewrite(self, rows, e, place.id, place.coming, [*conditions, has], {"content": without})
            return _stepped(cursor, end, count_ended(rows, e, place.id, place.coming, *conditions))

    def _delete_begun(self, rows: SqlRows, place: Locked, operation: Delete) -> Step:
        model = None
        if operation.model is not None and (model := self._model_named(rows, place, operation.model)) is None:
            return nothing(warning(f"there is no model {operation.model!r}: nothing is deleted"))
        if operation.site_id is not None and not self._site_stands(rows, place, operation.site_id):
            return nothing(warning(f"there is no site {operation.site_id!r}: nothing is deleted"))
        all_assets = model is None and not operation.filter.conditions
        kinds = ["entries"] if operation.entries else ["labels"] if operation.labels else []
        notes = []
        if operation.assets and all_assets:
            kinds.append("assets")
        elif operation.assets:
            notes.append(info("assets have neither a model nor what the filter asks for: none is deleted"))
        if not kinds:
            return nothing(*notes)
        e, a = self.tables.entry, self.tables.asset
        total = 0
        if kinds[0] != "assets":
            matching = [meets(self.tables, operation.filter), *self._within(operation.site_id, model)]
            if kinds[0] == "labels":
                matching.append(raw(e.c.labels) != self._no_labels(rows))
            total += count(rows, e, seen(e, place.id, place.version), *matching)
        if "assets" in kinds:
            of_site = [] if operation.site_id is None else [a.c.site_id == operation.site_id]
            total += count(rows, a, seen(a, place.id, place.version), *of_site)
        return _first(kinds, model, total, notes)

    def _field_total(self, tenant: str, holder: Holder, operation: DeleteField) -> int:
        """How many entries there are to be changed: counted while others may write."""
        e = self.tables.entry
        with self.begin(write=False) as rows:
            place = locked(self, rows, tenant, operation.environment_id, holder, lock=False)
            model = self._model_named(rows, place, operation.model)
            if model is None:
                return 0
            has, _ = _without(rows, e.c.content, operation.field)
            return count(rows, e, seen(e, place.id, place.version), *self._within(operation.site_id, model), has)

    def _field_begun(self, rows: SqlRows, place: Locked, operation: DeleteField, total: int) -> Step:
        model = self._model_named(rows, place, operation.model)
        if model is None:
            return nothing(warning(f"there is no model {operation.model!r}: nothing is changed"))
        notes = []
        if operation.site_id is None:
            known = self._drop_field(rows, place, model, operation.field)
            if not known:
                notes.append(warning(f"the model {operation.model!r} has no field {operation.field!r}"))
        elif not self._site_stands(rows, place, operation.site_id):
            return nothing(warning(f"there is no site {operation.site_id!r}: nothing is changed"))
        return _first(["fields"], model, total, notes)

    def _drop_field(self, rows: SqlRows, place: Locked, model: str, field: str) -> bool:
        """Whether the model has, or had before this step, the field."""
        m = self.tables.model
        of_model = m.c.model_id == model
        found = rows.run(select(m.c.fields).where(standing(m, place.id), of_model)).scalar_one()
        left = [each for each in found if each.get("alias") != field]
        if len(left) < len(found):
            fields = type_coerce(literal(left, JSON), JSON)
            conditions = [of_model, raw(m.c.fields) != fields]
            rewrite(self, rows, m, place.id, place.coming, conditions, {"fields": fields})
            return True
        before = rows.run(select(m.c.fields).where(seen(m, place.id, place.version), of_model)).scalar()
        return any(each.get("alias") == field for each in before or ())

    def _delete_assets(self, rows: SqlRows, place: Locked, site_id: str | None, cursor: Json) -> Step:
        a = self.tables.asset
        key = [a.c.site_id, a.c.path]
        of_site = [] if site_id is None else [a.c.site_id == site_id]
        conditions = [*of_site, after(key, cursor["after"])]
        keys = select(*key).where(seen(a, place.id, place.version), *conditions)
        end = end_of_page(rows, keys, key, PAGE)
        page = [*conditions, upto(key, end)]
        supersede(rows, a, place.id, place.coming, *page)
        return _stepped(cursor, end, count_ended(rows, a, place.id, place.coming, *page))

    def _delete_page(
        self, rows: SqlRows, place: Locked, last: list[str] | None, site_id: str | None, model: str | None
    ) -> tuple[list[str] | None, list[ColumnElement[bool]]]:
        """The last id of the page of entries that follows `last`, and the condition that a row is on it.

        Pages are cut by what readers see, of the site, else of the model, by which there are indexes.
        """
        e = self.tables.entry
        key = [e.c.entry_id]
        within = self._within(site_id, None if site_id is not None else model)
        following = [seen(e, place.id, place.version), *within, after(key, last)]
        end = end_of_page(rows, select(*key).where(*following), key, PAGE)
        end = end_of_bytes(rows, e, following, key, end)
        return end, [after(key, last), upto(key, end)]

    def _within(self, site_id: str | None, model: str | None) -> list[ColumnElement[bool]]:
        e = self.tables.entry
        found = []
        if site_id is not None:
            found.append(e.c.site_id == site_id)
        if model is not None:
            found.append(e.c.model_id == model)
        return found

    def _site_stands(self, rows: SqlRows, place: Locked, site_id: str) -> bool:
        s = self.tables.site
        return rows.run(select(s.c.id).where(standing(s, place.id), s.c.site_id == site_id)).first() is not None

    def _model_named(self, rows: SqlRows, place: Locked, named: str) -> str | None:
        m = self.tables.model
        fits = or_(m.c.model_id == named, m.c.alias == named)
        found = rows.run(select(m.c.model_id).where(standing(m, place.id), fits)).scalars().all()
        return named if named in found else next(iter(found), None)

    def _no_labels(self, rows: SqlRows) -> ColumnElement[Any]:
        return literal_column("'[]'" if rows.dialect.name == "sqlite" else "'[]'::jsonb")


def _without(rows: SqlRows, content: Any, field: str) -> tuple[ColumnElement[bool], ColumnElement[Any]]:
    """That the content has the field, and the content without it.

    SQLite's own function takes a path, in which not every name can be spelled: there Python does it, for the rows in which
    the name occurs.
    """
    if rows.dialect.name != "sqlite":
        value, name = type_coerce(content, JSONB), cast(field, Text)
        return func.jsonb_exists(value, name), value.op("-")(name)
    driver: Any = rows.connection.connection.driver_connection
    driver.create_function("gnj_without", 2, _without_field, deterministic=True)
    as_text = type_coerce(content, Text)
    without = func.gnj_without(as_text, field, type_=Text)
    quoted = json.dumps(field, ensure_ascii=False)
    return (func.instr(as_text, quoted) > 0) & (without != as_text), without


def _without_field(text: str, field: str) -> str:
    value = load_json(text)
    if not isinstance(value, dict) or field not in value:
        return text
    del value[field]
    return dump_json(value)


def _first(kinds: Sequence[str], model: str | None, total: int, notes: Sequence[Line]) -> Step:
    cursor = {
        "kind": kinds[0],
        "then": list(kinds[1:]),
        "after": None,
        "model": model,
        "total": total,
        "done": dict.fromkeys(kinds, 0),
    }
    return Step(cursor, 0, total, over=False, notes=notes)


def _stepped(cursor: Json, end: list[str] | None, done: int) -> Step:
    """What a step over one page comes to; `end` is its last key, None if it was the last page of its kind."""
    kind, then, total = cursor["kind"], cursor["then"], cursor["total"]
    sums = {**cursor["done"], kind: cursor["done"][kind] + done}
    if end is not None:
        return Step({**cursor, "after": end, "done": sums}, done, total, over=False)
    if then:
        following = {**cursor, "kind": then[0], "then": then[1:], "after": None, "done": sums}
        return Step(following, done, total, over=False)
    notes = [info(counted(sums[each], *_NOUNS[each])) for each in sums]
    return Step({**cursor, "done": sums}, done, total, over=True, notes=notes)
