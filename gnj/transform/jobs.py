"""`TransformJobs`: the commands of the transformation jobs contract. Each is one transaction, and about one tenant's rows."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import Enum
from typing import Any, Final, TypeVar

from gnj.queue import cron as crons
from gnj.queue import deadline, schedules, transforms
from gnj.queue.errors import Conflict, InvalidInput, NotFound
from gnj.queue.inputs import check_tenant
from gnj.queue.kinds import SCHEDULE
from gnj.queue.model import RecordT, Schedule
from gnj.queue.model_transform import TransformFormat, TransformJob, TransformMapping, TransformRun, TransformSource
from gnj.queue.storage import Select
from gnj.queue.unit import Unit
from gnj.queue.values import MAX_NAME, Json, check_bool, check_int, check_text
from gnj.queue.where import equal
from gnj.transform import keeping
from gnj.transform.application import Rules, Target, Transform
from gnj.transform.errors import BadFormat, BadMapping, BadSource, InUse, NoDefaultFormat, RecordRejected
from gnj.transform.lists import TransformLists
from gnj.transform.requests import FormatInput, JobView, MappingInput, SourceInput, SourceRequest, check_given
from gnj.transform.trying import Made, Tries, first
from gnj.transform.values import Record

T = TypeVar("T")

APPLIED: Final = 1_000
"""Records of a source that `apply_mapping` reads (contract, "Jobs")."""
SAMPLED: Final = 100
"""Records of a source that a mapping is generated from (contract, "Jobs")."""
_DAY_MS: Final = int(transforms.EVERY.total_seconds() * 1000)


class Unset(Enum):
    """In the place of an argument that was not given, where None means something."""

    UNSET = "unset"


UNSET: Final = Unset.UNSET


class TransformJobs(TransformLists):
    """Saves, changes, runs and shows the transformation jobs of one application.

    Ids are those of rows; one that the tenant has no row of is unknown. Every method raises `InvalidInput`, or one of its
    kinds in `gnj.transform.errors`, naming what is wrong.

    Args:
        transform: What they work with.
    """

    def __init__(self, transform: Transform) -> None:
        super().__init__(transform.queue)
        self.transform = transform
        self._tries = Tries()

    # Sources, mappings and target formats

    def save_source(self, tenant: str, request: SourceRequest) -> TransformSource:
        """A new source. Raises `BadSource`, `NoHandler`, `AddressRefused`."""
        owner, values = check_tenant(tenant), self._stored(request, "request")
        return self._alone(lambda unit: self._inserted(unit, TransformSource, owner, values))

    def delete_source(self, tenant: str, id: int) -> bool:
        """Deletes a source; whether there was one. Raises `InUse`."""
        return self.queue.run(lambda unit: _deleted(unit, TransformSource, tenant, id, "source"))

    def save_mapping(self, tenant: str, name: str | None, rules: Any) -> TransformMapping:
        """A new mapping. Raises `BadMapping`, `BadTransform`."""
        owner = check_tenant(tenant)
        values = {"name": _name(name), "mapping": _with_rules(self.transform.parts.mapping(rules))}
        return self._alone(lambda unit: self._inserted(unit, TransformMapping, owner, values))

    def delete_mapping(self, tenant: str, id: int) -> bool:
        """Deletes a mapping; whether there was one. Raises `InUse`."""
        return self.queue.run(lambda unit: _deleted(unit, TransformMapping, tenant, id, "mapping"))

    def save_format(
        self, tenant: str, name: str | None, definition: Any, *, make_default: bool = False
    ) -> TransformFormat:
        """A new target format, the default one if it is made that. Raises `BadFormat`."""
        owner = check_tenant(tenant)
        values = {"name": _name(name), **_defined(self.transform.parts.format(definition))}

        def command(unit: Unit) -> TransformFormat:
            row = self._inserted(unit, TransformFormat, owner, values)
            return _made_default(unit, row) if make_default else row

        return self._alone(command)

    def set_default_format(self, tenant: str, id: int) -> bool:
        """Makes a target format the default one; whether there is one of that id."""
        number = check_int(id, "id")

        def command(unit: Unit) -> bool:
            row = unit.tx.get(TransformFormat, number, tenant=tenant, lock=True)
            if row is not None:
                _made_default(unit, row)
            return row is not None

        return self._alone(command)

    def delete_format(self, tenant: str, id: int) -> bool:
        """Deletes a target format; whether there was one. If it was the default one, there is none then. Raises `InUse`."""
        return self.queue.run(lambda unit: _deleted(unit, TransformFormat, tenant, id, "target format"))

    # Jobs

    def save_job(
        self,
        tenant: str,
        source: SourceInput,
        mapping: MappingInput | None = None,
        format: FormatInput | None = None,
    ) -> TransformJob:
        """A new job, its first run queued and its schedule made: all of it, or nothing.

        Without a mapping one is generated from the source's first records, and stored; without a target format it has the
        default one. Raises `NotFound` for an unknown id, `NoDefaultFormat`, `SourceFailed`, `BadMapping` where there is nothing to generate
        one of, and what saving the parts raises.
        """
        owner = check_tenant(tenant)
        check_given(source, SourceInput, "source")
        if source.data is not None:
            raise BadSource("a job needs a source that can be read again: give an id or a sourceRequest, not data")
        kept = self._source(owner, source)
        new_source = None if kept is not None or source.request is None else self._stored(source.request)
        target, kept_format = self._format(owner, format, what="a job")
        new_mapping, kept_mapping = None, None
        if mapping is None:
            read = kept or self._unsaved(owner, new_source or {})
            samples = self._records(read, SAMPLED)
            new_mapping = {"mapping": self._proposed(samples, target)}
        else:
            rules, kept_mapping = self._mapping(owner, mapping)
            new_mapping = {"mapping": _with_rules(rules)} if kept_mapping is None else None

        def command(unit: Unit) -> TransformJob:
            ids = {
                "source_id": self._kept(unit, TransformSource, owner, kept, new_source),
                "mapping_id": self._kept(unit, TransformMapping, owner, kept_mapping, new_mapping),
                "format_id": self._kept(unit, TransformFormat, owner, kept_format, _defined(target)),
            }
            job = self._inserted(unit, TransformJob, owner, ids)
            schedule = schedules.create(unit, owner, _schedule(unit), internal=True, declared=True)
            (job,) = unit.tx.edit(TransformJob, [job.id], {"schedule_id": schedule.id})
            transforms.start(unit, job, attempts=transforms.ATTEMPTS)
            return unit.tx.get(TransformJob, job.id) or job

        return self._alone(command)

    def delete_job(self, tenant: str, id: int) -> bool:
        """Deletes a job, and cancels its run that is not over; whether there was one. What it wrote goes little by little."""
        number = check_int(id, "id")
        return self.queue.run(lambda unit: transforms.remove(unit, tenant, number))

    def run_job(self, tenant: str, id: int) -> TransformRun:
        """Starts a run with one try, or joins the one that is not over; the run, which somebody else does. Raises `NotFound`."""
        number = check_int(id, "id")

        def command(unit: Unit) -> TransformRun:
            job = unit.tx.get(TransformJob, number, tenant=tenant, lock=True)
            if job is None or job.removed_at is not None:
                raise NotFound("the job does not exist")
            under_way = None if job.run_id is None else unit.tx.get(TransformRun, job.run_id)
            return under_way or transforms.start(unit, job, attempts=1)

        return self.queue.run(command)

    def set_schedule(
        self, tenant: str, id: int, *, cron: str | Unset | None = UNSET, paused: bool | None = None
    ) -> JobView:
        """Changes when a job runs: by a cron expression of five fields in UTC, or (None) 24 hours after its last run; and whether it is
        paused. What is not given stays. Raises `NotFound`.
        """
        number = check_int(id, "id")
        values: dict[str, Any] = {} if paused is None else {"paused": check_bool(paused, "paused")}
        if isinstance(cron, str):
            values |= {"cron": crons.parse(cron, "cronExpression").text, "every_ms": None, "begins_at": None}

        def command(unit: Unit) -> JobView:
            seen = unit.tx.get(TransformJob, number, tenant=tenant)
            id = None if seen is None else seen.schedule_id
            there = id is not None and unit.tx.get(Schedule, id, lock=True) is not None
            job = unit.tx.get(TransformJob, number, tenant=tenant, lock=True)
            if job is None or job.removed_at is not None:
                raise NotFound("the job does not exist")
            if job.schedule_id != id:  # somebody else has made one since
                raise Conflict
            changes = dict(values)
            if cron is None:
                changes |= {"cron": None, "every_ms": _DAY_MS, "begins_at": _following(unit, job)}
            if id is None or not there:  # who may change recurring jobs took it away
                id = schedules.create(unit, job.tenant, _schedule(unit), internal=True, declared=True).id
                (job,) = unit.tx.edit(TransformJob, [job.id], {"schedule_id": id})
            return JobView(job, schedules.update(unit, tenant, id, changes, declared=True))

        return self.queue.run(command)

    def set_webhook(self, tenant: str, id: int, url: str | None, secret: str | None = None) -> JobView:
        """Has a URL called whenever a run of a job has ended, signed with the secret; None: nothing is called any more, and the secret
        goes. Without a secret, the one stays that was given before.

        Raises `NotFound`, `InvalidInput`, `AddressRefused`.
        """
        number = check_int(id, "id")
        gone = {"webhook_url": None, "webhook_secret": None}
        values = gone if url is None else self.transform.parts.webhooks.stored(url, secret)

        def command(unit: Unit) -> JobView:
            job = unit.tx.get(TransformJob, number, tenant=tenant, lock=True)
            if job is None or job.removed_at is not None:
                raise NotFound("the job does not exist")
            if url is not None and secret is None and job.webhook_secret is None:
                raise InvalidInput("secret is missing: what is told is signed with it")
            (job,) = unit.tx.edit(TransformJob, [job.id], values)
            schedule = None if job.schedule_id is None else unit.tx.get(Schedule, job.schedule_id)
            return JobView(job, schedule)

        return self.queue.run(command)

    # Trying

    def apply_mapping(
        self, tenant: str, source: SourceInput, mapping: MappingInput, format: FormatInput | None = None
    ) -> Sequence[Json]:
        """The records of a source as the mapping makes them; with a target format, as this has them, without those it rejects.

        Of a source that is not given as data, at most 1,000, of 16 Mi characters. Raises `NotFound`, `SourceFailed`, and what saving the parts raises.
        """
        rules, _ = self._mapping(tenant, mapping)
        target = None if format is None else self._format(tenant, format, what="a target format")[0]
        made = Made()
        with self._soon():
            for record in _in_time(self._given(tenant, source, APPLIED)):
                try:
                    mapped = rules.apply(record)
                    made.add(mapped if target is None else target.convert(mapped))
                except RecordRejected:
                    continue
        return made.records

    def generate_mapping(self, tenant: str, source: SourceInput, format: FormatInput | None = None) -> Sequence[Json]:
        """Rules that get such records into a target format, or the default one: none for no records.

        Of a source that is not given as data, the first 100. Raises `NotFound`, `NoDefaultFormat`, `SourceFailed`, and what
        saving the parts raises.
        """
        target, _ = self._format(tenant, format, what="to generate a mapping")
        samples = self._given(tenant, source, SAMPLED)
        return self.transform.parts.propose(samples, target.wire()) if samples else []

    # The parts of a job

    def _stored(self, request: SourceRequest, name: str = "source.request") -> dict[str, Any]:
        check_given(request, SourceRequest, name)
        return self.transform.parts.stored(request)

    def _source(self, tenant: str, given: SourceInput) -> TransformSource | None:
        """The source of that id; None: a new one is to be made of the request. Raises `NotFound`."""
        if given.id is None:
            if given.request is None:
                raise BadSource("source: give an id, a sourceRequest or data")
            return None
        found = self.queue.storage.get(TransformSource, check_int(given.id, "id"), tenant=tenant)
        if found is None and given.request is None:
            raise NotFound("the source does not exist")
        return found

    def _mapping(self, tenant: str, given: MappingInput) -> tuple[Rules, TransformMapping | None]:
        """A compiled mapping, and its row if it has one."""
        check_given(given, MappingInput, "mapping")
        if (given.id is None) == (given.data is None):
            raise BadMapping("mapping: give either an id or data")
        if given.id is None:
            return self.transform.parts.mapping(given.data), None
        row = self.queue.storage.get(TransformMapping, check_int(given.id, "id"), tenant=tenant)
        if row is None:
            raise NotFound("the mapping does not exist")
        return self.transform.parts.mapping(row.mapping), row

    def _format(self, tenant: str, given: FormatInput | None, *, what: str) -> tuple[Target, TransformFormat | None]:
        """A compiled target format, and its row if it has one; the default one where none is given."""
        if given is None:
            row = self.default_format(tenant)
            if row is None:
                raise NoDefaultFormat(f"there is no default target format, and {what} needs one: give targetFormat")
            return self.transform.parts.format(row.definition), row
        check_given(given, FormatInput, "format")
        if (given.id is None) == (given.data is None):
            raise BadFormat("targetFormat: give either an id or data")
        if given.id is None:
            return self.transform.parts.format(given.data), None
        row = self.queue.storage.get(TransformFormat, check_int(given.id, "id"), tenant=tenant)
        if row is None:
            raise NotFound("the target format does not exist")
        return self.transform.parts.format(row.definition), row

    def _given(self, tenant: str, source: SourceInput, most: int) -> Sequence[Record]:
        """The records of a source to be tried: all that are given, or the first ones that it has."""
        check_given(source, SourceInput, "source")
        if source.data is not None:
            if source.id is not None or source.request is not None:
                raise BadSource("source: give either data, or an id or a sourceRequest")
            for place, record in enumerate(source.data):
                if not isinstance(record, Mapping):
                    raise BadSource(f"source: data[{place}] must be an object")
            return source.data
        found = self._source(tenant, source)
        if found is None and source.request is not None:
            found = self._unsaved(tenant, self._stored(source.request))
        assert found is not None  # noqa: S101 - tells the type checker what `_source` has made sure of
        return self._records(found, most)

    def _soon(self) -> deadline.within:
        """What is done in the block has the time that somebody waits for a source; less, where a request has less."""
        seconds = self.transform.limits.try_seconds
        return deadline.within(seconds, seconds)

    def _unsaved(self, tenant: str, values: Mapping[str, Any]) -> TransformSource:
        now = self.queue.storage.now()
        return TransformSource(id=0, tenant=tenant, created_at=now, updated_at=now, **values)

    def _records(self, source: TransformSource, most: int) -> Sequence[Record]:
        with self._tries.of(source.tenant), self._soon(), self.transform.parts.open(source, None) as reading:
            return first(_in_time(reading), most)

    def _proposed(self, samples: Sequence[Record], target: Target) -> Json:
        """A mapping for a source that begins with these records. Raises `BadMapping` where there is nothing to propose: an empty mapping
        would be kept, whatever the source has later.
        """
        rules = self.transform.parts.propose(samples, target.wire()) if samples else []
        if not rules:
            why = "no field of the records is like one of the target format" if samples else "no records can be read"
            raise BadMapping(f"mapping: none can be generated of the source, for {why}: give a mapping")
        return self.transform.parts.mapping(rules).wire()

    def _inserted(self, unit: Unit, kind: type[RecordT], tenant: str, values: Mapping[str, Any]) -> RecordT:
        """A new row, unless it is too large or the tenant has as much as it may (`gnj.transform.keeping`). Within `_alone`."""
        row = keeping.sized(kind, values)
        keeping.check_room(unit.tx, kind, tenant, row, self.transform.limits)
        return unit.tx.insert(kind, [{**row, "tenant": tenant}])[0]

    def _kept(
        self, unit: Unit, kind: type[RecordT], tenant: str, row: RecordT | None, values: Mapping[str, Any] | None
    ) -> int:
        """The id of a row that stays there until the transaction has ended, or of a new one."""
        if row is None:
            return self._inserted(unit, kind, tenant, values or {}).id
        locked = unit.tx.get(kind, row.id, tenant=tenant, lock=True)
        if locked is None:
            raise NotFound("what the job was to be made of was deleted at the same moment")
        return locked.id

    def _alone(self, command: Callable[[Unit], T]) -> T:
        """Runs a command that depends on what else there is, which is how much a tenant has, and whether there is another default target
        format: of two at once, one would not see what the other makes.
        """

        def once() -> T:
            with self.queue.transaction(serializable=True) as (queue, _):
                return queue.run(command)

        return self.queue.again(once)


def _deleted(unit: Unit, kind: type[RecordT], tenant: str, id: int, what: str) -> bool:
    """Removes a part for good: nobody is told of it any more, and it may have megabytes, or credentials."""
    row = unit.tx.get(kind, check_int(id, "id"), tenant=tenant, lock=True)
    if row is None:
        return False
    named = {"source": "source_id", "mapping": "mapping_id", "target format": "format_id"}[what]
    users = unit.tx.columns(TransformJob, ["id"], Select(equal(TransformJob, **{named: row.id, "removed_at": None})))
    if users:
        raise InUse(what, [id for (id,) in users])
    unit.tx.trim(kind, equal(kind, id=row.id), 1)
    return True


def _made_default(unit: Unit, row: TransformFormat) -> TransformFormat:
    others = unit.tx.columns(
        TransformFormat, ["id"], Select(equal(TransformFormat, is_default=True)), tenant=row.tenant
    )
    unit.tx.edit(TransformFormat, [id for (id,) in others if id != row.id], {"is_default": False})
    (row,) = unit.tx.edit(TransformFormat, [row.id], {"is_default": True})
    return row


def _in_time(items: Iterable[T]) -> Iterator[T]:
    """The items, as long as the request may take. Raises `TimedOut`."""
    limit = deadline.current()
    for each in items:
        if limit is not None:
            limit.check()
        yield each


def _with_rules(mapping: Rules) -> Json:
    """A mapping as it is stored. Raises `BadMapping` for one without rules: all that it made would be defaults."""
    rules = mapping.wire()
    if not rules:
        raise BadMapping("mapping must have at least one rule")
    return rules


def _defined(target: Target) -> dict[str, Any]:
    """A target format as it is stored."""
    definition: Any = target.wire()
    return {"definition": definition, "fields": list(definition)}


def _name(name: str | None) -> str | None:
    return None if name is None else check_text(name, "name", maximum=MAX_NAME)


def _schedule(unit: Unit) -> dict[str, Any]:
    """The schedule of a new job: its first run begins now."""
    return {
        "name": f"transform:{secrets.token_hex(8)}",
        "every_ms": _DAY_MS,
        "begins_at": unit.tx.now() + transforms.EVERY,
        "missed": schedules.NEWEST,
        "may_overlap": False,
        "job": {"type": SCHEDULE},
    }


def _following(unit: Unit, job: TransformJob) -> Any:
    return (job.last_run_at or unit.tx.now()) + transforms.EVERY
