"""A content store and a file store in dictionaries: real enough to import into and to export from."""

from __future__ import annotations

import hashlib
import io
import math
import secrets
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, BinaryIO

from gnj.content.files import FileStore, Stored, TooLarge, UploadOver
from gnj.content.filters import EntryFilter
from gnj.content.model import Asset, Entry, Environment, Model, NewEntry, Page, Site, Snapshot
from gnj.content.store import Busy, ContentStore, Delete, DropEnvironment, Holder, Operation, Reindex, Stale, Step
from gnj.queue.errors import Duplicate, InvalidInput, NotFound


@dataclass
class State:
    """What an environment has at one version; never changed once it was published."""

    sites: dict[str, Site] = field(default_factory=dict)
    models: dict[str, Model] = field(default_factory=dict)
    entries: dict[str, Entry] = field(default_factory=dict)
    assets: dict[tuple[str, str], Asset] = field(default_factory=dict)

    def copy(self) -> State:
        return State(dict(self.sites), dict(self.models), dict(self.entries), dict(self.assets))


@dataclass
class Room:
    """An environment, with all versions that it had."""

    environment: Environment
    tenant: str
    made: bool = True
    owner: int | None = None
    born: datetime = field(default_factory=lambda: datetime.now(UTC))
    writer: Holder | None = None
    draft: State | None = None
    indexed: int = 0
    history: list[State] = field(default_factory=lambda: [State()])

    @property
    def now(self) -> State:
        return self.history[-1]


