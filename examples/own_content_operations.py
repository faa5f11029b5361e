"""What an environment of `own_content_store.py` has, and what the long operations do with it."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from gnj.content import Asset, CloneSite, Delete, DeleteField, Entry, Line, Model, Site, mapped
from gnj.queue.errors import Duplicate, NotFound


@dataclass(frozen=True)
class Version:
    """What an environment has. Once it is published nobody changes it: whoever reads it reads one whole."""

    sites: dict[str, Site] = field(default_factory=dict)
    models: dict[str, Model] = field(default_factory=dict)
    entries: dict[str, Entry] = field(default_factory=dict)
    assets: dict[tuple[str, str], Asset] = field(default_factory=dict)

    def copy(self) -> "Version":
        return Version(dict(self.sites), dict(self.models), dict(self.entries), dict(self.assets))

    def model(self, named: str) -> Model | None:
        found = self.models.get(named)
        return found or next((each for each in self.models.values() if each.alias == named), None)


@dataclass
class Work:
    """An operation: what it does first, and the rows that it deals with one by one.

    Both go by what does not change while it lasts (what is published, or pinned), and write what they write wherever they
    find it written already. So each step can be done twice, and the number of rows that are done tells where to go on.
    """

    rows: Sequence[Any] = ()
    deal: Callable[[Any], None] = lambda row: None
    first: Callable[[], None] = lambda: None
    notes: Sequence[Line] = ()


def delete(operation: Delete, now: Version, draft: Version) -> Work:
    model = None if operation.model is None else now.model(operation.model)
    if operation.model is not None and model is None:
        return Work(notes=[Line("WARNING", f"there is no model {operation.model!r}: nothing is deleted")])
    if operation.site_id is not None and operation.site_id not in now.sites:
        return Work(notes=[Line("WARNING", f"there is no site {operation.site_id!r}: nothing is deleted")])

    def is_meant(entry: Entry) -> bool:
        is_there = operation.site_id in (None, entry.site_id) and (model is None or entry.model_id == model.id)
        return is_there and operation.filter.meets(entry)

    def deal(row: Any) -> None:
        if not isinstance(row, str):
            draft.assets.pop(row, None)
        elif operation.entries:
            draft.entries.pop(row, None)
        else:
            draft.entries[row] = replace(now.entries[row], labels=())

    rows: list[Any] = []
    if operation.entries or operation.labels:
        rows += sorted(id for id, each in now.entries.items() if is_meant(each) and (operation.entries or each.labels))
    # assets have no model, and nothing that a filter asks for: no delete may become wider than it reads
    if operation.assets and model is None and not operation.filter.conditions:
        rows += sorted(key for key in now.assets if operation.site_id in (None, key[0]))
    return Work(rows, deal, notes=[Line("INFORMATION", f"{len(rows):,} entries and assets were changed or deleted")])


def delete_field(operation: DeleteField, now: Version, draft: Version) -> Work:
    model, site_id, name = now.model(operation.model), operation.site_id, operation.field
    if model is None or (site_id is not None and site_id not in now.sites):
        return Work(notes=[Line("WARNING", "there is no such model or site: nothing is changed")])

    def first() -> None:
        if site_id is None:
            left = [each for each in model.fields if each["alias"] != name]
            draft.models[model.id] = replace(model, fields=left)

    def deal(id: str) -> None:
        entry = now.entries[id]
        draft.entries[id] = replace(entry, content={key: each for key, each in entry.content.items() if key != name})

    rows = sorted(
        id
        for id, each in now.entries.items()
        if each.model_id == model.id and site_id in (None, each.site_id) and name in each.content
    )
    return Work(rows, deal, first, [Line("INFORMATION", f"{len(rows):,} entries lost the field")])


def equal(base: Version, environment_id: str, now: Version, draft: Version) -> Work:
    """Makes an environment like a base. A copy is the same, into one that was empty."""
    there = {each.alias: each.id for each in now.sites.values()}
    ids: dict[str, str] = {id: there[each.alias] for id, each in base.sites.items() if each.alias in there}
    for id in base.sites.keys() - ids.keys():
        ids[id] = _digest("site", environment_id, id)
    assets = {(ids[each.site_id], each.path): each for each in base.assets.values()}

    def first() -> None:
        draft.sites.clear()
        draft.models.clear()
        here = {"environment_id": environment_id}
        draft.sites.update({ids[id]: replace(each, id=ids[id], **here) for id, each in base.sites.items()})
        draft.models.update({id: replace(each, **here) for id, each in base.models.items()})

    def deal(row: Any) -> None:
        if isinstance(row, str):
            draft.entries.pop(row, None)
            if row in base.entries:
                draft.entries[row] = _moved(base.entries[row], ids)
        else:
            draft.assets.pop(row, None)
            if row in assets:
                draft.assets[row] = replace(assets[row], site_id=row[0])

    rows: list[Any] = sorted(base.entries.keys() | now.entries.keys())
    rows += sorted(assets.keys() | now.assets.keys())
    return Work(rows, deal, first, [Line("INFORMATION", f"{len(rows):,} entries and assets were compared")])


def clone(operation: CloneSite, now: Version, draft: Version) -> Work:
    old, new = operation.site_id, operation.new_id
    if old not in now.sites:
        raise NotFound(f"there is no site {old!r}")
    if any(each.alias == operation.alias and each.id != new for each in draft.sites.values()):
        raise Duplicate(f"there is a site {operation.alias!r} already")
    entries = [each for each in now.entries.values() if each.site_id == old]
    assets = [each for each in now.assets.values() if each.site_id == old]
    # the same ones when a step is repeated
    ids = {each.id: _digest("ast", new, each.id) for each in assets}
    ids |= {each.id: _digest("ent", new, each.id) for each in entries} | {old: new}

    def first() -> None:
        called = {"alias": operation.alias, "name": operation.name, "logo": operation.logo}
        draft.sites[new] = replace(now.sites[old], id=new, **called)

    def deal(row: Entry | Asset) -> None:
        if isinstance(row, Entry):
            copied = replace(_moved(row, ids), id=_digest("ent", new, row.id))
            draft.entries[copied.id] = copied
        else:
            draft.assets[new, row.path] = replace(row, id=_digest("ast", new, row.id), site_id=new)

    rows = [*sorted(entries, key=lambda each: each.id), *sorted(assets, key=lambda each: each.path)]
    return Work(rows, deal, first, [Line("INFORMATION", f"{len(rows):,} entries and assets were copied")])


def _moved(entry: Entry, ids: Mapping[str, str]) -> Entry:
    """An entry in another site: wherever it names what has a new id, it names that."""
    content, attrs = mapped(entry.content, ids), mapped(entry.attrs, ids)
    return replace(entry, site_id=ids[entry.site_id], content=content, attrs=attrs)


def _digest(prefix: str, owner: str, id: str) -> str:
    return f"{prefix}_{hashlib.sha256(f'{owner}|{id}'.encode()).hexdigest()[:24]}"
