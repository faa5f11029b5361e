"""Registrations of push workers, and which server holds them.

A registration is an endpoint that is called for each job of a queue. It stands in the table, whoever serves; the server that
*holds* it calls. A hold lasts seconds unless it is renewed, by the clock of the database, so that another server goes on when
its holder is lost.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from gnj.queue.clock import NOW, After
from gnj.queue.errors import Conflict, InvalidInput, NotFound
from gnj.queue.limits import KEEP, Rate, parse_rate
from gnj.queue.model import PushWorker, QueueLimit
from gnj.queue.options import check_queue, kept
from gnj.queue.runner import Runner
from gnj.queue.storage import Rows, Select
from gnj.queue.unit import Unit
from gnj.queue.values import Json, check_json, check_text, check_word, shown
from gnj.queue.where import equal

METHODS: Final = ("POST", "PUT", "PATCH")
DEFAULT_TIMEOUT: Final = 3_000
MAX_TIMEOUT: Final = 600_000
"""Milliseconds."""
MAX_CONCURRENCY: Final = 100
MAX_URL: Final = 2_000
MAX_HEADERS: Final = 50
MAX_HEADER: Final = 4_096
MAX_SECRET: Final = 256
MIN_SECRET: Final = 16
MAX_COUNT: Final = 2**31 - 1
MOST_FAILED: Final = 50
"""Deliveries that fail in a row until the endpoint is not called any more (security.md, Webhooks)."""
MOST: Final = 200
"""Registrations of a tenant: each has threads of its own in the server that holds it."""

_ASTRAY: Final = 1.0
"""Seconds that a clock may go back unnoticed."""
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
_VALUE: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_OURS: Final = frozenset(
    "accept-encoding connection content-length expect host keep-alive proxy-authorization proxy-connection te trailer "
    "transfer-encoding upgrade".split()
)
"""Headers that are about the connection or the message itself."""


@dataclass(frozen=True, slots=True)
class Standing:
    """The registrations of all tenants, as one server sees them.

    Args:
        registrations: All of them.
        held: The ids of those that it holds.
        free: The ids of those that nobody holds.
    """

    registrations: Sequence[PushWorker]
    held: frozenset[int]
    free: frozenset[int]


class Pushing(Runner):
    """The commands about registrations. Whether an endpoint may be called is not asked here."""

    def register(self, values: Json, *, tenant: str) -> PushWorker:
        """Stores a registration, checked, in the place of the one that the queue has: all of it or nothing.

        `values` are `{queue, endpoint: {url, method, headers, timeout}, opts, secret}`. Without a secret that of the replaced
        registration stays; where there is none, one is made. Raises `InvalidInput`, naming the field.
        """
        return self.store_registration(*checked(values), tenant=tenant)

    def store_registration(self, row: Mapping[str, Any], rate: Rate | None, *, tenant: str) -> PushWorker:
        """`register`, for what `checked` gave."""

        def whole() -> PushWorker:
            with self.transaction() as (inner, rows):
                stored: PushWorker = inner.run(lambda unit: _store(unit, tenant, row))
                _limit(inner, rows, stored.type, tenant, rate)
            return stored

        return self.again(whole)

    def unregister(self, queue: str, *, tenant: str) -> None:
        """Deletes the registration of a queue. Raises `NotFound`."""

        def whole() -> None:
            with self.transaction() as (inner, rows):
                inner.run(lambda unit: _remove(unit, tenant, queue))
                _limit(inner, rows, queue, tenant, None)

        self.again(whole)

    def registrations(self, tenant: str | None) -> list[PushWorker]:
        """The registrations of a tenant, or of all, by their queues."""
        return self.storage.find(PushWorker, Select(order=(("type", False), ("id", False))), tenant=tenant)

    def standing(self, holder: str, seconds: float) -> Standing:
        """How all registrations stand for a server, that holds some of them for so many seconds at a time."""
        with self.storage.begin(write=False) as tx:
            rows = tx.find(PushWorker)
            now = tx.now() if rows else None
        held, free = set(), set()
        for row in rows:
            assert now is not None  # noqa: S101 - there are rows
            if not _is_held(row, now, seconds):
                free.add(row.id)
            elif row.holder == holder:
                held.add(row.id)
        return Standing(rows, frozenset(held), frozenset(free))

    def take_holds(self, ids: Iterable[int], holder: str, seconds: float) -> frozenset[int]:
        """Makes `holder` the one who runs these registrations, for so long, or lets it stay so; of which it is now.

        Of the others somebody else is, or they are gone.
        """

        def command(unit: Unit) -> frozenset[int]:
            mine = []
            for id in sorted(set(ids)):
                row = unit.tx.get(PushWorker, id, lock=True)
                if row is not None and (row.holder == holder or not _is_held(row, unit.tx.now(), seconds)):
                    mine.append(id)
            unit.tx.edit(PushWorker, mine, {"holder": holder, "held_until": After(seconds)})
            return frozenset(mine)

        return self.run(command)

    def let_go(self, holder: str, ids: Collection[int] | None = None) -> None:
        """Gives up the registrations that `holder` runs: these, or all of them."""

        def command(unit: Unit) -> None:
            found = unit.tx.find(PushWorker, Select(equal(PushWorker, holder=holder)))
            held = [row.id for row in found if ids is None or row.id in ids]
            mine = [id for id in held if (row := unit.tx.get(PushWorker, id, lock=True)) and row.holder == holder]
            unit.tx.edit(PushWorker, mine, {"holder": None, "held_until": None})

        self.run(command)

    def note_failures(self, id: int, version: int, failed: int) -> None:
        """Keeps how many deliveries of a registration failed in a row; from `MOST_FAILED` on the endpoint is not called any more.

        Nothing happens to a registration that was made anew meanwhile.
        """

        def command(unit: Unit) -> None:
            row = unit.tx.get(PushWorker, id, lock=True)
            if row is None or row.version != version or row.disabled_at is not None:
                return
            changes: dict[str, Any] = {"failed": failed}
            if failed >= MOST_FAILED:
                changes |= {"disabled_at": NOW, "holder": None, "held_until": None}
            unit.tx.edit(PushWorker, [id], changes)

        self.run(command)


def checked(values: Json) -> tuple[dict[str, Any], Rate | None]:
    """The row of a registration, and the rate it asks for. Raises `InvalidInput`, naming the field.

    Of the URL only the size is checked: what it says, and where it leads, is `gnj.fetch`'s matter.
    """
    given = _object(values, "Body", {"queue", "endpoint", "opts", "secret"}, "", required=("queue", "endpoint"))
    endpoint = _object(
        given["endpoint"],
        "endpoint",
        {"url", "method", "headers", "timeout"},
        "",
        required=("url", "method"),
    )
    options, rate = _options(given.get("opts"))
    row: dict[str, Any] = {
        "type": check_queue(check_word(given["queue"], "queue")),
        "url": check_text(endpoint["url"], "url", maximum=MAX_URL),
        "method": _method(endpoint["method"]),
        "headers": _headers(endpoint.get("headers")),
        "timeout_ms": _integer(endpoint, "timeout", "timeout", 1, MAX_TIMEOUT, DEFAULT_TIMEOUT),
        "options": check_json(options, "opts"),
    }
    if given.get("secret") is not None:
        row["secret"] = _secret(given["secret"])
    return row, rate


def _store(unit: Unit, tenant: str, row: Mapping[str, Any]) -> PushWorker:
    found = unit.tx.find(PushWorker, Select(equal(PushWorker, type=row["type"])), tenant=tenant)
    if not found:
        if unit.tx.count(PushWorker, tenant=tenant) >= MOST:
            raise InvalidInput(f"at most {MOST} queues can have a push worker: delete another one first")
        new = {**row, "tenant": tenant, "secret": row.get("secret") or secrets.token_hex(32)}
        found = unit.tx.insert(PushWorker, [new])
        if found[0].secret == new["secret"] and all(getattr(found[0], name) == value for name, value in row.items()):
            return found[0]
    before = unit.tx.get(PushWorker, found[0].id, lock=True)
    if before is None:
        raise Conflict("the registration was deleted at the same moment")
    changes = {**row, "version": before.version + 1, "failed": 0, "disabled_at": None}
    return unit.tx.edit(PushWorker, [before.id], changes)[0]


def _remove(unit: Unit, tenant: str, queue: str) -> None:
    found = unit.tx.find(PushWorker, Select(equal(PushWorker, type=queue)), tenant=tenant)
    if not unit.tx.edit(PushWorker, [row.id for row in found], {"deleted_at": NOW}):
        raise NotFound("Worker not found")


def _limit(queue: Any, rows: Rows, type: str, tenant: str, rate: Rate | None) -> None:
    """Gives the queue the rate that its push worker asks for, or takes it away."""
    if rate is None:
        limits = rows.find(QueueLimit, Select(equal(QueueLimit, type=type)), tenant=tenant)
        if all(limit.worker_max is None for limit in limits):
            return
    queue.set_limits(type, KEEP, tenant=tenant, worker=rate)


def _is_held(row: PushWorker, now: datetime, seconds: float) -> bool:
    """Whether somebody holds it. Nobody does for longer than it can be: then the clock was put back."""
    if row.holder is None or row.held_until is None:
        return False
    return 0.0 < (row.held_until - now).total_seconds() <= seconds + _ASTRAY


def _object(
    value: Json, what: str, known: Collection[str], path: str, *, required: Collection[str] = ()
) -> dict[str, Json]:
    if not isinstance(value, dict):
        raise InvalidInput(f"{what} must be an object")
    for name in required:
        if value.get(name) in (None, ""):
            raise InvalidInput(f"{name} is required")
    for name in value:
        if name not in known:
            raise InvalidInput(f"Invalid field: {path}{shown(name)[1:-1]}")
    return value


def _integer(given: Mapping[str, Json], name: str, path: str, low: int, high: int, default: int | None = None) -> Any:
    value = given.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InvalidInput(f"Invalid {path}: it must be an integer from {low:,} to {high:,}, not {shown(value)}")
    return value


def _method(value: Json) -> str:
    method = value.upper() if isinstance(value, str) else None
    if method not in METHODS:
        raise InvalidInput(f"Invalid HTTP method {shown(value)}: it must be {', '.join(METHODS)}")
    return method


def _headers(value: Json) -> dict[str, str] | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise InvalidInput("headers must be an object")
    if len(value) > MAX_HEADERS:
        raise InvalidInput(f"headers must be at most {MAX_HEADERS}, not {len(value)}")
    seen = set()
    for name, text in value.items():
        lower = name.lower()
        if not _TOKEN.fullmatch(name):
            raise InvalidInput(f"headers: {shown(name)} is no name of a header")
        if lower in _OURS or lower.startswith("gnj-"):
            raise InvalidInput(f"headers: {name} may not be given")
        if lower in seen:
            raise InvalidInput(f"headers: {name} is given twice")
        seen.add(lower)
        if not isinstance(text, str) or len(text) > MAX_HEADER or not _VALUE.fullmatch(text):
            raise InvalidInput(
                f"headers: the value of {name} must be a text of at most {MAX_HEADER:,} characters of Latin-1 without controls"
            )
    return value


def _options(value: Json) -> tuple[dict[str, Json], Rate | None]:
    """The options that are given, as they are kept, and the rate among them. Null is as good as what is left out."""
    if value is None:
        return {}, None
    known = {"concurrency", "limiter", "maxStalledCount", "removeOnComplete", "removeOnFail"}
    given = {name: each for name, each in _object(value, "opts", known, "").items() if each is not None}
    _integer(given, "concurrency", "concurrency", 1, MAX_CONCURRENCY)
    _integer(given, "maxStalledCount", "maxStalledCount", 1, MAX_COUNT)
    for name in given.keys() & {"removeOnComplete", "removeOnFail"}:
        given[name] = kept(name)(given[name])
    return given, parse_rate(given["limiter"], "limiter") if "limiter" in given else None


def _secret(value: Json) -> str:
    secret = check_text(value, "secret", maximum=MAX_SECRET)
    if len(secret) < MIN_SECRET:
        raise InvalidInput(f"secret must have at least {MIN_SECRET} characters")
    return secret