class FakeStore:
    """A `ContentStore`. It knows the operations Delete and DropEnvironment; all others are over at once, and Reindex is noted."""

    def __init__(self) -> None:
        self.rooms: dict[str, Room] = {}
        self.pins: dict[tuple[str, str, int], Snapshot] = {}
        self.steps: list[tuple[Holder, Operation, Any]] = []
        """What `step` was asked to do."""
        self._lock = threading.RLock()

    def ready(self, tenant: str) -> None:
        with self._lock:
            if not any(room.environment.is_default for room in self._of(tenant)):
                self._make(tenant, "main", "Main", is_default=True)

    def environments(self, tenant: str) -> Sequence[Environment]:
        seen = [room.environment for room in self._of(tenant) if room.made]
        return sorted(seen, key=lambda each: not each.is_default)

    def environment(self, tenant: str, named: str | None) -> Environment | None:
        for fits in ("id", "alias"):
            for each in self.environments(tenant):
                if each.is_default if named is None else getattr(each, fits) == named:
                    return each
        return None

    def sites(self, tenant: str, environment_id: str | None = None) -> Sequence[Site]:
        state = self._state(tenant, environment_id)
        return sorted(state.sites.values(), key=lambda each: each.alias)

    def models(self, tenant: str, environment_id: str | None = None) -> Sequence[Model]:
        state = self._state(tenant, environment_id)
        return sorted(state.models.values(), key=lambda each: each.alias)

    def site(self, tenant: str, id: str) -> Site | None:
        return next((found for room in self._of(tenant) if room.made and (found := room.now.sites.get(id))), None)

    def entries(self, tenant: str, environment_id: str, filter: EntryFilter, *, offset: int, limit: int) -> Page[Entry]:
        found = [each for each in self._room(tenant, environment_id).now.entries.values() if filter.meets(each)]
        found.sort(key=lambda each: (-each.updated_at.timestamp(), each.id))
        return Page(found[offset : offset + limit], len(found))

    def assets(self, tenant: str, environment_id: str, *, site_id: str | None, offset: int, limit: int) -> Page[Asset]:
        stored = self._room(tenant, environment_id).now.assets
        found = [stored[key] for key in sorted(stored) if site_id is None or key[0] == site_id]
        return Page(found[offset : offset + limit], len(found))

    def asset_file(self, tenant: str, begin: str) -> str | None:
        states = [state for room in self._of(tenant) for state in (*room.history, room.draft or State())]
        keys = (each.key for state in states for each in state.assets.values())
        return next((key for key in keys if key.startswith(begin)), None)

    def pin(self, tenant: str, environment_id: str, holder: Holder) -> Snapshot:
        version = self._room(tenant, environment_id).environment.version
        return self.pins.setdefault((tenant, environment_id, holder.job), Snapshot(environment_id, version))

    def unpin(self, tenant: str, holder: Holder) -> None:
        for key in [key for key in self.pins if (key[0], key[2]) == (tenant, holder.job)]:
            del self.pins[key]

    def scan(
        self, tenant: str, snapshot: Snapshot, filter: EntryFilter, *, after: str | None, limit: int
    ) -> Sequence[Entry]:
        state = self._room(tenant, snapshot.environment_id).history[snapshot.version]
        ids = sorted(id for id in state.entries if after is None or id > after)
        return [state.entries[id] for id in ids if filter.meets(state.entries[id])][:limit]

    def reserve(self, tenant: str, alias: str, name: str, owner: int | None) -> str:
        with self._lock:
            return self._make(tenant, alias, name, made=False, owner=owner)

    def own(self, tenant: str, environment_id: str, owner: int) -> None:
        room = self._room(tenant, environment_id)
        if room.owner not in (None, owner):
            raise Stale
        room.owner = owner

    def unmade(
        self, older: timedelta, limit: int, *, after: str | None = None
    ) -> Sequence[tuple[str, str, int | None]]:
        before = datetime.now(UTC) - older
        late = [(id, room) for id, room in sorted(self.rooms.items()) if not room.made and room.born < before]
        return [(room.tenant, id, room.owner) for id, room in late if id > (after or "")][:limit]

    def held(self, limit: int, *, after: int = 0) -> Sequence[tuple[str, Holder]]:
        found = {(tenant, job): Holder(job, 0, 0) for tenant, _, job in self.pins}
        for room in self.rooms.values():
            if (writer := room.writer) is not None:
                other = found.get((room.tenant, writer.job), writer)
                found[room.tenant, writer.job] = other if writer.is_before(other) else writer
        order = sorted(found.items(), key=lambda each: each[0][1])
        return [(tenant, holder) for (tenant, job), holder in order if job > after][:limit]

    def behind(self, limit: int, *, after: str | None = None) -> Sequence[tuple[str, str]]:
        seen = [room for _, room in sorted(self.rooms.items()) if room.made and room.indexed < room.environment.version]
        return [(room.tenant, room.environment.id) for room in seen if room.environment.id > (after or "")][:limit]

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
        with self._lock:
            room, draft = self._draft(tenant, environment_id, holder)
            return [self._put(room, draft, each) for each in entries]

    def put_assets(
        self, tenant: str, environment_id: str, holder: Holder, assets: Sequence[Asset]
    ) -> Sequence[str | None]:
        with self._lock:
            room, draft = self._draft(tenant, environment_id, holder)
            for each in assets:
                self._site(room, draft, each.site_id, None)
                old = draft.assets.get((each.site_id, each.path), each)
                draft.assets[each.site_id, each.path] = replace(each, id=old.id)
            return [None] * len(assets)

    def publish(self, tenant: str, environment_id: str, holder: Holder, *, also: Sequence[str] = ()) -> None:
        with self._lock:
            ids = dict.fromkeys((environment_id, *also))
            rooms = [self._room(tenant, id) for id in ids]
            for room in rooms:
                if not (room.made or room.owner == holder.job):
                    raise Stale
                if room.writer is not None:
                    self._draft(tenant, room.environment.id, holder)
            for room in rooms:
                room.made = True
                if room.writer is not None:
                    _, draft = self._draft(tenant, room.environment.id, holder)
                    room.history.append(draft)
                    room.environment = replace(room.environment, version=room.environment.version + 1)
                    room.writer = room.draft = None

    def abandon(self, tenant: str, holder: Holder, *, within: float = math.inf) -> bool:
        with self._lock:
            for room in self._of(tenant):
                writer = room.writer
                if writer is not None and writer.job == holder.job and not holder.is_before(writer):
                    room.writer = room.draft = None
        return True

    def step(self, tenant: str, holder: Holder, operation: Operation, cursor: Any) -> Step:
        self.steps.append((holder, operation, cursor))
        done = 0
        with self._lock:
            if isinstance(operation, DropEnvironment):
                room = self.rooms.get(operation.environment_id)
                if room is not None and room.environment.is_default:
                    raise InvalidInput("the default environment cannot be deleted")
                if room is not None and room.tenant == tenant:
                    del self.rooms[operation.environment_id]
            elif isinstance(operation, Reindex):
                room = self._room(tenant, operation.environment_id)
                room.indexed = room.environment.version
            elif isinstance(operation, Delete) and operation.entries:
                _, draft = self._draft(tenant, operation.environment_id, holder)
                models = {operation.model} | {m.id for m in draft.models.values() if m.alias == operation.model}
                gone = [
                    each.id
                    for each in draft.entries.values()
                    if operation.filter.meets(each)
                    and operation.site_id in (None, each.site_id)
                    and (operation.model is None or each.model_id in models)
                ]
                for id in gone:
                    del draft.entries[id]
                done = len(gone)
        return Step(cursor=None, done=done, total=done, over=True)

    def _make(
        self,
        tenant: str,
        alias: str,
        name: str,
        *,
        is_default: bool = False,
        made: bool = True,
        owner: int | None = None,
    ) -> str:
        if any(room.environment.alias == alias for room in self._of(tenant)):
            raise Duplicate(f"there is an environment {alias!r} already")
        id = f"env_{secrets.token_hex(12)}"
        environment = Environment(id=id, alias=alias, name=name, is_default=is_default, version=0)
        self.rooms[id] = Room(environment, tenant, made=made, owner=owner)
        return id

    def _of(self, tenant: str) -> list[Room]:
        return [room for room in self.rooms.values() if room.tenant == tenant]

    def _room(self, tenant: str, id: str) -> Room:
        room = self.rooms.get(id)
        if room is None or room.tenant != tenant:
            raise NotFound(f"there is no environment {id!r}")
        return room

    def _state(self, tenant: str, environment_id: str | None) -> State:
        found = self.environment(tenant, environment_id)
        return State() if found is None else self.rooms[found.id].now

    def _draft(self, tenant: str, environment_id: str, holder: Holder) -> tuple[Room, State]:
        room = self._room(tenant, environment_id)
        if room.writer != holder or room.draft is None:
            raise Stale
        return room, room.draft

    def _site(self, room: Room, draft: State, id: str, alias: str | None) -> None:
        site = Site(id=id, environment_id=room.environment.id, alias=alias or id, name=alias or id)
        draft.sites.setdefault(id, site)

    def _put(self, room: Room, draft: State, new: NewEntry) -> str | None:
        old = draft.entries.get(new.id)
        if old is not None and old.site_id != new.site_id:
            return f"the id stands in the site {old.site_id}"
        self._site(room, draft, new.site_id, new.site_alias)
        model = next((m for m in draft.models.values() if new.model_id in (m.id, m.alias)), None)
        if model is None:
            alias = new.model_alias or new.model_id
            model = Model(id=new.model_id, environment_id=room.environment.id, alias=alias, name=alias)
        known = {each["alias"] for each in model.fields}
        fields = [*model.fields, *({"alias": name} for name in new.content if name not in known)]
        draft.models[model.id] = replace(model, fields=fields)
        now = datetime.now(UTC).replace(microsecond=0)
        draft.entries[new.id] = new.stored(model.id, old, now)
        return None


