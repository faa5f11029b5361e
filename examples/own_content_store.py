"""A website with a content store of its own, which gnj's content jobs import into, export from, delete in, copy and sync.

uvicorn own_content_store:app
python content_tour.py http://127.0.0.1:8000 acme
curl -s localhost:8000/acme/blog/hello

`Website` is the store. It keeps everything in dictionaries, under one lock, so that what the protocol asks for can be seen;
where it takes the lock, yours begins a transaction. `test_own_content_store.py`, beside it in your project:

    from gnj.testing import ContentStoreContract
    from own_content_store import Website

    class TestWebsite(ContentStoreContract):
        @pytest.fixture
        def store(self):
            return Website()
"""

import math
import secrets
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from own_content_operations import Version, Work, clone, delete, delete_field, equal
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from gnj import GNJ
from gnj.content import (
    Asset,
    Busy,
    CloneSite,
    CopyEnvironment,
    Delete,
    DeleteField,
    DropEnvironment,
    Entry,
    EntryFilter,
    Environment,
    Holder,
    Model,
    NewEntry,
    Operation,
    Page,
    Reindex,
    Site,
    Snapshot,
    Stale,
    Step,
    SyncEnvironment,
)
from gnj.queue.errors import Duplicate, InvalidInput, NotFound
from gnj_starlette import mount


@dataclass
class Room:
    """An environment, who writes to it, and what they have written."""

    tenant: str
    shown: Environment
    now: Version = field(default_factory=Version)
    """What readers see."""
    draft: Version | None = None
    """The version to come."""
    writer: Holder | None = None
    is_made: bool = True
    owner: int | None = None
    """The content job that makes it."""
    born: datetime = field(default_factory=lambda: datetime.now(UTC))
    pinned: dict[int, tuple[Snapshot, Version]] = field(default_factory=dict)
    """By the job that reads it: kept for as long, however often others publish meanwhile."""
    urls: dict[tuple[str, str], str] = field(default_factory=dict)
    """Ids of entries by site and slug: what is derived, for the pages of the website."""
    indexed: int = 0
    """The version that `urls` is of."""

    def kept(self) -> list[Version]:
        """Whatever somebody reads, may read or is writing."""
        return [self.now, *(version for _, version in self.pinned.values()), *([self.draft] if self.draft else [])]


