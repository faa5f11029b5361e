"""Recurring jobs: schedules, their ticks, and the jobs that these make (docs/decisions/0023-ticks.md).

Whoever looks makes the jobs of the ticks that have come: one transaction for each schedule, under the lock of its row, in
which the job, the row of the tick and the time of the next one are written. So a tick has one job, however many look, and
a schedule whose jobs cannot be made holds up no other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from dataclasses import fields as dataclass_fields
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final, Protocol

from gnj.queue import cron, fields, jobs, zones
from gnj.queue.clock import NOW, After
from gnj.queue.errors import Conflict, Duplicate, IllegalTransition, InvalidInput, NotFound
from gnj.queue.fields import Spell, python_name
from gnj.queue.inputs import with_type
from gnj.queue.kinds import SCHEDULE
from gnj.queue.model import Job, Schedule, Tick, attributes
from gnj.queue.naming import OWN
from gnj.queue.options import RESERVED
from gnj.queue.states import JOB_ENDED
from gnj.queue.storage import Rows, Select
from gnj.queue.ticks import Timing
from gnj.queue.unit import Unit
from gnj.queue.values import dump_json, same_json, shown
from gnj.queue.where import And, Compare, Condition, Not, equal

NEWEST: Final = "newest"
ALL: Final = "all"
NONE: Final = "none"
MISSED: Final = (NEWEST, ALL, NONE)
"""What becomes of ticks at which nobody looked."""
GRACE: Final = timedelta(minutes=1)
"""A tick of which somebody takes notice within that time was not missed."""
MOST: Final = 100
"""Schedules of a tenant, besides those of transformation jobs, which have a bound of their own."""
OWED: Final = 20
"""Ticks that one transaction deals with at most."""
LARGEST: Final = 64 * 1024
"""Bytes, at most, of what a schedule says of its jobs: whoever makes one reads it again for each tick."""
LEAST: Final = 60_000
"""Milliseconds of an interval at least, unless shorter ones are allowed."""

_JOB: Final = "type input name priority recoverable max_attempts max_stalled backoff timeout on_lost".split()
_ATTRIBUTES: Final = {
    spelled: attributes(Job)[name] for name in _JOB for spelled in (name, str(attributes(Job)[name].wire))
}
"""What a schedule may say of its jobs, by either name."""
_WAITS: Final = (30.0, 60.0, 300.0, 900.0, 3600.0)
"""Seconds until a tick that failed is tried again."""
_EVER: Final = datetime(2000, 1, 1, tzinfo=UTC)
_LAST: Final = datetime(9000, 1, 1, tzinfo=UTC)
_LONGEST: Final = 500
"""Characters of an error that are kept."""
_TIMING: Final = frozenset({"cron", "every_ms", "time_zone", "begins_at", "ends_at"})


def _not(op: str, value: str) -> Condition:
    """Schedules whose jobs have no such type; what is none is no type of gnj's own either."""
    job, path = attributes(Schedule)["job"], ("type",)
    return Not(And((Not(Compare(job, path, "null", None)), Compare(job, path, op, value))))


PLAIN: Final = _not("like", f"{OWN}%")
"""Schedules that make plain jobs: what lists of recurring jobs have. Those of gnj's own types are seen where what they make is."""
_COUNTED: Final = _not("eq", SCHEDULE)


class Maker(Protocol):
    """Makes what a schedule is for that makes no plain job: of one of gnj's own types (`Unit.makers`)."""

    def make(self, unit: Unit, row: Schedule) -> Job:
        """Makes it, in the transaction of the tick; its first job, whose id the schedule and the tick keep."""

    def busy(self, tx: Rows, row: Schedule) -> bool:
        """Whether what was made before has not ended."""

    def skipped(self, unit: Unit, row: Schedule, at: datetime) -> None:
        """Called, in the transaction of the tick, if nothing is made for the tick at `at` because of that."""


def check(values: Mapping[str, Any]) -> None:
    """Raises `InvalidInput` for attribute values of which `declare` makes no schedule."""
    _timing(_checked(values, python_name), _EVER, short=True)


