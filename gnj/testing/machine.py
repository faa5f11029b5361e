"""A state machine that holds a storage to a model: two queues in lockstep, one over each, must never differ.

Hypothesis issues random commands to both under one clock. Compared are every answer (an error by its type and text) and,
after each command, every row of every table. On top of that the rules must hold that no sequence of commands may break: see
`StorageMachine`.

    TestMine = storage_machine(lambda clock: MyStorage(..., clock=clock), MemoryStorage).TestCase
"""

# ruff: noqa: D102 - a rule's name says what it does, an invariant's what must hold

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any, ClassVar, Final, TypeAlias

from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gnj.queue.clock import Clock
from gnj.queue.ends import Outcome
from gnj.queue.errors import GnjError
from gnj.queue.holds import ALL_TYPES
from gnj.queue.model import Batch, Hold, Job, NewJob, Pipeline, Record, Step
from gnj.queue.retry import Exponential, Fixed, Linear
from gnj.queue.service import Queue
from gnj.queue.states import (
    BATCH_ENDED,
    JOB_BROKEN,
    JOB_CLAIMED,
    JOB_ENDED,
    JOB_MOVES,
    BatchStatus,
    JobStatus,
    PipelineStatus,
    StepStatus,
)
from gnj.queue.storage import Storage
from gnj.queue.where import In, Op, Where
from gnj.testing import agreement
from gnj.testing.clock import FakeClock
from gnj.testing.lockstep import REFERENCES, Side

MakeStorage: TypeAlias = Callable[[Clock], Storage]
Tables: TypeAlias = Mapping[type[Record], Sequence[Any]]

_UNKNOWN: Final = 2_000_000_000
"""An id that no row gets."""


class _RollBack(Exception):
    pass


_pick = st.integers(0, 40)
"""Chooses a row among those there are, or one that is not there."""
_types = st.sampled_from("ab")
_tenants = st.sampled_from(["", "", "t"])
_keys = st.sampled_from([None, None, None, "", "k", "l"])
_json = st.sampled_from([None, True, 1, 1.5, "x", [], [1, {"k": None}], {}, {"error": "e"}, {"k": {"l": [2]}}])
_backoffs = st.sampled_from(
    [
        None,
        Fixed(1),
        Linear(2, maximum=3),
        Exponential(4, jitter=0.5),
        {"type": "exponential", "delay": 500, "jitter": 1},
    ]
)
_delays = st.sampled_from([None, None, None, timedelta(0), timedelta(seconds=2), timedelta(hours=1)])
_lost = st.sampled_from([None, None, "requeue", "fail", "hold"])
_steps = st.dictionaries(
    st.sampled_from("xy"),
    st.one_of(
        st.fixed_dictionaries({"status": st.sampled_from(["waiting", "done"])}, optional={"note": st.integers(0, 2)}),
        st.none(),
    ),
    max_size=2,
)
_progress = st.one_of(_json, st.fixed_dictionaries({"steps": _steps}, optional={"percent": st.integers(0, 9)}))
_new_jobs = st.builds(
    NewJob,
    _types,
    _json,
    start_after=_delays,
    priority=st.sampled_from([4, 4, 1, 8]),
    unique_id=_keys,
    recoverable=st.booleans(),
    max_attempts=st.sampled_from([None, 1, 2, 3]),
    max_stalled=st.sampled_from([None, 1, 2]),
    backoff=_backoffs,
    on_lost=_lost,
    lifo=st.sampled_from([False, False, True]),
    tenant=_tenants,
)
_members = st.lists(
    st.builds(NewJob, _types, max_attempts=st.sampled_from([None, 2]), recoverable=st.sampled_from([True])), max_size=3
)
_job_values = st.fixed_dictionaries(
    {},
    optional={
        "type": _types,
        "name": st.sampled_from([None, "", "n"]),
        "input": _json,
        "output": _json,
        "progress": _progress,
        "priority": st.sampled_from([1, 8]),
        "unique_id": _keys,
        "start_after": _delays,
        "max_attempts": st.sampled_from([None, 1, 3]),
        "on_lost": _lost,
        "recoverable": st.booleans(),
        "worker_id": st.sampled_from([None, "w"]),
    },
)
_ends = st.sampled_from([JobStatus.SUCCESSFUL, JobStatus.SUCCESSFUL, JobStatus.FAILED, JobStatus.CANCELLED])
_leases = st.sampled_from([None, 0.5, 30.0])
_wheres = st.sampled_from(
    [
        None,
        Where(type="a"),
        Where(status=In("queued", "processing")),
        Where(output={"error": Op("substring", "E")}) | Where(failures=Op("gt", 0)),
        ~Where(name="n"),
        Where(start_after=None, input=Op("ne", 1)),
    ]
)


