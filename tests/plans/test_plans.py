"""What workers, the API and upkeep ask for is found along indexes: nothing is read through, no backlog is sorted.

On PostgreSQL by the plans that are carried out, on SQLite by the steps taken, over a table as it looks in use, with the
statistics of that table and with those of an empty one. Not held to this, since they must read all they count: the number of
all jobs, of all that have a frequent status, and the summary of the types.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from gnj.queue import listing, schedules, works
from gnj.queue.errors import StorageError
from gnj.queue.model import Batch, ContentJob, ContentLog, Grant, Hold, Job, Pipeline, Tick
from gnj.queue.model_content import ContentStatus
from gnj.queue.states import JOB_CLAIMED, JOB_MOVES, JobStatus
from gnj.queue.storage import Each, Rows, Select, Settlement
from gnj.queue.where import And, Not, equal
from gnj.storage.sql import SqlStorage, direct_postgresql
from tests.plans.explained import Postgresql, Sqlite

WAITING = 20_000
SETTINGS = {"generic": {"plan_cache_mode": "force_generic_plan"}, "direct": direct_postgresql._ROUTE}
"""What a session has whose plans are those for any parameters: a host's, and one of our own."""
TYPES = tuple(f"t{n}" for n in range(20))
CLAIM = JOB_MOVES["claim"].changes(JobStatus.QUEUED)
SUCCEED = JOB_MOVES["succeed"].changes(JobStatus.PROCESSING)


def claim(*types: str, limit: int = 10, tenants: tuple[str, ...] | None = None) -> Callable[[Rows], Any]:
    def call(tx: Rows) -> None:
        assert len(tx.claim(types, limit, lease=30, changes=CLAIM, tenants=tenants)) == limit

    return call


def claim_for_several(tx: Rows) -> None:
    changes = {**CLAIM, "worker_id": Each([f"w{number}" for number in range(10)])}
    found = tx.claim(["t1"], 10, lease=30, changes=changes, tenants=["y"])
    assert {job.worker_id for job in found} == {f"w{number}" for number in range(10)}


def claimed(tx: Rows) -> list[Job]:
    """Jobs of which a claim holds the first hundred."""
    found = tx.find(Job, Select(equal(Job, worker_id="w"), limit=100))
    assert len(found) == 100
    return found


def ends(*, lean: bool) -> Callable[[Rows, list[Job]], Any]:
    def call(tx: Rows, jobs: list[Job]) -> None:
        if lean:
            assert all(tx.complete([(job.id, 1, None) for job in jobs], JOB_CLAIMED, SUCCEED))
        else:
            assert all(tx.settle([Settlement(job.id, 1, JOB_CLAIMED, SUCCEED) for job in jobs]))

    return call


def failed(**more: Any) -> Select:
    """What `recover_oldest` and `retry_oldest` look for."""
    return Select(equal(Job, status=JobStatus.FAILED, replaced_by=None, **more), limit=1)


@dataclass(frozen=True)
class Case:
    """One call, how many rows each of its statements may read or sort, and, as proof that it is looked at, indexes without
    which there is something to complain of.
    """

    name: str
    call: Callable[..., Any]
    most: int
    without: tuple[str, ...] = ()
    holds: tuple[tuple[str, str], ...] = ()
    write: bool = True
    jobs: bool = False
    """Whether the call is given claimed jobs."""


def lane(type: str, tenant: str | None, count: int = 50, **options: Any) -> Callable[[Rows], Any]:
    """Ready jobs of a type and tenant."""

    def call(tx: Rows) -> None:
        assert len(tx.lane(type, tenant, max(count, 1), **options)) == count

    return call


def keys(after: str, count: int) -> Callable[[Rows], Any]:
    """The limit keys of a type and tenant, of which 300 have 10 jobs each."""

    def call(tx: Rows) -> None:
        assert len(tx.keys("grouped", "x", after, 100)) == count

    return call


def tenants(after: str | None, *found: str) -> Callable[[Rows], Any]:
    """The tenants of a type, of which the first has nearly all jobs."""

    def call(tx: Rows) -> None:
        assert tx.tenants("t1", after, 100) == [*found]

    return call


def permits(tx: Rows) -> None:
    """Those of one limit, of which half count no more."""
    assert sum(counts for _, counts in tx.permits(7)) == 50


def take(tx: Rows) -> None:
    """Jobs of a lane."""
    ids = [id for id, *_ in tx.lane("t3", "x", 50)]
    assert len(tx.take(ids, lease=30, changes=CLAIM)) == 50