class Website:
    """A `gnj.content.ContentStore`."""

    def __init__(self, page: int = 10_000) -> None:
        self.page = page
        """Rows of one step."""
        self._rooms: dict[str, Room] = {}
        self._lock = threading.RLock()

    # Reading

    def ready(self, tenant: str) -> None:
        with self._lock:
            if not any(room.shown.is_default for room in self._of(tenant)):
                self._make(tenant, "main", "Main", is_default=True)

    def environments(self, tenant: str) -> Sequence[Environment]:
        with self._lock:  # rooms are in the order in which they were made
            seen = [room.shown for room in self._of(tenant) if room.is_made]
        return sorted(seen, key=lambda each: not each.is_default)

    def environment(self, tenant: str, named: str | None) -> Environment | None:
        seen = self.environments(tenant)
        if named is None:
            return next((each for each in seen if each.is_default), None)
        by_id = (each for each in seen if each.id == named)
        return next(by_id, None) or next((each for each in seen if each.alias == named), None)

    def sites(self, tenant: str, environment_id: str | None = None) -> Sequence[Site]:
        return sorted(self._seen(tenant, environment_id).sites.values(), key=lambda each: each.alias)

    def models(self, tenant: str, environment_id: str | None = None) -> Sequence[Model]:
        return sorted(self._seen(tenant, environment_id).models.values(), key=lambda each: each.alias)

    def site(self, tenant: str, id: str) -> Site | None:
        with self._lock:
            found = (room.now.sites.get(id) for room in self._of(tenant) if room.is_made)
            return next((each for each in found if each is not None), None)

    def entries(self, tenant: str, environment_id: str, filter: EntryFilter, *, offset: int, limit: int) -> Page[Entry]:
        found = [each for each in self._room(tenant, environment_id).now.entries.values() if filter.meets(each)]
        found.sort(key=lambda each: each.id)
        found.sort(key=lambda each: each.updated_at, reverse=True)
        return Page(found[offset : offset + limit], len(found))

    def assets(self, tenant: str, environment_id: str, *, site_id: str | None, offset: int, limit: int) -> Page[Asset]:
        stored = self._room(tenant, environment_id).now.assets
        found = [stored[key] for key in sorted(stored) if site_id in (None, key[0])]
        return Page(found[offset : offset + limit], len(found))

    def asset_file(self, tenant: str, begin: str) -> str | None:
        with self._lock:
            kept = (version for room in self._of(tenant) for version in room.kept())
            keys = (each.key for version in kept for each in version.assets.values())
            return next((key for key in keys if key.startswith(begin)), None)

    def pin(self, tenant: str, environment_id: str, holder: Holder) -> Snapshot:
        with self._lock:
            room = self._room(tenant, environment_id)
            now = Snapshot(environment_id, room.shown.version), room.now
            return room.pinned.setdefault(holder.job, now)[0]

    def unpin(self, tenant: str, holder: Holder) -> None:
        with self._lock:
            for room in self._of(tenant):
                room.pinned.pop(holder.job, None)

    def scan(
        self, tenant: str, snapshot: Snapshot, filter: EntryFilter, *, after: str | None, limit: int
    ) -> Sequence[Entry]:
        with self._lock:
            kept = dict(self._room(tenant, snapshot.environment_id).pinned.values())
        if snapshot not in kept:
            raise NotFound("nobody has pinned this snapshot")
        entries = kept[snapshot].entries
        ids = sorted(id for id in entries if (after is None or id > after) and filter.meets(entries[id]))
        return [entries[id] for id in ids[:limit]]

    # Making environments

    def reserve(self, tenant: str, alias: str, name: str, owner: int | None) -> str:
        with self._lock:
            return self._make(tenant, alias, name, is_made=False, owner=owner, draft=Version())

    def own(self, tenant: str, environment_id: str, owner: int) -> None:
        with self._lock:
            room = self._room(tenant, environment_id, is_made=False)
            if room.owner != owner and (room.owner is not None or room.is_made):
                raise Stale
            room.owner = owner

    # For whoever sweeps up

    def unmade(
        self, older: timedelta, limit: int, *, after: str | None = None
    ) -> Sequence[tuple[str, str, int | None]]:
        before = datetime.now(UTC) - older
        with self._lock:
            late = sorted(id for id, room in self._rooms.items() if not room.is_made and room.born < before)
            found = [id for id in late if after is None or id > after][:limit]
            return [(self._rooms[id].tenant, id, self._rooms[id].owner) for id in found]

    def held(self, limit: int, *, after: int = 0) -> Sequence[tuple[str, Holder]]:
        latest: dict[tuple[int, str], Holder] = {}
        with self._lock:
            for room in self._rooms.values():
                for each in [*(Holder(job, 0, 0) for job in room.pinned), *([room.writer] if room.writer else [])]:
                    known = latest.setdefault((each.job, room.tenant), each)
                    latest[each.job, room.tenant] = each if known.is_before(each) else known
        return [(tenant, latest[job, tenant]) for job, tenant in sorted(latest) if job > after][:limit]

    def behind(self, limit: int, *, after: str | None = None) -> Sequence[tuple[str, str]]:
        with self._lock:
            late = [room for room in self._rooms.values() if room.is_made and room.indexed < room.shown.version]
            found = sorted((room.shown.id, room.tenant) for room in late)
        return [(tenant, id) for id, tenant in found if after is None or id > after][:limit]

    # Writing

    def open(self, tenant: str, environment_id: str, holder: Holder) -> None:
        with self._lock:
            room = self._room(tenant, environment_id)
            if room.writer is not None and room.writer.job != holder.job:
                raise Busy(room.writer)
            if room.writer is not None and holder.is_before(room.writer):
                raise Stale
            room.writer = holder
            room.draft = room.draft or room.now.copy()

    def put_entries(
        self, tenant: str, environment_id: str, holder: Holder, entries: Sequence[NewEntry]
    ) -> Sequence[str | None]:
        now = datetime.now(UTC)
        now = now.replace(microsecond=now.microsecond // 1000 * 1000)
        with self._lock:
            room, draft = self._draft(tenant, environment_id, holder)
            return [self._put_entry(room, draft, each, now) for each in entries]

    def put_assets(
        self, tenant: str, environment_id: str, holder: Holder, assets: Sequence[Asset]
    ) -> Sequence[str | None]:
        with self._lock:
            room, draft = self._draft(tenant, environment_id, holder)
            return [self._put_asset(room, draft, each) for each in assets]

    def publish(self, tenant: str, environment_id: str, holder: Holder, *, also: Sequence[str] = ()) -> None:
        with self._lock:
            rooms = [self._room(tenant, id, is_made=False) for id in {environment_id, *also}]
            left = [room for room in rooms if room.writer is not None or not room.is_made]
            # all of them first: one that is refused leaves the others as they were
            drafts = [self._draft(tenant, room.shown.id, holder) for room in left]
            for room, draft in drafts:
                room.shown = replace(room.shown, version=room.shown.version + 1)
                room.now, room.draft, room.writer, room.is_made = draft, None, None, True

    def abandon(self, tenant: str, holder: Holder, *, within: float = math.inf) -> bool:
        with self._lock:
            for room in self._of(tenant):
                if room.writer and room.writer.job == holder.job and not holder.is_before(room.writer):
                    room.draft = room.writer = None
        return True  # a draft is let go of at once: however little time there is

    # Long operations

    def step(self, tenant: str, holder: Holder, operation: Operation, cursor: Any) -> Step:
        with self._lock:
            work = self._work(tenant, holder, operation, cursor is None)
            if cursor is None:
                work.first()
            begin = cursor or 0
            part = work.rows[begin : begin + self.page]
            for row in part:
                work.deal(row)
            end = begin + len(part)
            over = end == len(work.rows)
            return Step(end, len(part), len(work.rows), over=over, notes=work.notes if over else ())

    def _work(self, tenant: str, holder: Holder, operation: Operation, begins: bool) -> Work:
        match operation:
            case Delete() | DeleteField():
                room, draft = self._draft(tenant, operation.environment_id, holder)
                if isinstance(operation, Delete):
                    return delete(operation, room.now, draft)
                return delete_field(operation, room.now, draft)
            case CloneSite():
                found = self._room_with(tenant, operation.site_id)
                if found is None:
                    raise NotFound(f"there is no site {operation.site_id!r}")
                room, draft = self._draft(tenant, found.shown.id, holder)
                if self._room_with(tenant, operation.new_id) not in (None, room) or operation.new_id in room.now.sites:
                    raise Duplicate(f"there is a site of the id {operation.new_id!r} already")
                return clone(operation, room.now, draft)
            case CopyEnvironment(base=base, environment_id=target) | SyncEnvironment(base=base, target=target):
                room, draft = self._draft(tenant, target, holder)
                if room.is_made and isinstance(operation, CopyEnvironment):
                    raise Stale
                like = self._room(tenant, base)
                if begins:
                    self.pin(tenant, base, holder)
                if holder.job not in like.pinned:
                    raise Stale
                return equal(like.pinned[holder.job][1], target, room.now, draft)
            case DropEnvironment():
                return Work(first=lambda: self._drop(tenant, operation.environment_id))
            case Reindex():
                return Work(first=lambda: self._index(tenant, operation.environment_id))

    def _drop(self, tenant: str, id: str) -> None:
        room = self._rooms.get(id)
        if room is None or room.tenant != tenant:
            return
        if room.shown.is_default:
            raise InvalidInput("the default environment cannot be deleted")
        del self._rooms[id]

    def _index(self, tenant: str, id: str) -> None:
        """For `urls`, whichever of the indexes is asked for: it is the only one."""
        room = self._room(tenant, id, is_made=False)
        entries = (room.now if room.is_made or room.draft is None else room.draft).entries.values()
        room.urls = {(each.site_id, each.slug): each.id for each in entries if each.slug}
        room.indexed = room.shown.version + (not room.is_made)

    # What these share; whoever calls them has the lock

    def _of(self, tenant: str) -> list[Room]:
        return [room for room in self._rooms.values() if room.tenant == tenant]

    def _room(self, tenant: str, id: str, *, is_made: bool = True) -> Room:
        room = self._rooms.get(id)
        if room is None or room.tenant != tenant or (is_made and not room.is_made):
            raise NotFound(f"there is no environment {id!r}")
        return room

    def _room_with(self, tenant: str, site_id: str) -> Room | None:
        """The room that has a site, seen or not: ids of sites are unique in the organisation."""
        for room in self._of(tenant):
            if site_id in room.now.sites or (room.draft is not None and site_id in room.draft.sites):
                return room
        return None

    def _seen(self, tenant: str, environment_id: str | None) -> Version:
        room = self._rooms.get(environment_id or "")
        if environment_id is None:
            room = next((each for each in self._of(tenant) if each.shown.is_default), None)
        return room.now if room is not None and room.tenant == tenant and room.is_made else Version()

    def _draft(self, tenant: str, environment_id: str, holder: Holder) -> tuple[Room, Version]:
        """What the holder may write into."""
        room = self._room(tenant, environment_id, is_made=False)
        if room.draft is None or not (room.writer == holder if room.is_made else room.owner == holder.job):
            raise Stale
        return room, room.draft

    def _make(self, tenant: str, alias: str, name: str, *, is_default: bool = False, **more: Any) -> str:
        if any(room.shown.alias == alias for room in self._of(tenant)):
            raise Duplicate(f"there is an environment {alias!r} already")
        id = f"env_{secrets.token_hex(12)}"
        shown = Environment(id=id, alias=alias, name=name, is_default=is_default, version=0)
        self._rooms[id] = Room(tenant, shown, **more)
        return id

    def _put_entry(self, room: Room, draft: Version, new: NewEntry, now: datetime) -> str | None:
        old = draft.entries.get(new.id)
        if old is not None and old.site_id != new.site_id:
            return f"the id stands in the site {old.site_id}"
        if (reason := self._put_site(room, draft, new.site_id, new.site_alias)) is not None:
            return reason
        model = draft.model(new.model_id)
        if model is None:
            alias = new.model_alias or new.model_id
            alias = new.model_id if draft.model(alias) else alias
            model = Model(id=new.model_id, environment_id=room.shown.id, alias=alias, name=alias)
        known = {each["alias"] for each in model.fields}
        fields = [*model.fields, *({"alias": name} for name in new.content if name not in known)]
        draft.models[model.id] = replace(model, fields=fields)
        draft.entries[new.id] = new.stored(model.id, old, now)
        return None

    def _put_asset(self, room: Room, draft: Version, new: Asset) -> str | None:
        reason = self._put_site(room, draft, new.site_id, None)
        if reason is None:
            old = draft.assets.get((new.site_id, new.path), new)
            draft.assets[new.site_id, new.path] = replace(new, id=old.id)
        return reason

    def _put_site(self, room: Room, draft: Version, id: str, wanted: str | None) -> str | None:
        """Has the site there; why it cannot be."""
        if self._room_with(room.tenant, id) not in (None, room):
            return f"the site {id} is in another environment"
        if id not in draft.sites:
            taken = {each.alias for each in draft.sites.values()}
            free = (alias for alias in (wanted, id, f"{id}-{secrets.token_hex(8)}") if alias and alias not in taken)
            draft.sites[id] = Site(id=id, environment_id=room.shown.id, alias=next(free), name=wanted or id)
        return None

    def page_of(self, tenant: str, site: str, slug: str) -> Entry | None:
        """What the website shows at an address: an entry of the default environment."""
        with self._lock:
            room = next((each for each in self._of(tenant) if each.shown.is_default), None)
            return None if room is None else room.now.entries.get(room.urls.get((site, slug), ""))


website = Website()
jobs = GNJ("sqlite:///website.db", content=website, files="website-files")


def show(request: Request) -> JSONResponse:
    entry = website.page_of(**request.path_params)
    if entry is None:
        return JSONResponse({"error": "there is no such page"}, status_code=404)
    return JSONResponse(dict(entry.content))


app = Starlette(routes=[Route("/{tenant}/{site}/{slug}", show)])
mount(app, jobs, faces=["content"])
