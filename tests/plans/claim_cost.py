"""What a claim costs, in units that no other load on the machine changes: blocks read on PostgreSQL, VM steps on SQLite,
rows and index entries read on MySQL and MariaDB.

Each backlog comes with the small one it is compared with. On servers each is measured without statistics (freshly filled) and
after ANALYZE, on PostgreSQL also with prepared plans that were made for any parameters. Sizes as in use, and claims in a
second, are for `benchmarks.backlog`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.engine import make_url

from gnj.queue.model import Hold
from gnj.queue.states import JOB_MOVES, JobStatus
from gnj.queue.storage import Rows
from gnj.storage.sql import SqlStorage

CLAIM = JOB_MOVES["claim"].changes(JobStatus.QUEUED)
TWENTY = tuple(f"t{n}" for n in range(20))
PLANS = ("no statistics", "analyzed", "generic plans")
PREFIX = "gnj_cost_"


@dataclass(frozen=True, slots=True)
class Backlog:
    """Jobs that wait, from the first on in the order of claims, and the types that are asked for.

    Args:
        name: What stands in the table.
        types: The types asked for; 1,000 free jobs are spread over `free`, behind the rest.
        rows: How many jobs stand before them, their types, and whether they are delayed, or have ended.
        held: A type held for all tenants.
        tenant: Whose jobs stand before them; the free ones are those of the tenant "".
        tenants: The tenants asked for.
        holds: Types that are held for `tenant`.
    """

    name: str
    types: tuple[str, ...] = ("t0",)
    free: tuple[str, ...] = ("t0",)
    rows: int = 0
    before: tuple[str, ...] = ("t0",)
    delayed: bool = False
    ended: bool = False
    held: str | None = None
    tenant: str = ""
    tenants: tuple[str, ...] | None = None
    holds: tuple[str, ...] = ()


SMALL = Backlog("1,000 queued")
SMALL_20 = Backlog("1,000 queued of 20 types, all asked for", types=TWENTY, free=TWENTY)
SMALL_20_ONE = Backlog("1,000 queued of one of 20 types", TWENTY, ("t7",))
SMALL_HELD = Backlog("1,000 queued, another type held", ("held", "t0"), held="held")
SMALL_ASKED = Backlog("1,000 queued, one tenant asked for", tenants=("",))
SMALL_20_ASKED = Backlog("1,000 queued of 20 types, one tenant asked for", TWENTY, TWENTY, tenants=("",))
SMALL_HOLD = Backlog("1,000 held for another tenant first", rows=1_000, tenant="x", holds=("t0",))
SMALL_20_HOLD = Backlog(
    "4,000 of 20 types held for another tenant", TWENTY, TWENTY, 4_000, TWENTY, tenant="x", holds=TWENTY
)


def backlogs(rows: int) -> list[tuple[Backlog, Backlog]]:
    """The backlogs of so many rows, each with the small one it is compared with."""
    n = f"{rows:,}"
    others = tuple(f"o{i}" for i in range(20))
    return [
        (SMALL, SMALL),
        (Backlog(f"{n} queued", rows=rows), SMALL),
        (Backlog(f"{n} delayed first", rows=rows, delayed=True), SMALL),
        (Backlog(f"{n} of other types first", rows=rows, before=others), SMALL),
        (SMALL_HELD, SMALL_HELD),
        (Backlog(f"{n} held first", ("held", "t0"), rows=rows, before=("held",), held="held"), SMALL_HELD),
        (SMALL_20, SMALL_20),
        (Backlog(f"{n} of 20 types, all asked for", TWENTY, TWENTY, rows, TWENTY), SMALL_20),
        (SMALL_20_ONE, SMALL_20_ONE),
        (Backlog(f"{n} of other types first, 20 asked for", TWENTY, ("t7",), rows, others), SMALL_20_ONE),
        (Backlog(f"{n} ended", rows=rows, ended=True), SMALL),
        (SMALL_ASKED, SMALL_ASKED),
        (Backlog(f"{n} of another tenant first, one asked for", rows=rows, tenant="x", tenants=("",)), SMALL_ASKED),
        (SMALL_20_ASKED, SMALL_20_ASKED),
        (
            Backlog(
                f"{n} of another tenant and 20 types first", TWENTY, TWENTY, rows, TWENTY, tenant="x", tenants=("",)
            ),
            SMALL_20_ASKED,
        ),
        (SMALL_HOLD, SMALL_HOLD),
        (Backlog(f"{n} held for another tenant first", rows=rows, tenant="x", holds=("t0",)), SMALL_HOLD),
        (SMALL_20_HOLD, SMALL_20_HOLD),
        (
            Backlog(f"{n} of 20 types held for another tenant", TWENTY, TWENTY, rows, TWENTY, tenant="x", holds=TWENTY),
            SMALL_20_HOLD,
        ),
    ]


class _Over(Exception):
    """Takes a measured claim back."""


def fill(storage: SqlStorage, backlog: Backlog) -> None:
    """Fills an empty database: by SQL of its own, since 100,000 jobs one by one take a while."""
    job = storage.tables.name(storage.tables.job)
    postgresql = storage.dialect.name == "postgresql"
    now, later = ("now()", "now() + interval '1 day'") if postgresql else ("0", "9999999999999")
    with storage.begin() as tx:
        if storage.dialect.name == "mysql":
            mariadb = storage.engine.dialect.is_mariadb  # type: ignore[attr-defined]
            depth = "max_recursive_iterations" if mariadb else "cte_max_recursion_depth"
            tx.connection.execute(text(f"SET SESSION {depth} = {backlog.rows + 1000}"))  # type: ignore[attr-defined]
        for count, types, first in ((backlog.rows, backlog.before, True), (1000, backlog.free, False)):
            series = (
                f"SELECT n FROM generate_series(1, {count}) AS s(n)"
                if postgresql
                else f"WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {count}) SELECT n FROM s"
            )
            names = " ".join(f"WHEN {i} THEN '{name}'" for i, name in enumerate(types))
            if count:
                tx.connection.execute(  # type: ignore[attr-defined]
                    text(
                        f"INSERT INTO {job} (type, tenant, status, input, due_at, ended_at, created_at, updated_at, "
                        f"priority_level) SELECT CASE n % {len(types)} {names} END, '{backlog.tenant if first else ''}', "
                        f"'{'successful' if first and backlog.ended else 'queued'}', '[1]', "
                        f"{later if first and backlog.delayed else 'NULL'}, "
                        f"{now if first and backlog.ended else 'NULL'}, {now}, {now}, n % 3 FROM ({series}) AS s"
                    )
                )
    if backlog.held is not None:
        storage.insert(Hold, [{"type": backlog.held}])
    storage.insert(Hold, [{"type": type, "tenant": backlog.tenant} for type in backlog.holds])


def cost(storage: SqlStorage, backlog: Backlog, limit: int) -> int:
    """What one claim costs, the promotion of due jobs included. The claim is taken back."""
    measured = -1
    with suppress(_Over), storage.begin() as tx:
        before = spent(storage, tx)
        jobs = tx.claim(backlog.types, limit, lease=30, changes=CLAIM, tenants=backlog.tenants)
        measured = spent(storage, tx) - before
        assert len(jobs) == limit, (backlog.name, len(jobs))
        raise _Over
    return measured


def spent(storage: SqlStorage, tx: Rows) -> int:
    """The blocks, steps or reads that the transaction, the whole SQLite engine, or the MySQL session has taken so far."""
    if storage.dialect.name == "sqlite":
        return int(storage.engine.info_steps[0])  # type: ignore[attr-defined]
    if storage.dialect.name == "mysql":
        read = tx.connection.execute(text("SHOW SESSION STATUS LIKE 'Handler_read%'"))  # type: ignore[attr-defined]
        return sum(int(number) for _, number in read)
    sql = "SELECT sum(pg_stat_get_xact_blocks_fetched(oid)) FROM pg_class WHERE relname LIKE :name"
    found: int = tx.connection.execute(text(sql), {"name": f"{PREFIX}%"}).scalar_one()  # type: ignore[attr-defined]
    return found


def analyze(storage: SqlStorage) -> None:
    """Statistics of now."""
    mysql = f"ANALYZE TABLE {storage.tables.name(storage.tables.job)}, {storage.tables.name(storage.tables.hold)}"
    with storage.engine.begin() as connection:
        connection.execute(text({"mysql": mysql}.get(storage.dialect.name, "ANALYZE")))


@contextmanager
def opened(url: str, plans: str) -> Iterator[SqlStorage]:
    """An empty, migrated storage that counts; its tables are dropped at the end."""
    engine = _engine(url, generic=plans == "generic plans")
    storage = SqlStorage(engine, prefix=PREFIX)
    try:
        storage.migrate()
        with storage.begin() as tx:
            if storage.dialect.name == "postgresql":
                job = storage.tables.name(storage.tables.job)
                tx.connection.execute(text(f"ALTER TABLE {job} SET (autovacuum_enabled = off)"))  # type: ignore[attr-defined]
        yield storage
    finally:
        storage.tables.metadata.drop_all(engine)
        with engine.begin() as connection:
            connection.execute(text(f"DROP TABLE IF EXISTS {storage.tables.version_table}"))
        engine.dispose()


def _engine(url: str, *, generic: bool) -> Engine:
    parts = make_url(url)
    if parts.get_backend_name() == "sqlite":
        engine = create_engine(parts)
        steps = [0]
        engine.info_steps = steps  # type: ignore[attr-defined]

        def count() -> int:
            steps[0] += 10
            return 0

        event.listen(engine, "connect", lambda raw, _: raw.set_progress_handler(count, 10))
        return engine
    if parts.get_backend_name() == "mysql":
        return create_engine(parts.set(drivername="mysql+pymysql"))
    # as a host would make it; prepared at once, with plans for any parameters
    options = "-c plan_cache_mode=force_generic_plan" if generic else ""
    arguments = {"prepare_threshold": 0 if generic else None, "options": options}
    return create_engine(parts.set(drivername="postgresql+psycopg"), connect_args=arguments)


def measured(url: str, backlog: Backlog, limits: tuple[int, ...], plans: str) -> list[int]:
    """The cost of a claim of each limit, from one backlog."""
    with opened(url, plans) as storage:
        if plans == "generic plans":
            # made while the tables are empty, as in a queue that has just been set up
            for limit in limits:
                with storage.begin() as tx:
                    tx.claim(backlog.types, limit, lease=30, changes=CLAIM, tenants=backlog.tenants)
        fill(storage, backlog)
        if plans == "analyzed":
            analyze(storage)
        for limit in limits:
            cost(storage, backlog, limit)  # sets hint bits, fills caches
        return [cost(storage, backlog, limit) for limit in limits]