def page(state: str, count: int, type: str = "t3", tenant: str = "") -> Callable[[Rows], Any]:
    """The first jobs of a queue that have that state."""

    def call(tx: Rows) -> None:
        assert len(listing.listed(tx, type, tenant, state, 0, 50, tx.now())) == count

    return call


def ended(type: str, *, after: int = 0) -> Callable[[Rows], Any]:
    """The first hundred jobs of a queue that completed, beyond so many."""

    def call(tx: Rows) -> None:
        done = [JobStatus.SUCCESSFUL]
        (last,) = tx.ended(type, "", done, 1, offset=after - 1) if after else [None]
        assert len(tx.ended(type, "", done, 100, beyond=last and last[::-1])) == 100

    return call


def tally_ended(
    *, minutes: int | None = None, type: str | None = None, tenant: str | None = None
) -> Callable[[Rows], Any]:
    """How many jobs of each type and status have ended in the last minutes."""

    def call(tx: Rows) -> None:
        since = None if minutes is None else tx.now() - timedelta(minutes=minutes)
        assert bool(tx.tally_ended(["type", "status"], since, type=type, tenant=tenant)) == (tenant != "x")

    return call


def named(tx: Rows) -> None:
    """Jobs by ids that clients gave them."""
    assert len(tx.named("grouped", "x", [f"c{n}" for n in range(951, 1_051)])) == 100


def due(tx: Rows) -> None:
    """The recurring jobs that are due."""
    assert len(schedules.due(tx, tx.now() + timedelta(minutes=10.5), 100)) == 10


def starts(tx: Rows) -> None:
    """Those that a limit has counted for some groups, of 2,000 that have 10 slices each."""
    groups = equal(Grant, key=tuple(f"=k{n}" for n in range(20)))
    assert len(tx.find(Grant, Select(And((equal(Grant, limit_id=7), groups))))) == 200


def newest(tx: Rows) -> None:
    """The newest content jobs of a tenant that has few, among those that are not deleted."""
    which = Not(equal(ContentJob, status=ContentStatus.DELETED))
    assert len(tx.find(ContentJob, Select(which, order=(("id", True),), offset=20, limit=20), tenant="y")) == 20


def lines(**which: Any) -> Callable[[Rows], Any]:
    """The newest lines of one content job's log, of which those of others came after."""

    def call(tx: Rows) -> None:
        own = equal(ContentLog, content_job_id=7, **which)
        assert len(tx.find(ContentLog, Select(own, order=(("id", True),), offset=20, limit=20), tenant="x")) == 20

    return call


def of_schedules(tx: Rows) -> None:
    """The newest runs of some schedules."""
    runs = Select(equal(ContentJob, schedule_id=(1, 2, 3)), order=(("id", True),), limit=1, per="schedule_id")
    assert len(tx.columns(ContentJob, ["schedule_id", "status"], runs)) == 3