def create(
    unit: Unit,
    tenant: str,
    given: Mapping[str, Any],
    *,
    spell: Spell = python_name,
    declared: bool = False,
    internal: bool = False,
) -> Schedule:
    """A schedule from attribute values; if it is `declared` in code, intervals of less than a minute are allowed, from a second
    on, and any number of schedules; if it is `internal`, a job type of gnj's own.

    Raises `InvalidInput`, and `Duplicate` for a name that another schedule of the tenant has.
    """
    values = _checked(given, spell, internal=internal)
    if "name" not in values:
        raise InvalidInput("notNull Violation: recurringJob.name cannot be null")
    if "job" not in values:
        raise InvalidInput("notNull Violation: recurringJob.job cannot be null")
    now = unit.tx.now()
    timing = _timing(values, now, short=declared)
    if not declared and unit.tx.count(Schedule, _COUNTED, tenant=tenant) >= MOST:
        raise InvalidInput(f"there are {MOST} recurring jobs already, and no more can be made")
    _check_free(unit, tenant, values["name"])
    stored = {**values, "since": now, "next_at": _first(values, timing, now)}
    (row,) = unit.tx.insert(Schedule, [{**stored, "tenant": tenant}])
    if any(getattr(row, name) != value for name, value in stored.items()):  # somebody else was faster
        raise Duplicate(f"there is a recurring job {shown(values['name'])} already")
    return row


def update(
    unit: Unit,
    tenant: str | None,
    id: int,
    given: Mapping[str, Any],
    *,
    spell: Spell = python_name,
    declared: bool = False,
) -> Schedule:
    """Changes a schedule; if that is when its ticks come, they are reckoned from the present on. Raises `NotFound`."""
    row = _locked(unit, tenant, id)
    values = _differing(row, _checked(given, spell))
    if not values:
        return row
    if "name" in values:
        _check_free(unit, row.tenant, values["name"])
    after = row.evolve(**values)
    if values.keys() & {*_TIMING, "paused", "max_runs"}:
        if not (after.paused and values.keys() == {"paused"}):  # what cannot be reckoned with any more can be paused
            timing = _timing_of(after, short=declared or after.every_ms == row.every_ms)
            values["next_at"] = _first(_of(after), timing, now := unit.tx.now())
            values["since"] = now
        else:
            values["next_at"] = None
    elif row.failures and row.next_at is not None:
        values["next_at"] = NOW  # what was wrong may be right now
    return _edited(unit, row, values | {"failures": 0, "error": None})


def remove(unit: Unit, tenant: str | None, id: int) -> Schedule:
    """Takes a schedule away; the jobs it made stay. Raises `NotFound`."""
    return _edited(unit, _locked(unit, tenant, id), {"deleted_at": NOW, "next_at": None})


def pause(unit: Unit, tenant: str | None, id: int, *, paused: bool | None) -> Schedule:
    """Pauses a schedule, or has it go on with the first tick that is still to come; None: the one it is not.

    Raises `NotFound`.
    """
    row = _locked(unit, tenant, id)
    wanted = not row.paused if paused is None else paused
    return row if wanted == row.paused else update(unit, tenant, id, {"paused": wanted}, declared=True)


def run(unit: Unit, tenant: str | None, id: int) -> Job:
    """Makes a job of the schedule now, paused or not; its ticks stay as they are.

    Raises `NotFound`, and `IllegalTransition` while the job before has not ended where they must not overlap.
    """
    row = _locked(unit, tenant, id)
    maker = _maker(unit, row)
    if maker is None and _is_own(row):
        raise IllegalTransition(f"nothing here makes what {row.name} is for: {type_of(row)}")
    if _busy(unit, row):
        raise IllegalTransition(f"the job {row.last_job_id} of {row.name} has not ended, and they must not overlap")
    job = _made(unit, row)
    _edited(unit, row, {"last_job_id": job.id})
    return job


def declare(unit: Unit, tenant: str, given: Mapping[str, Any]) -> Schedule:
    """The schedule of that name as `given` describes it: made, changed, or as it is. One that is paused stays so.

    Raises `Conflict` where somebody else makes it at the same moment.
    """
    found = named(unit.tx, tenant, given["name"])
    if found is not None:
        return update(unit, tenant, found.id, given, declared=True)
    try:
        return create(unit, tenant, given, declared=True)
    except Duplicate:
        raise Conflict from None


def named(tx: Rows, tenant: str, name: str) -> Schedule | None:
    """The schedule of that name."""
    return next(iter(tx.find(Schedule, Select(equal(Schedule, name=name)), tenant=tenant)), None)


def type_of(row: Schedule) -> str:
    """The type of the jobs that a schedule is for; "" where what is stored as these is no JSON."""
    return str(row.job.get("type", "")) if isinstance(row.job, dict) else ""


def is_as(row: Schedule, given: Mapping[str, Any]) -> bool:
    """Whether `declare` would change nothing."""
    return not _differing(row, _checked(given, python_name))


@dataclass(frozen=True, slots=True)
class Due:
    """A schedule that is to be looked at, and when."""

    id: int
    name: str
    next_at: datetime


