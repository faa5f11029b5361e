"""What a claim costs with much in the table, beside what it costs with 1,000 queued jobs and nothing else.

    python -m benchmarks.backlog --database postgresql://… --mariadb mysql://… [--queued 1000000 --before 500000 --ended 5000000]

Two figures of `Queue.acquire(types, 10)`, each with its ratio to the small queue's: what it reads (blocks of PostgreSQL's
buffers, steps of SQLite's virtual machine, rows and index entries of MariaDB's handlers), which no load of the machine
changes; and claims in a second, the two queues in turn. The large tables are filled once: repetitions go over the same ones.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.engine import make_url

from benchmarks.harness import command
from benchmarks.harness.command import Measurement
from benchmarks.harness.results import Sample
from benchmarks.harness.rows import OURS, Row, Target
from benchmarks.harness.run import Run
from gnj import GNJ, GnjError, Job, JobStatus
from gnj.queue.ends import Outcome
from gnj.storage.sql.engine import parsed

TWENTY = tuple(f"t{number}" for number in range(20))
SMALL = "1,000 queued"
_FREE = 1_000
_BATCH = 10
_WARM = 5
_CHUNK = 100_000
_STEP = 10


@dataclass(frozen=True, slots=True)
class Backlog:
    """What stands in a table, before 1,000 free jobs.

    Args:
        key: Names it.
        title: What is told of it.
        size: Which option says how many.
        before: The types of these jobs.
        state: queued, delayed, held or ended.
        types: The types that are asked for, and of which the free jobs are.
    """

    key: str
    title: str
    size: str
    before: tuple[str, ...] = ("t0",)
    state: str = "queued"
    types: tuple[str, ...] = ("t0",)


BACKLOGS = (
    Backlog("queued", "behind 1,000,000 queued", "queued"),
    Backlog("held", "behind 500,000 held", "before", ("held",), "held", ("held", "t0")),
    Backlog("delayed", "behind 500,000 delayed", "before", state="delayed"),
    Backlog("others", "behind 500,000 of other types", "before", tuple(f"o{number}" for number in range(20))),
    Backlog("twenty", "of 20 types, 1,000,000 queued", "queued", TWENTY, types=TWENTY),
    Backlog("ended", "with 5,000,000 ended", "ended", state="ended"),
)
# name: title, unit of what is read, server
DATABASES = {
    "postgresql": ("PostgreSQL", "blocks", "postgresql"),
    "sqlite": ("SQLite", "steps", ""),
    "mariadb": ("MariaDB", "reads", "mariadb"),
}


def _rows(database: str, backlog: Backlog) -> tuple[Row, Row]:
    title, unit, needs = DATABASES[database]
    return (
        Row(
            key=f"backlog-{database}-{backlog.key}-reads",
            title=f"claim of 10 {backlog.title}, {title}",
            unit=unit,
            group=f"Claim with a backlog, {title}: what it reads",
            others=(SMALL,),
            must=(Target(1.2, (SMALL,)),),
            aim=(Target(1.0, (SMALL,), within=0.05),),
            less=True,
            needs=needs,
            drawn=False,
        ),
        Row(
            key=f"backlog-{database}-{backlog.key}-rate",
            title=f"claims of 10 {backlog.title}, {title}",
            unit="claims/s",
            group=f"Claim with a backlog, {title}: claims in a second",
            others=(SMALL,),
            must=(Target(0.8, (SMALL,)),),
            aim=(Target(1.0, (SMALL,), within=0.05),),
            needs=needs,
            drawn=False,
        ),
    )


ROWS = {(database, backlog): _rows(database, backlog) for database in DATABASES for backlog in BACKLOGS}


class Table:
    """A queue in tables of its own.

    Args:
        url: The database.
        name: Part of the names of the tables (of the schema on PostgreSQL, of the file on SQLite).
    """

    def __init__(self, url: str, name: str) -> None:
        self.backend = make_url(url).get_backend_name()
        self._url = url.format(name=name)
        self._options: dict[str, Any] = (
            {"schema": f"bench_{name}"} if self.backend == "postgresql" else {"prefix": f"bench_{name}_"}
        )
        self._steps = 0
        self.jobs = self._open()
        # statements of our own, on connections of their own: nothing of them is counted
        self._own = create_engine(parsed(self._url), isolation_level="AUTOCOMMIT")

    def _open(self) -> GNJ:
        jobs = GNJ(self._url, **self._options)
        if self.backend == "sqlite":
            event.listen(self._engine(jobs), "connect", lambda raw, _: raw.set_progress_handler(self._step, _STEP))
        return jobs

    def _step(self) -> int:
        self._steps += _STEP
        return 0

    @staticmethod
    def _engine(jobs: GNJ) -> Engine:
        return jobs.storage.engine  # type: ignore[attr-defined, no-any-return]

    def execute(self, *statements: str) -> None:
        """Runs statements on one connection, each committed."""
        with self._own.connect() as connection:
            for statement in statements:
                connection.execute(text(statement))

    def make(self) -> None:
        """Empty tables, which no vacuum comes by: it would count as reading."""
        self.drop()
        if self.backend == "postgresql":
            self.execute(f"CREATE SCHEMA {self._options['schema']}")
        self.jobs = self._open()
        self.jobs.migrate()
        if self.backend == "postgresql":
            self.execute(f"ALTER TABLE {self.job} SET (autovacuum_enabled = off)")

    def drop(self) -> None:
        """Nothing left."""
        if self.backend == "postgresql":
            self.execute(f"DROP SCHEMA IF EXISTS {self._options['schema']} CASCADE")
        elif self.backend == "sqlite":
            file = Path(str(self._engine(self.jobs).url.database))
            for path in file.parent.glob(f"{file.name}*"):
                path.unlink()
        else:
            engine, tables = self._engine(self.jobs), self.jobs.storage.tables  # type: ignore[attr-defined]
            tables.metadata.drop_all(engine)
            self.execute(f"DROP TABLE IF EXISTS {tables.version_table}")
        self.close()

    @property
    def job(self) -> str:
        """The table of jobs, as SQL has it."""
        tables = self.jobs.storage.tables  # type: ignore[attr-defined]
        return str(tables.name(tables.job))

    def fill(self, count: int, types: Sequence[str], state: str = "queued") -> None:
        """Adds jobs by SQL of its own: a million through the queue would take a minute."""
        now = "now()" if self.backend == "postgresql" else str(time.time_ns() // 1_000_000)
        later = "now() + interval '1 day'" if self.backend == "postgresql" else f"{now} + 86400000"
        status = "successful" if state == "ended" else "queued"
        due, ended = later if state == "delayed" else "NULL", now if state == "ended" else "NULL"
        names = " ".join(f"WHEN {place} THEN '{name}'" for place, name in enumerate(types))
        for first in range(1, count + 1, _CHUNK):
            last = min(count, first + _CHUNK - 1)
            numbers = f"WITH RECURSIVE s(n) AS (SELECT {first} UNION ALL SELECT n + 1 FROM s WHERE n < {last}) SELECT n FROM s"
            self.execute(
                *self._deep(),
                f"INSERT INTO {self.job} (type, input, status, due_at, start_after, ended_at, created_at, updated_at) "
                f"SELECT CASE n % {len(types)} {names} END, '[1]', '{status}', {due}, {due}, {ended}, {now}, {now} "
                f"FROM ({numbers}) AS s",
            )

    def _deep(self) -> tuple[str, ...]:
        if self.backend != "mysql":
            return ()
        mariadb = self._engine(self.jobs).dialect.is_mariadb  # type: ignore[attr-defined]
        return (f"SET SESSION {'max_recursive_iterations' if mariadb else 'cte_max_recursion_depth'} = {_CHUNK}",)

    def analyze(self) -> None:
        """Statistics of now."""
        self.execute(f"ANALYZE TABLE {self.job}" if self.backend == "mysql" else f"ANALYZE {self.job}")

    def close(self) -> None:
        """Disconnects; what was counted is known to the server then, at the latest."""
        self.jobs.close()
        self._own.dispose()

    def claim(self, types: Sequence[str]) -> tuple[float, list[Job]]:
        """A claim, and the seconds that it took."""
        begun = time.perf_counter()
        claimed = self.jobs.queue.acquire(types, _BATCH, worker_id="backlog")
        seconds = time.perf_counter() - begun
        if len(claimed) != _BATCH:
            raise ValueError(f"a claim got {len(claimed)} jobs, not {_BATCH}")
        return seconds, claimed

    def finish(self, claimed: Sequence[Job], types: Sequence[str]) -> None:
        """Ends jobs, and puts as many free ones in their place."""
        outcomes = [Outcome(job, JobStatus.SUCCESSFUL) for job in claimed]
        for result in self.jobs.queue.settle(outcomes):
            if isinstance(result, GnjError):
                raise result
        self.fill(len(claimed), free(types))

    def cost(self, types: Sequence[str], cycles: int) -> float:
        """What one claim reads, of connections that have claimed before."""
        self.jobs.close()
        self.jobs = self._open()
        taken = [job for _ in range(_WARM) for job in self.claim(types)[1]]
        before = self._read()
        taken += [job for _ in range(cycles) for job in self.claim(types)[1]]
        read = self._read() - before
        self.finish(taken, types)
        if read <= 0:
            raise ValueError("the claims do not seem to read anything: they are not counted where they are made")
        return read / cycles

    def _read(self) -> int:
        """What has been read so far."""
        if self.backend == "sqlite":
            return self._steps
        if self.backend == "mysql":
            return self._read_sessions()
        # sessions tell what they have read when they end, at the latest
        self.jobs.close()
        self.jobs = self._open()
        sql = (
            "SELECT sum(pg_stat_get_blocks_fetched(oid)) FROM pg_class WHERE relnamespace = CAST(:name AS regnamespace)"
        )
        told = [-1, -2]
        while told[-1] != told[-2]:
            time.sleep(0.1)
            with self._own.connect() as connection:
                told.append(int(connection.execute(text(sql), {"name": self._options["schema"]}).scalar_one() or 0))
        return told[-1]

    def _read_sessions(self) -> int:
        engine, total = self._engine(self.jobs), 0
        connections = [engine.connect() for _ in range(max(1, engine.pool.checkedin()))]  # type: ignore[attr-defined]
        for connection in connections:
            found = connection.execute(text("SHOW SESSION STATUS LIKE 'Handler_read%'"))
            total += sum(int(number) for _, number in found)
            connection.close()
        return total


@contextmanager
def tables(url: str) -> Iterator[tuple[Table, Table]]:
    """A small one and a large one, empty."""
    both = Table(url, "small"), Table(url, "large")
    try:
        for each in both:
            each.make()
        yield both
    finally:
        for each in both:
            with suppress(GnjError, OSError):
                each.drop()


def measure(run: Run, url: str, backlog: Backlog, rows: tuple[Row, Row]) -> None:
    """Both figures of one backlog, all repetitions."""
    size, types, cycles = getattr(run.options, backlog.size), backlog.types, run.options.cycles
    with tables(url) as (small, large):
        begun = time.monotonic()
        large.fill(size, backlog.before, backlog.state)
        for table in (small, large):
            if backlog.state == "held":
                table.jobs.queue.hold("held")
            table.fill(_FREE, free(types))
            table.analyze()
        run.recorder.say(f"   {rows[0].key}: {size:,} rows in {time.monotonic() - begun:.0f} s")
        pair = {SMALL: small, OURS: large}
        claims(pair, types, _WARM)
        for rep in range(run.options.reps):
            rates = claims(pair, types, cycles)
            for name, table in pair.items():
                run.recorder.add(
                    Sample(rows[0].key, name, table.cost(types, cycles), rep, {"rows": size}), rows[0].unit
                )
                run.recorder.add(Sample(rows[1].key, name, rates[name], rep, {"rows": size}), rows[1].unit)


def claims(pair: Mapping[str, Table], types: Sequence[str], cycles: int) -> dict[str, float]:
    """Claims in a second, from the median of their times: of each in turn, so that both meet the same load of the machine."""
    times: dict[str, list[float]] = {name: [] for name in pair}
    taken: dict[str, list[Job]] = {name: [] for name in pair}
    for cycle in range(cycles):
        for name in pair if cycle % 2 else reversed(list(pair)):
            seconds, claimed = pair[name].claim(types)
            times[name].append(seconds)
            taken[name] += claimed
    for name, table in pair.items():
        table.finish(taken[name], types)
    return {name: 1 / statistics.median(each) for name, each in times.items()}


def free(types: Sequence[str]) -> Sequence[str]:
    """The types of jobs that a claim of `types` can get."""
    return [name for name in types if name != "held"]


def _urls(run: Run) -> dict[str, Any]:
    return {
        "postgresql": run.options.database,
        "sqlite": f"sqlite:///{run.folder}/backlog-{{name}}.sqlite",
        "mariadb": run.options.mariadb,
    }


def _take(run: Run, rep: int) -> None:
    for (database, backlog), rows in ROWS.items():
        if not any(run.wants(row) for row in rows):
            continue
        try:
            measure(run, _urls(run)[database], backlog, rows)
        except Exception as error:
            for row in rows:
                run.recorder.add(Sample(row.key, OURS, None, rep, {"failed": str(error)}))


MEASUREMENTS = (Measurement(tuple(row for rows in ROWS.values() for row in rows), _take, alone=True),)


if __name__ == "__main__":
    command.main(__doc__, MEASUREMENTS)