UNFINISHED = And((equal(Job, batch_id=1), Not(equal(Job, status=JobStatus.SUCCESSFUL))))
FAILED = equal(Job, status=JobStatus.FAILED)
CASES = (
    Case("claim of one type", claim("t3"), 200, ("job_ready",)),
    Case("claim of one job", claim("t3", limit=1), 50, ("job_ready",)),
    Case("claim of 20 types", claim(*TYPES), 500, ("job_ready",)),
    Case("claim of 200 of 20 types", claim(*TYPES, limit=200), 4_000, ("job_ready",)),
    Case("claim for a tenant", claim("t1", tenants=("y",)), 200, ("job_lane",)),
    Case("claim for several workers", claim_for_several, 200, ("job_lane",)),
    Case("claim of 20 types for a tenant", claim(*TYPES, tenants=("y",)), 500, ("job_lane",)),
    Case("claim beside a held type", claim("t3", "t4"), 200, ("job_ready",), holds=(("t3", ""),)),
    Case("claim past a tenant's hold", claim("t0"), 200, ("job_lane",), holds=(("t0", "x"),)),
    Case("claim of 20 types past a tenant's hold", claim(*TYPES), 4_000, ("job_lane",), holds=(("all", "x"),)),
    Case("settle", ends(lean=False), 330, jobs=True),
    Case("complete", ends(lean=True), 300, jobs=True),
    Case("renew", lambda tx, jobs: tx.renew([(job.id, 1) for job in jobs], 60), 300, jobs=True),
    Case("lost", lambda tx: tx.lost(100), 300, ("job_lease", "job_status"), write=False),
    Case("promote", lambda tx: tx.promote(1_000), 300, ("job_due", "job_status")),
    Case("whether a batch is done", lambda tx: tx.exists(Job, UNFINISHED), 300, ("job_batch", "job_status")),
    Case("lane of a type", lane("t3", None), 200, ("job_ready",)),
    Case("lane of a type, backward", lane("t3", None, backward=True), 200, ("job_ready",)),
    Case("lane of a type, from a priority on", lane("t3", None, high=0), 200, ("job_ready",)),
    Case("lane of a type, backward from a priority on", lane("t3", None, low=2, backward=True), 200, ("job_ready",)),
    Case("lane of a type, from a place on", lane("t3", None, offset=500), 800, ("job_ready",)),
    Case("lane of a tenant", lane("t1", "y"), 200),
    Case("lane of a tenant, backward", lane("t1", "y", backward=True), 200, ("job_lane",)),
    Case("lane of the tenant with most jobs", lane("t1", "x"), 200),
    Case("lane of that tenant, from a priority on", lane("t1", "x", high=0), 200),
    Case("lane of that tenant, priorities", lane("t1", "x", low=1, high=1, backward=True), 200),
    Case("lane of a key", lane("grouped", "x", count=10, key="k299"), 200, ("job_group",)),
    Case("lane of a key, backward", lane("grouped", "x", count=10, key="k7", backward=True), 200, ("job_group",)),
    Case("lane of a key, priorities", lane("grouped", "x", count=10, key="k7", low=0, high=9), 200, ("job_group",)),
    Case("lane of no such key", lane("grouped", "x", count=0, key="nobody"), 200),
    Case("the first keys", keys("", 100), 500, ("job_group",)),
    Case("the last keys", keys("k97", 2), 100, ("job_group",)),
    Case("the tenants", tenants(None, "x", "y"), 50, ("job_lane",)),
    Case("the last tenant", tenants("x", "y"), 50, ("job_lane",)),
    Case("permits", permits, 200, ("permit_limit",)),
    Case("take", take, 500),
    Case("starts of some groups", starts, 500, ("grant_count_limit",)),
    Case("named", named, 500, ("job_custom_id",)),
    Case("a page of what waits", page("waiting", 50, type="t3", tenant="x"), 200, write=False),
    Case("a page of what is delayed", page("delayed", 50), 2_500, ("job_due",), write=False),
    # what the cases before it have claimed and undone still stands in the index
    Case("a page of what runs", page("active", 10), 1_300, ("job_status", "job_lease"), write=False),
    # PostgreSQL sorts the 335 of this queue, of which it expects 19
    Case("a page of what is completed", page("completed", 50), 400, ("job_ended",), write=False),
    Case("a page of what failed", page("failed", 15), 200, ("job_ended",), write=False),
    Case("the oldest that ended", ended("t4"), 500, ("job_ended",), write=False),
    Case("those that ended, from one on", ended("t4", after=100), 700, ("job_ended",), write=False),
    Case("how many of a queue ended", tally_ended(type="t5", tenant=""), 800, ("job_ended",), write=False),
    Case("what ended lately of all queues", tally_ended(minutes=10), 2_800, ("job_ended",), write=False),
    Case("what ended lately of a tenant", tally_ended(minutes=10, tenant="x"), 800, ("job_ended",), write=False),
    Case("recurring jobs that are due", due, 30, ("schedule_next",), write=False),
    Case(
        "the tick of a job",
        lambda tx: tx.find(Tick, Select(equal(Tick, job_id=7))),
        30,
        ("schedule_tick_job",),
        write=False,
    ),
    Case("prune", lambda tx: tx.prune(100, deleted=3600, ended=3600), 1_000, ("job_ended",)),
    Case("the newest content jobs of a tenant", newest, 100, ("content_job_tenant", "content_job_status"), write=False),
    Case(
        "how many content jobs of a tenant are not over",
        lambda tx: tx.count(ContentJob, equal(ContentJob, status=("PENDING", "ACTIVE")), tenant="x"),
        100,
        ("content_job_status",),
        write=False,
    ),
    Case(
        "the content job of a pipeline",
        lambda tx: tx.find(ContentJob, Select(equal(ContentJob, pipeline_id=7_000), limit=1)),
        10,
        ("content_job_pipeline",),
    ),
    Case(
        "the newest run of a schedule",
        lambda tx: tx.find(ContentJob, Select(equal(ContentJob, schedule_id=3), order=(("id", True),), limit=1)),
        150,
        ("content_job_schedule",),
    ),
    Case("the newest runs of schedules", of_schedules, 400, ("content_job_schedule",), write=False),
    Case("content jobs that were over long ago", lambda tx: works.trim(tx, 3_600, 10), 100, ("content_job_finished",)),
    Case("the newest lines of a log", lines(), 100, ("content_log_job",), write=False),
    Case("the oldest lines of a log", lambda tx: tx.trim(ContentLog, equal(ContentLog, content_job_id=7), 20), 100),
    Case("the newest lines of a task", lines(job_id=1), 100, ("content_log_task", "content_log_job"), write=False),
    *(
        Case(f"list of {kind.__name__}", lambda tx, kind=kind: tx.find(kind, Select(limit=50)), 300, write=False)
        for kind in (Job, Batch, Pipeline)
    ),
    Case("the newest", lambda tx: tx.find(Job, Select(order=(("id", True),), limit=50)), 300, write=False),
    Case("a tenant's", lambda tx: tx.find(Job, Select(limit=50), tenant="x"), 300, write=False),
    Case("what failed", lambda tx: tx.find(Job, Select(FAILED, limit=50)), 1_000, ("job_status",), write=False),
    Case(
        "those of a batch",
        lambda tx: tx.find(Job, Select(equal(Job, batch_id=2), limit=50)),
        300,
        ("job_batch",),
        write=False,
    ),
    Case("count of what failed", lambda tx: tx.count(Job, FAILED), 1_000, ("job_status",), write=False),
    Case(
        "recover_oldest of no such type",
        lambda tx: tx.find(Job, failed(type=("zz",), recoverable=True)),
        1_000,
        ("job_status",),
    ),
    Case(
        "retry_oldest of no such type",
        lambda tx: tx.find(Job, failed(type=("zz",), worker_id="v")),
        1_000,
        ("job_status",),
    ),
)
LISTS = {case.name for case in CASES if case.name.startswith("list of")} | {"the newest", "a tenant's", "what failed"}