def due(tx: Rows, until: datetime, limit: int, *, own: bool = True) -> list[Due]:
    """The schedules that are to be looked at by then, the longest due first; unless `own`, without those of gnj's own types: who
    has no makers for these would look at them again and again, and at no others.
    """
    late: Condition = Compare(attributes(Schedule)["next_at"], (), "lte", until)
    if not own:
        late = And((late, PLAIN))
    select = Select(late, order=(("next_at", False),), limit=limit)
    return [Due(*row) for row in tx.columns(Schedule, [f.name for f in dataclass_fields(Due)], select)]


def tick(unit: Unit, id: int) -> int:
    """Deals with the ticks of a schedule that have come; how many jobs it made. Nothing, if somebody else has done so, and where
    there is no maker for one of gnj's own types: that is left to those who have it.
    """
    row = unit.tx.get(Schedule, id, lock=True)
    now = unit.tx.now()
    if row is None or row.next_at is None or row.next_at > now:
        return 0
    maker = _maker(unit, row)
    if maker is None and _is_own(row):
        return 0
    timing = _timing_of(row)
    owed, since = _owed(row, timing, now)
    changes: dict[str, Any] = {"since": since, "failures": 0, "error": None}
    runs = row.runs
    for moment in owed:
        if row.max_runs is not None and runs >= row.max_runs:
            break
        told = equal(Tick, schedule_id=row.id, tick_at=moment)
        if unit.tx.exists(Tick, told):  # the clock has gone back
            continue
        job = None if _busy(unit, row) else _made(unit, row)
        if job is None and maker is not None:
            maker.skipped(unit, row, moment)
        unit.tx.insert(
            Tick,
            [
                {
                    "tenant": row.tenant,
                    "schedule_id": row.id,
                    "tick_at": moment,
                    "job_id": None if job is None else job.id,
                }
            ],
        )
        if job is not None:
            runs += 1
            changes |= {"last_at": moment, "last_job_id": job.id, "runs": runs}
            row = row.evolve(last_job_id=job.id)
    over = row.max_runs is not None and runs >= row.max_runs
    next_at = None if over else timing.next(since)
    # who has more to do stands in line behind all others
    changes["next_at"] = NOW if next_at is not None and next_at <= now else next_at
    _edited(unit, row, changes)
    return runs - row.runs


def fail(unit: Unit, due: Due, error: str) -> None:
    """Notes that dealing with a tick has failed: it is tried again in a while. Nothing, if somebody else has dealt with it."""
    row = unit.tx.get(Schedule, due.id, lock=True)
    if row is not None and row.next_at == due.next_at:
        wait = _WAITS[min(row.failures, len(_WAITS) - 1)]
        _edited(unit, row, {"failures": row.failures + 1, "error": error[:_LONGEST], "next_at": After(wait)})


def trim(tx: Rows, age: float, limit: int) -> int:
    """Removes for good what is told of ticks of more than `age` seconds ago, at most `limit` of them; how many."""
    old = tx.now() - timedelta(seconds=age)
    first = tx.columns(Tick, ["id", "created_at"], Select(limit=limit))  # they come in the order of time
    gone = tuple(id for id, created_at in first if created_at <= old)
    return tx.trim(Tick, equal(Tick, id=gone), limit) if gone else 0


def upcoming(row: Schedule, after: datetime, count: int) -> list[datetime]:
    """The first `count` ticks of a schedule later than `after`, also of one that is paused; none of one that cannot be reckoned
    with any more.
    """
    left = count if row.max_runs is None else min(count, row.max_runs - row.runs)
    try:
        timing = _timing_of(row)
    except InvalidInput:
        return []
    return list(_first_ticks(timing, max(after, row.since), left))


@lru_cache(maxsize=1_000)  # a list may ask for the same ticks under many names
def _first_ticks(timing: Timing, after: datetime, count: int) -> tuple[datetime, ...]:
    return tuple(timing.some(after, None, count))


def _differing(row: Schedule, values: Mapping[str, Any]) -> dict[str, Any]:
    """What is not so yet."""
    return {
        name: value
        for name, value in values.items()
        if not (same_json(value, row.job) if name == "job" else value == getattr(row, name))
    }


def _owed(row: Schedule, timing: Timing, now: datetime) -> tuple[Sequence[datetime], datetime]:
    """The ticks that are to have jobs now, and up to when all have been dealt with then."""
    if row.missed == ALL:
        owed = timing.some(row.since, now, OWED)
        return owed, owed[-1] if owed else now
    newest = timing.newest(row.since, now)
    if newest is None:
        return (), now
    noticed = row.missed == NEWEST or row.failures or now - newest <= GRACE
    return (newest,) if noticed else (), newest