class FakeFiles:
    """A `FileStore` in memory that takes parts itself."""

    direct = False

    def __init__(self) -> None:
        self.files: dict[tuple[str, str], bytes] = {}
        self.parts: dict[tuple[str, str], dict[int, bytes]] = {}
        """Of open uploads, by tenant and the store's own id."""

    def put(self, tenant: str, key: str, data: bytes) -> None:
        """Has a file there, for tests that need no upload."""
        self.files[tenant, key] = data

    def begin(self, tenant: str, key: str, size: int, part: int) -> str:
        backend = secrets.token_hex(8)
        self.parts[tenant, backend] = {}
        return backend

    def part_urls(self, tenant: str, key: str, backend: str, sizes: Sequence[int], seconds: float) -> Sequence[str]:
        raise AssertionError("only asked for where the store is direct")

    def part(self, tenant: str, key: str, backend: str, number: int, offset: int, size: int) -> FakeSink:
        def keep(data: bytes) -> str:
            if (tenant, backend) not in self.parts:
                raise UploadOver
            self.parts[tenant, backend][number] = data
            return hashlib.md5(data).hexdigest()

        if (tenant, backend) not in self.parts:
            raise UploadOver
        return FakeSink(size, keep)

    def complete(self, tenant: str, key: str, backend: str, sizes: Sequence[int], etags: Sequence[str]) -> Stored:
        parts = self.parts.get((tenant, backend))
        if parts is None:
            if (found := self.stat(tenant, key)) is None:
                raise NotFound
            return found
        for number, (size, etag) in enumerate(zip(sizes, etags, strict=True), 1):
            data = parts.get(number, b"")
            if len(data) != size or hashlib.md5(data).hexdigest() != etag.strip('"').lower():
                raise InvalidInput(f"part {number} is missing or another one")
        self.files[tenant, key] = b"".join(parts[number] for number in range(1, len(sizes) + 1))
        del self.parts[tenant, backend]
        return self._stored(tenant, key)

    def drop(self, tenant: str, key: str, backend: str) -> None:
        self.parts.pop((tenant, backend), None)

    def stat(self, tenant: str, key: str) -> Stored | None:
        return self._stored(tenant, key) if (tenant, key) in self.files else None

    def open(self, tenant: str, key: str) -> BinaryIO:
        if (tenant, key) not in self.files:
            raise NotFound(f"there is no file {key!r}")
        return io.BytesIO(self.files[tenant, key])

    def create(self, tenant: str, key: str) -> FakeFileSink:
        return FakeFileSink(self, tenant, key)

    def download_url(self, tenant: str, key: str, seconds: float) -> str | None:
        return None

    def remove(self, tenant: str, key: str) -> None:
        self.files.pop((tenant, key), None)

    def _stored(self, tenant: str, key: str) -> Stored:
        data = self.files[tenant, key]
        return Stored(key, len(data), hashlib.md5(data).hexdigest(), datetime(2024, 1, 1, tzinfo=UTC))


class FakeSink:
    """A `PartSink`."""

    def __init__(self, size: int, keep: Any) -> None:
        self._size, self._keep, self._data = size, keep, b""

    def write(self, chunk: bytes) -> None:
        if len(self._data) + len(chunk) > self._size:
            raise TooLarge
        self._data += chunk

    def finish(self) -> str:
        if len(self._data) < self._size:
            raise InvalidInput(f"the part has {self._size} bytes, not {len(self._data)}")
        return str(self._keep(self._data))

    def abort(self) -> None:
        self._data = b""


class FakeFileSink:
    """A `FileSink`."""

    def __init__(self, files: FakeFiles, tenant: str, key: str) -> None:
        self._files, self._tenant, self._key = files, tenant, key
        self._data: list[bytes] = []

    def write(self, data: bytes) -> None:
        self._data.append(bytes(data))

    def finish(self) -> Stored:
        self._files.put(self._tenant, self._key, b"".join(self._data))
        found = self._files.stat(self._tenant, self._key)
        assert found is not None
        return found

    def abort(self) -> None:
        self._data.clear()


_STORE: ContentStore = FakeStore()  # for type checkers, who see here that nothing of a protocol is missing
_FILES: FileStore = FakeFiles()