def fill(storage: SqlStorage) -> None:
    """24,000 jobs wait, of three tenants: those of "x" stand before the others. 2,000 are delayed, 5,000 have ended."""
    postgresql = storage.dialect.name == "postgresql"
    now, minute = ("now()", "interval '1 minute'") if postgresql else ("(1000 * strftime('%s', 'now'))", "60000")

    def insert(table: str, count: int, /, **values: str) -> str:
        series = (
            f"SELECT n FROM generate_series(1, {count}) AS s(n)"
            if postgresql
            else f"WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {count}) SELECT n FROM s"
        )
        values = {"created_at": now, "updated_at": now} | values
        name = f"{storage.tables.prefix}{table}"
        return f"INSERT INTO {name} ({', '.join(values)}) SELECT {', '.join(values.values())} FROM ({series}) AS s"

    first = f"SELECT min(id) FROM {storage.tables.prefix}job WHERE status = 'processing'"
    type, later = "'t' || (n % 20)", f"{now} + 60 * {minute}"
    lease = {"status": "'processing'", "attempt": "1", "worker_id": "'w'", "started_at": now}
    ended = {"type": type, "attempt": "1", "updated_at": f"{now} - 90 * {minute}"}
    statements = [
        insert("job", WAITING, type=type, tenant="'x'", priority_level="n % 3"),
        insert("job", 1_000, type=type, tenant="CASE n % 2 WHEN 0 THEN '' ELSE 'y' END"),
        insert("job", 3_000, type="'grouped'", tenant="'x'", limit_key="'k' || (n % 300)", custom_id="'c' || n"),
        insert("job", 2_000, type=type, due_at=later),
        insert("job", 4_700, **ended, status="'successful'", ended_at=f"{now} - n * {minute}"),
        insert("job", 300, **ended, status="'failed'", ended_at=f"{now} - n * {minute}"),
        insert("job", 200, type=type, **lease, lease_seconds="30", lease_expires_at=later),
        insert("job", 2_000, type=type, status="'successful'", batch_id="n % 200", ended_at=now),
        insert("job", 20, type=type, status="'planned'", batch_id="n % 2"),
        insert("batch", 3_000, status="CASE WHEN n < 5 THEN 'processing' ELSE 'successful' END"),
        insert("schedule", 3_000, name="'s' || n", cron="'* * * * *'", since=now, next_at=f"{now} + n * {minute}"),
        insert("schedule_tick", 10_000, schedule_id="n", tick_at=now, job_id="n"),
        insert("permit", 12_000, limit_id="8", job_id="n", attempt="1"),
        insert("permit", 100, limit_id="7", job_id=f"n - 1 + ({first})", attempt="n % 2 + 1"),
        insert("grant_count", 20_000, limit_id="7", key="'=k' || (n % 2000)", period="n", count="1"),
        insert("pipeline", 3_000, status="CASE WHEN n < 5 THEN 'processing' ELSE 'successful' END"),
    ]
    run = {"name": "'n'", "type": "'EXPORT_ENTRIES'"}
    over = {"status": "'COMPLETED'", "finished_at": f"{now} - (CASE WHEN n > 9900 THEN 90 ELSE 1 END) * {minute}"}
    line = {"tenant": "'x'", "level": "'ERROR'", "message": "'no'"}
    statements += [
        insert("content_job", 100, **run, tenant="'y'", pipeline_id="n", schedule_id="n % 4"),
        insert("content_job", 10_000, **run, **over, tenant="'x'", pipeline_id="100 + n", schedule_id="4 + n % 100"),
        insert("content_job", 50, **run, tenant="'x'"),
        insert("content_log", 100, **line, content_job_id="7", job_id="n % 2"),
        insert("content_log", 10_000, **line, content_job_id="8 + n % 100", job_id="8 + n % 200"),
    ]
    with storage.engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))
        connection.commit()