def _maker(unit: Unit, row: Schedule) -> Maker | None:
    """What makes something else of a schedule's ticks than a plain job."""
    return unit.makers.get(type_of(row))


def _is_own(row: Schedule) -> bool:
    return type_of(row).startswith(OWN)


def _made(unit: Unit, row: Schedule) -> Job:
    if (maker := _maker(unit, row)) is not None:
        return maker.make(unit, row)
    ((job, _),) = jobs.created(unit, row.tenant, [_template(row.job, python_name)])
    return job


def _busy(unit: Unit, row: Schedule) -> bool:
    """Whether nothing may be made now: what was made before has not ended, and they must not overlap."""
    if (maker := _maker(unit, row)) is not None:
        return maker.busy(unit.tx, row)
    if row.may_overlap:
        return False
    last = None if row.last_job_id is None else unit.tx.get(Job, row.last_job_id)
    return last is not None and last.status not in JOB_ENDED


def _first(values: Mapping[str, Any], timing: Timing, now: datetime) -> datetime | None:
    runs, most = values.get("runs") or 0, values.get("max_runs")
    return None if values.get("paused") or (most is not None and runs >= most) else timing.next(now)


def _timing(values: Mapping[str, Any], begun: datetime, *, short: bool) -> Timing:
    """When ticks come, as these attributes say. Raises `InvalidInput`."""
    text, every = values.get("cron"), values.get("every_ms")
    if (text is None) == (every is None):
        raise InvalidInput("give either cron or every: when a recurring job is due")
    if every is not None and every < (1_000 if short else LEAST):
        raise InvalidInput(f"every must be at least {1_000 if short else LEAST:,} ms, not {every:,}")
    begins, ends = values.get("begins_at"), values.get("ends_at")
    if begins is not None and begins > _LAST:
        raise InvalidInput(f"beginsAt must be in a year up to {_LAST.year}")
    if begins is not None and ends is not None and ends < begins:
        raise InvalidInput("endsAt must not be earlier than beginsAt")
    return Timing(
        None if text is None else cron.parse(text),
        zones.zone(values.get("time_zone", "UTC")),
        None if every is None else timedelta(milliseconds=every),
        begun if begins is None and every is not None else begins,
        ends,
    )


def _timing_of(row: Schedule, *, short: bool = True) -> Timing:
    return _timing(_of(row), row.created_at, short=short)


def _check_free(unit: Unit, tenant: str, name: str) -> None:
    if named(unit.tx, tenant, name) is not None:
        raise Duplicate(f"there is a recurring job {shown(name)} already")


def _checked(given: Mapping[str, Any], spell: Spell, *, internal: bool = False) -> dict[str, Any]:
    values = fields.created(Schedule, {name: value for name, value in given.items() if name != "job"}, spell)
    if "job" in given:
        template = _template(given["job"], spell, internal=internal)
        if (size := len(dump_json(template).encode())) > LARGEST:
            raise InvalidInput(f"recurringJob.job must be at most {LARGEST:,} bytes of JSON, not {size:,}")
        values["job"] = {str(_ATTRIBUTES[name].wire): value for name, value in template.items()}
    return values


def _template(given: object, spell: Spell, *, internal: bool = False) -> dict[str, Any]:
    """The attributes of a schedule's jobs, given by their names in Python or on the wire, checked. Raises `InvalidInput`."""
    if not isinstance(given, Mapping):
        raise InvalidInput(f"recurringJob.job must be an object that has a type, not {shown(given)}")
    named: dict[str, Any] = {}
    for name, value in given.items():
        if name not in _ATTRIBUTES:
            raise InvalidInput(f"recurringJob.job cannot have {shown(name)}")
        named[_ATTRIBUTES[name].name] = value
    values = with_type(fields.created(Job, named, spell))
    if values["type"].startswith(RESERVED) and not internal:
        raise InvalidInput(f"the job type is reserved: {shown(values['type'])}")
    return values


def _of(row: Schedule) -> dict[str, Any]:
    return {name: getattr(row, name) for name in (*_TIMING, "paused", "max_runs", "runs")}


def _locked(unit: Unit, tenant: str | None, id: int) -> Schedule:
    row = unit.tx.get(Schedule, id, tenant=tenant, lock=True)
    if row is None:
        raise NotFound("recurringJob not found.")
    return row


def _edited(unit: Unit, row: Schedule, changes: Mapping[str, Any]) -> Schedule:
    found = unit.tx.edit(Schedule, [row.id], changes)
    if not found:
        raise Conflict("the recurring job has changed at the same moment")
    return found[0]