class StorageMachine(RuleBasedStateMachine):
    """The commands, and the rules that must hold after each of them.

    - No claim (id, attempt) is handed out twice, and `attempt` never goes down.
    - An ended job keeps its status, unless it is recovered.
    - What a claim would hand out is what is queued, due and not held, in the order of claims.
    - A claimed job has a lease, and only a claimed one; only a queued one may be due.
    - Batches, pipelines and steps that nobody's hand has touched say what their jobs say.
    """

    make_storage: ClassVar[MakeStorage]
    make_model: ClassVar[MakeStorage]

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock()
        # no method of the class, even if it is a plain function
        make_model, make_storage = type(self).make_model, type(self).make_storage
        self.model = Side(Queue(make_model(self.clock), seed=1, lease=60.0))
        self.other = Side(Queue(make_storage(self.clock), seed=1, lease=60.0))
        self.tables: Tables = self.model.rows()
        self.claims: list[tuple[Job, Job]] = []
        """Each claim as either side handed it out; most are over."""
        self.handed_out: set[tuple[int, int]] = set()
        self.by_hand: set[tuple[type[Record], int]] = set()
        self.allowed: set[int] = set()
        """Ended jobs that the present command may lead out of their status."""

    def teardown(self) -> None:
        """Ends what the storages hold open."""
        self.model.queue.storage.close()
        self.other.queue.storage.close()

    # The lockstep -----------------------------------------------------------------------------------------------------

    def do(self, command: Callable[[Side], Any], *, recovers: int | None = None) -> tuple[Any, Any]:
        """Gives the command to both sides and compares answers and tables; the two answers as they came."""
        answers = []
        for side in (self.model, self.other):
            try:
                answers.append(command(side))
            except GnjError as error:
                answers.append(error)
        note(f"answer: {answers[0]!r}")
        before, self.tables = self.tables, self._compared_tables()
        assert self.other.plain(answers[1]) == self.model.plain(answers[0]), "the answers differ"
        self._nothing_undone(before, recovers)
        return answers[0], answers[1]

    def _compared_tables(self) -> Tables:
        ours, theirs = self.model.rows(), self.other.rows()
        for kind in ours:
            assert len(theirs[kind]) == len(ours[kind]), f"{kind.__name__}: {theirs[kind]} is not {ours[kind]}"
            pairs = [(a.id, b.id) for a, b in zip(ours[kind], theirs[kind], strict=True)]
            # those that are gone stay known: a row may name one, such as the job that it retries
            self.other.theirs[kind] = self.other.theirs.get(kind, {}) | dict(pairs)
            self.other.ours[kind] = self.other.ours.get(kind, {}) | {b: a for a, b in pairs}
            self.model.apart = self.other.apart = self.other.apart or any(a != b for a, b in pairs)
        for kind in ours:
            for one, other in zip(ours[kind], theirs[kind], strict=True):
                wanted, found = self.model.plain(one), self.other.plain(other)
                wrong = {name: (found[name], wanted[name]) for name in wanted if found[name] != wanted[name]}
                assert not wrong, f"{kind.__name__} {one.id} has, and should have: {wrong}"
        return ours

    def _nothing_undone(self, before: Tables, recovers: int | None) -> None:
        now = {job.id: job for job in self.tables[Job]}
        for job in before[Job]:
            if job.id not in now:
                # what stayed planned goes with what it belongs to
                left = job.status is JobStatus.PLANNED and (job.batch_id or job.pipeline_id)
                assert job.deleted_at is not None or job.status in JOB_ENDED or left, f"job {job.id} was pruned"
                continue
            assert now[job.id].attempt >= job.attempt
            if job.status in JOB_ENDED and job.id != recovers and job.id not in self.allowed:
                assert now[job.id].status is job.status, f"job {job.id} left {job.status}"

    def live(self, kind: type[Record]) -> list[Any]:
        """The rows of the model that are not deleted."""
        return [row for row in self.tables[kind] if row.deleted_at is None]

    def some(self, kind: type[Record], pick: int) -> int:
        """The id of a row, the youngest first; sometimes of one that is not there."""
        rows = self.live(kind)
        return rows[-1 - pick % len(rows)].id if rows and pick != 40 else _UNKNOWN

    # Jobs come in -----------------------------------------------------------------------------------------------------

    @rule(new=_new_jobs)
    def enqueue(self, new: NewJob) -> None:
        self.do(lambda side: side.queue.enqueue(new))

    @rule(new=st.lists(_new_jobs, max_size=4))
    def enqueue_many(self, new: list[NewJob]) -> None:
        self.do(lambda side: side.queue.enqueue_many(new))

    @rule(
        rows=st.lists(
            st.tuples(
                _job_values,
                st.sampled_from([None, None, None, *JobStatus]),
                st.none() | _pick,
                st.none() | _pick,
            ),
            min_size=1,
            max_size=2,
        ),
        tenant=_tenants,
    )
    def create_jobs(self, rows: list[Any], tenant: str) -> None:
        made = []
        for values, status, batch, pipeline in rows:
            row: dict[str, Any] = {"type": "a", **values}
            if status is not None:
                row["status"] = status
            if batch is not None:
                row["batch_id"] = self.some(Batch, batch)
            if pipeline is not None:
                row["pipeline_id"] = self.some(Pipeline, pipeline)
            late = [
                batch for batch in self.live(Batch) if batch.id == row.get("batch_id") and batch.status in BATCH_ENDED
            ]
            if status in JOB_ENDED or late:
                self._by_hand(row)
            made.append(row)
        self.do(lambda side: side.queue.create_jobs([side.values(row) for row in made], tenant=tenant))

    # Jobs are worked --------------------------------------------------------------------------------------------------

    @rule(
        types=st.sampled_from(["a", "b", "ab"]),
        limit=st.sampled_from([None, 0, 1, 2, 9]),
        lease=_leases,
        tenants=_tenants,
    )
    def acquire(self, types: str, limit: int | None, lease: float | None, tenants: str) -> None:
        self._acquire(types, limit, lease, tenants)

    def _acquire(self, types: str, limit: int | None, lease: float | None, tenants: str) -> list[tuple[Job, Job]]:
        self.reap()  # else it would depend on the second whether acquiring does
        ours, theirs = self.do(
            lambda side: side.queue.acquire(
                list(types), limit, worker_id="w", lease=lease, tenants=[tenants] if tenants else None
            )
        )
        pairs = [(ours, theirs)] if isinstance(ours, Job) else list(zip(ours or [], theirs or [], strict=True))
        for job, _ in pairs:
            assert (job.id, job.attempt) not in self.handed_out, "handed out twice"
            self.handed_out.add((job.id, job.attempt))
        self.claims += pairs
        return pairs

    @rule(limit=st.integers(1, 4), ends=st.lists(_ends, min_size=4, max_size=4), output=_json)
    def work(self, limit: int, ends: list[JobStatus], output: Any) -> None:
        pairs = self._acquire("ab", limit, None, "")
        self._settle([(pair, end) for pair, end in zip(pairs, ends, strict=False)], output)

    @precondition(lambda self: self.claims)
    @rule(picks=st.lists(st.tuples(_pick, _ends), min_size=1, max_size=3), output=_json)
    def settle(self, picks: list[tuple[int, JobStatus]], output: Any) -> None:
        self._settle([(self._claim(pick), end) for pick, end in picks], output)

    def _settle(self, ends: Sequence[tuple[tuple[Job, Job], JobStatus]], output: Any) -> None:
        self.do(
            lambda side: side.queue.settle(
                [Outcome(pair[side is self.other], end, output, "why" if output else None) for pair, end in ends]
            )
        )

    def _claim(self, pick: int) -> tuple[Job, Job]:
        return self.claims[-1 - pick % len(self.claims)]

    @precondition(lambda self: self.claims)
    @rule(pick=_pick, how=st.sampled_from(["succeed", "fail", "cancelled"]), text=st.sampled_from(["", "text"]))
    def end(self, pick: int, how: str, text: str) -> None:
        pair = self._claim(pick)
        self.do(lambda side: getattr(side.queue, how)(pair[side is self.other], text))

    @precondition(lambda self: self.claims)
    @rule(picks=st.lists(_pick, min_size=1, max_size=2))
    def release(self, picks: list[int]) -> None:
        pairs = [self._claim(pick) for pick in picks]
        self.do(lambda side: side.queue.release(pair[side is self.other] for pair in pairs))

    @precondition(lambda self: self.claims)
    @rule(pick=_pick, delay=st.sampled_from([0.0, 2.0, 3600.0]))
    def snooze(self, pick: int, delay: float) -> None:
        pair = self._claim(pick)
        claims = {id(side): pair[side is self.other] for side in (self.model, self.other)}
        self.do(lambda side: side.queue.snooze(claims[id(side)].id, claims[id(side)].attempt, delay))

    @precondition(lambda self: self.claims)
    @rule(pick=_pick, lease=_leases)
    def heartbeat(self, pick: int, lease: float | None) -> None:
        pair = self._claim(pick)
        self.do(lambda side: side.queue.heartbeat(pair[side is self.other], lease=lease))

    @precondition(lambda self: self.claims)
    @rule(picks=st.lists(_pick, min_size=1, max_size=4), tenant=st.sampled_from([None, "", "t"]))
    def heartbeats(self, picks: list[int], tenant: str | None) -> None:
        pairs = [self._claim(pick) for pick in picks]

        def command(side: Side) -> Any:
            claims = [pair[side is self.other] for pair in pairs]
            return side.queue.heartbeats([(claim.id, claim.attempt) for claim in claims], tenant=tenant)

        self.do(command)

    @precondition(lambda self: self.claims)
    @rule(pick=_pick, info=_progress)
    def progress(self, pick: int, info: Any) -> None:
        pair = self._claim(pick)
        self.do(lambda side: side.queue.progress(pair[side is self.other], info))

    @rule(seconds=st.sampled_from([0.25, 1.0, 3.0, 31.0, 61.0, 3601.0]))
    def tick(self, seconds: float) -> None:
        self.clock.tick(seconds)

    @rule()
    def reap(self) -> None:
        self.do(lambda side: side.queue.reap(force=True))

    # Jobs are changed -------------------------------------------------------------------------------------------------

    @rule(
        pick=_pick,
        values=_job_values,
        status=st.sampled_from([None, None, *JobStatus]),
        attempt=st.sampled_from([None, None, None, 0, 1]),
        batch=st.none() | st.sampled_from([0, 1, 2, 40, -1]),
        pipeline=st.none() | st.sampled_from([0, 1, 40, -1]),
    )
    def update_job(
        self,
        pick: int,
        values: dict[str, Any],
        status: Any,
        attempt: int | None,
        batch: int | None,
        pipeline: int | None,
    ) -> None:
        id = self.some(Job, pick)
        job = next((job for job in self.live(Job) if job.id == id), None)
        values = dict(values)
        if status is not None:
            values["status"] = status
        if batch is not None:
            values["batch_id"] = None if batch < 0 else self.some(Batch, batch)
        if pipeline is not None:
            values["pipeline_id"] = None if pipeline < 0 else self.some(Pipeline, pipeline)
        if attempt is not None and job is not None:
            attempt = max(0, job.attempt - attempt)
        self.do(lambda side: side.queue.update_job(side.id(Job, id), side.values(values), attempt=attempt))

    @rule(pick=_pick)
    def cancel(self, pick: int) -> None:
        id = self.some(Job, pick)
        self.do(lambda side: side.queue.cancel(side.id(Job, id)))

    @rule(pick=_pick, tenant=st.sampled_from([None, None, None, "t"]))
    def recover(self, pick: int, tenant: str | None) -> None:
        id = self._broken(pick)
        self.do(lambda side: side.queue.recover(side.id(Job, id), tenant=tenant), recovers=id)

    @rule(pick=_pick)
    def retry(self, pick: int) -> None:
        id = self._broken(pick)
        self.do(lambda side: side.queue.retry(side.id(Job, id)))

    @rule(types=st.sampled_from(["a", "b", "ab"]), how=st.sampled_from(["recover_oldest", "retry_oldest"]))
    def oldest(self, types: str, how: str) -> None:
        failed = [job.id for job in self.live(Job) if job.status is JobStatus.FAILED and job.replaced_by is None]
        for id in failed:  # one of them may leave its status
            self.allowed.add(id)
        self.do(lambda side: getattr(side.queue, how)(list(types)))
        self.allowed.clear()

    @rule(pick=_pick, kind=st.sampled_from([Job, Job, Batch, Pipeline, Step, Hold]))
    def delete(self, pick: int, kind: type[Record]) -> None:
        id = self.some(kind, pick)
        row = next((row for row in self.live(kind) if row.id == id), None)
        if isinstance(row, (Job, Step)) and row.status in JOB_BROKEN | {StepStatus.FAILED}:
            self._by_hand({"batch_id": row.batch_id, "pipeline_id": row.pipeline_id})  # what has failed has failed
        if isinstance(row, Batch):
            self._by_hand({"pipeline_id": row.pipeline_id})
        self.do(lambda side: side.queue.delete(kind, side.id(kind, id)))

    @rule(retention=st.sampled_from([None, 0.0, 3600.0]))
    def prune(self, retention: float | None) -> None:
        before = self.tables
        self.do(lambda side: side.queue.prune(retention=retention))
        # what is gone can no longer agree with what is left
        for kind, parent in ((Job, "batch_id"), (Job, "pipeline_id"), (Batch, "pipeline_id")):
            left = {row.id for row in self.tables[kind]}
            for row in before[kind]:
                if row.id not in left:
                    self._by_hand({parent: getattr(row, parent)})

    def _broken(self, pick: int) -> int:
        broken = [job.id for job in self.live(Job) if job.status in JOB_BROKEN]
        return broken[-1 - pick % len(broken)] if broken and pick < 35 else self.some(Job, pick)

    # Holds ------------------------------------------------------------------------------------------------------------

    @rule(
        type=st.sampled_from(["a", "b", ALL_TYPES]),
        how=st.sampled_from(["hold", "release_hold", "release_hold", "toggle_hold"]),
        tenant=_tenants,
    )
    def hold(self, type: str, how: str, tenant: str) -> None:
        self.do(lambda side: getattr(side.queue, how)(type, tenant=tenant))

    # Batches and pipelines --------------------------------------------------------------------------------------------

    @rule(members=_members, start=st.booleans())
    def add_batch(self, members: list[NewJob], start: bool) -> None:  # noqa: FBT001
        self.do(lambda side: side.queue.add_batch(members, start=start))

    @initialize(
        steps=st.lists(_members | _new_jobs.filter(lambda new: not new.tenant), max_size=3), start=st.booleans()
    )
    def first_pipeline(self, steps: list[Any], start: bool) -> None:  # noqa: FBT001
        self.add_pipeline(steps, start)

    @rule(steps=st.lists(_members | _new_jobs.filter(lambda new: not new.tenant), max_size=3), start=st.booleans())
    def add_pipeline(self, steps: list[Any], start: bool) -> None:  # noqa: FBT001
        self.do(lambda side: side.queue.add_pipeline("p", steps, start=start))

    @rule(pick=_pick)
    def start_pipeline(self, pick: int) -> None:
        id = self.some(Pipeline, pick)
        self.do(lambda side: side.queue.start_pipeline(side.id(Pipeline, id)))

    @rule(tenant=_tenants)
    def create_pipeline(self, tenant: str) -> None:
        self.do(lambda side: side.queue.create(Pipeline, {"name": "by hand"}, tenant=tenant))

    @rule(status=st.sampled_from([None, None, None, *BatchStatus]), pipeline=st.none() | _pick, tenant=_tenants)
    def create_batch(self, status: Any, pipeline: int | None, tenant: str) -> None:
        values: dict[str, Any] = {"status": status}
        if pipeline is not None:
            values["pipeline_id"] = self.some(Pipeline, pipeline)
        made, _ = self.do(lambda side: side.queue.create(Batch, side.values(values), tenant=tenant))
        if status is not None and isinstance(made, Batch):
            self._by_hand({"batch_id": made.id, "pipeline_id": made.pipeline_id})

    @rule(pipeline=_pick, job=st.none() | _pick, batch=st.none() | _pick, index=st.integers(0, 3))
    def create_step(self, pipeline: int, job: int | None, batch: int | None, index: int) -> None:
        values: dict[str, Any] = {"pipeline_id": self.some(Pipeline, pipeline), "index": index}
        if job is not None:
            values["job_id"] = self.some(Job, job)
        if batch is not None:
            values["batch_id"] = self.some(Batch, batch)
        self._by_hand(values)
        self.do(lambda side: side.queue.create(Step, side.values(values)))

    @rule(
        pick=_pick,
        status=st.sampled_from([None, None, *BatchStatus]),
        pipeline=st.none() | st.sampled_from([0, 1, 40, -1]),
    )
    def update_batch(self, pick: int, status: Any, pipeline: int | None) -> None:
        id = self.some(Batch, pick)
        values: dict[str, Any] = {}
        if status is not None:
            values["status"] = status
            self._by_hand({"batch_id": id})
        if pipeline is not None:
            values["pipeline_id"] = None if pipeline < 0 else self.some(Pipeline, pipeline)
        self.do(lambda side: side.queue.update(Batch, side.id(Batch, id), side.values(values)))

    @rule(pick=_pick, status=st.sampled_from(list(PipelineStatus)), metadata=st.sampled_from([None, "m"]))
    def update_pipeline(self, pick: int, status: Any, metadata: str | None) -> None:
        id = self.some(Pipeline, pick)
        self._by_hand({"pipeline_id": id})
        values = {"status": status, "metadata": metadata}
        self.do(lambda side: side.queue.update(Pipeline, side.id(Pipeline, id), values))

    @rule(
        pick=_pick,
        status=st.sampled_from([None, *StepStatus]),
        index=st.none() | st.integers(0, 3),
        job=st.none() | _pick,
        pipeline=st.none() | _pick,
    )
    def update_step(self, pick: int, status: Any, index: int | None, job: int | None, pipeline: int | None) -> None:
        id = self.some(Step, pick)
        step = next((step for step in self.live(Step) if step.id == id), None)
        values = {"status": status, "index": index}
        values = {name: value for name, value in values.items() if value is not None}
        if job is not None:
            values["job_id"] = self.some(Job, job)
        if pipeline is not None:
            values["pipeline_id"] = self.some(Pipeline, pipeline)
        self._by_hand(values)
        if step is not None:
            self._by_hand({"pipeline_id": step.pipeline_id, "batch_id": step.batch_id})
        self.do(lambda side: side.queue.update(Step, side.id(Step, id), side.values(values)))

    def _by_hand(self, parents: Mapping[str, Any]) -> None:
        """From now on these parents may say something else than their jobs."""
        for name in ("batch_id", "pipeline_id"):
            if parents.get(name) is not None:
                self.by_hand.add((REFERENCES[name], parents[name]))

    # Reads ------------------------------------------------------------------------------------------------------------

    @rule(
        where=_wheres, order=st.sampled_from([(), ("-priority",), ("name", "-id")]), tenant=st.sampled_from([None, "t"])
    )
    def look(self, where: Where | None, order: Any, tenant: str | None) -> None:
        self.do(lambda side: side.queue.list(Job, where, order=order, limit=5, offset=1, tenant=tenant))
        self.do(lambda side: side.queue.count(Job, where, tenant=tenant))

    # What must always hold --------------------------------------------------------------------------------------------

    @invariant()
    def claimable_is_queued_due_and_not_held(self) -> None:
        now = self.clock()
        held = {(hold.tenant, hold.type) for hold in self.live(Hold)}
        free = [
            job
            for job in self.live(Job)
            if job.status is JobStatus.QUEUED
            and (job.due_at is None or job.due_at <= now)
            and not held & {(tenant, type) for tenant in ("", job.tenant) for type in (job.type, ALL_TYPES)}
        ]
        expected = [job.id for job in sorted(free, key=lambda job: (-job.priority, job.position, job.id))]
        changes = JOB_MOVES["claim"].changes(JobStatus.QUEUED)
        for side in (self.model, self.other):
            with suppress(_RollBack), side.queue.storage.begin() as tx:
                claimed = tx.claim(["a", "b"], 1000, lease=1.0, changes=changes)
                assert [side.ours[Job].get(job.id, job.id) for job in claimed] == expected
                raise _RollBack

    @invariant()
    def leases_and_due_times_fit_the_status(self) -> None:
        for job in self.live(Job):
            assert (job.lease_expires_at is not None) == (job.status in JOB_CLAIMED)
            assert job.due_at is None or job.status is JobStatus.QUEUED
            assert (job.ended_at is not None) or job.status not in JOB_ENDED
            assert job.status is not JobStatus.CANCELLED or job.cancelled_at is not None

    @invariant()
    def parents_say_what_their_jobs_say(self) -> None:
        jobs = {job.id: job for job in self.live(Job)}
        batches = {batch.id: batch for batch in self.live(Batch)}
        for batch in batches.values():
            if (Batch, batch.id) not in self.by_hand:
                agreement.batch(batch, [job for job in jobs.values() if job.batch_id == batch.id])
        for pipeline in self.live(Pipeline):
            steps = [step for step in self.live(Step) if step.pipeline_id == pipeline.id]
            if (Pipeline, pipeline.id) in self.by_hand or any((Batch, s.batch_id) in self.by_hand for s in steps):
                continue
            for step in steps:
                agreement.step(step, jobs[step.job_id] if step.job_id is not None else batches[step.batch_id])
            agreement.pipeline(pipeline, sorted(steps, key=lambda step: (step.index, step.id)))


def storage_machine(make_storage: MakeStorage, make_model: MakeStorage) -> type[StorageMachine]:
    """The machine for a storage: `make_storage(clock)` gives it, empty, as often as it is called.

    Args:
        make_storage: Makes the storage under test.
        make_model: Makes the storage it is compared with, such as `gnj.storage.memory.MemoryStorage`.
    """
    members = {"make_storage": staticmethod(make_storage), "make_model": staticmethod(make_model)}
    return type("StorageMachine", (StorageMachine,), members)