@pytest.fixture(
    scope="module",
    params=["postgresql analyzed", "postgresql stale", "postgresql generic", "postgresql direct", "sqlite"],
)
def watched(request, tmp_path_factory):
    backend, _, statistics = request.param.partition(" ")
    if backend == "sqlite":
        watch = Sqlite(f"sqlite:///{tmp_path_factory.mktemp('plans') / 'gnj.db'}")
        yield from filled(watch, statistics)
    else:
        with request.getfixturevalue("postgresql_server").database(migrated=True) as url:
            yield from filled(Postgresql(url, statistics, SETTINGS.get(statistics, {})), statistics)


def filled(watch, statistics):
    storage = SqlStorage(watch.engine)
    storage.migrate()
    with watch.engine.begin() as connection:
        if storage.dialect.name == "postgresql":
            for table in storage.tables.metadata.tables.values():
                connection.execute(text(f"ALTER TABLE {storage.tables.name(table)} SET (autovacuum_enabled = off)"))
        if statistics == "stale":
            connection.execute(text("ANALYZE"))
        connection.commit()
    fill(storage)
    with watch.engine.begin() as connection:
        if statistics not in ("stale", ""):
            connection.execute(text("ANALYZE"))
        if storage.dialect.name == "postgresql":
            for table in storage.tables.metadata.tables.values():
                count = f"SELECT count(*) FROM {storage.tables.name(table)}"
                watch.sizes[table.name] = connection.execute(text(count)).scalar_one()
        connection.commit()
    yield watch, storage
    watch.engine.dispose()


class _Undone(Exception):
    pass


def complaints(watched, case, *, without=()):
    """What there is to complain of about a call, which is undone."""
    watch, storage = watched
    found: list[str] = []
    try:
        with storage.begin(write=case.write or bool(without)) as tx:
            for index in without:
                tx.connection.execute(text(f"DROP INDEX {storage.tables.prefix}{index}_idx"))
            for type, tenant in case.holds:
                tx.insert(Hold, [{"type": type, "tenant": tenant}])
            given = [claimed(tx)] if case.jobs else []
            with watch.looking():
                case.call(tx, *given)
            found = watch.complaints(case.most)
            raise _Undone  # noqa: TRY301 - takes back what the call did
    except _Undone:
        return found
    except StorageError as error:
        return [repr(error)]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_along_indexes(watched, case):
    watch, _ = watched
    if isinstance(watch, Postgresql) and case.name in LISTS and watch.statistics == "stale":
        pytest.skip("capability: without statistics, PostgreSQL takes rows that are not deleted for one in 200")
    if isinstance(watch, Postgresql) and watch.settings and not case.write:
        pytest.skip("capability: reads are not prepared")
    assert complaints(watched, case) == []


@pytest.mark.parametrize("case", [case for case in CASES if case.without], ids=lambda case: case.name)
def test_a_missing_index_is_noticed(watched, case):
    assert complaints(watched, case, without=case.without)
