"""Jobs enqueued in a second, each committed before the next: one by one, and with 32 in flight in one process.

    python -m benchmarks.enqueue --database postgresql://… --rivals FOLDER

`benchmarks.concurrent_enqueue` measures only the second, `benchmarks.bulk` all in one call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from benchmarks.harness import command
from benchmarks.harness.command import Measurement
from benchmarks.harness.rows import Row, Target
from benchmarks.harness.run import Contender, Entry, Figures, Run

_RIVALS = ("pgqueuer", "graphile-worker", "pg-boss", "procrastinate")
_POSTGRESQL = {name: Entry(name) for name in ("gnj", *_RIVALS, "raw")}
_SQLITE = {"gnj": Entry("gnj-sqlite"), "huey": Entry("huey"), "raw": Entry("raw-sqlite")}

ONE = Row(
    key="enqueue-postgresql",
    title="enqueue one by one, PostgreSQL",
    unit="jobs/s",
    group="Jobs enqueued one by one",
    others=(*_RIVALS, "raw"),
    must=(Target(0.8, _RIVALS, "the best rival"),),
    aim=(Target(1.0, _RIVALS, "the best rival"),),
)
ONE_SQLITE = Row(
    key="enqueue-sqlite",
    title="enqueue one by one, SQLite, synchronous FULL",
    unit="jobs/s",
    group="Jobs enqueued one by one",
    others=("huey", "raw"),
    must=(Target(0.6, ("raw",)),),
    aim=(Target(1.0, ("huey",)),),
    needs="",
)
CONCURRENT = Row(
    key="concurrent-postgresql",
    title="enqueue, 32 at a time, PostgreSQL",
    unit="jobs/s",
    group="Jobs enqueued, 32 in flight in one process",
    others=(*_RIVALS, "raw"),
    must=(Target(2.0, _RIVALS, "the best rival"),),
    aim=(Target(4.0, _RIVALS, "the best rival"),),
)
BULK = Row(
    key="bulk-postgresql",
    title="enqueue in one call, PostgreSQL",
    unit="jobs/s",
    group="Jobs enqueued in one call",
    others=(*_RIVALS, "raw"),
    must=(Target(1.0, ("graphile-worker", "pg-boss")),),
    aim=(Target(1.5, ("graphile-worker", "pg-boss")),),
)
BULK_SQLITE = Row(
    key="bulk-sqlite",
    title="enqueue in one call, SQLite",
    unit="jobs/s",
    group="Jobs enqueued in one call",
    others=("raw",),
    must=(Target(0.1, ("raw",)),),
    aim=(Target(0.2, ("raw",)),),
    needs="",
)


def _taking(entries: Mapping[Row, Mapping[str, Entry]], what: str, size: str) -> Callable[[Run, int], None]:
    def take(run: Run, rep: int) -> None:
        count = getattr(run.options, size)
        for row, of_row in entries.items():

            def measure(contender: Contender, entry: Entry, key: str = row.key) -> Figures:
                contender.call("setup")
                return {key: (count / contender.call(what, count)["seconds"], {})}

            run.each(rep, [row], of_row, measure)

    return take


def _measurement(what: str, size: str, entries: Mapping[Row, Mapping[str, Entry]]) -> Measurement:
    return Measurement(tuple(entries), _taking(entries, what, size))


ONE_BY_ONE_MEASUREMENT = _measurement("enqueue", "enqueues", {ONE: _POSTGRESQL, ONE_SQLITE: _SQLITE})
CONCURRENT_MEASUREMENT = _measurement("concurrent", "concurrent", {CONCURRENT: _POSTGRESQL})
BULK_MEASUREMENT = _measurement(
    "bulk",
    "bulk",
    {BULK: _POSTGRESQL, BULK_SQLITE: {name: entry for name, entry in _SQLITE.items() if name != "huey"}},
)
MEASUREMENTS = (ONE_BY_ONE_MEASUREMENT, CONCURRENT_MEASUREMENT, BULK_MEASUREMENT)


if __name__ == "__main__":
    command.main(__doc__, MEASUREMENTS[:2])
