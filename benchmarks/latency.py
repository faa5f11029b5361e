"""How long a job waits for an idle worker: from before its enqueue in one process to its start in another.

    python -m benchmarks.latency --database postgresql://… --rivals FOLDER

Jobs 10 ms apart, from a process that has enqueued one before, to a worker that has run some. "raw" on PostgreSQL is one INSERT with a NOTIFY in it, and a worker that listens and then claims.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from benchmarks.drain import awaited
from benchmarks.harness import command
from benchmarks.harness.command import Measurement
from benchmarks.harness.processes import Failed
from benchmarks.harness.results import percentile
from benchmarks.harness.rows import Row, Target
from benchmarks.harness.run import Contender, Entry, Figures, Run, marked, marks

_RIVALS = ("pgqueuer", "graphile-worker", "pg-boss", "procrastinate")
_GAP_MS = 10
_SETTLE_SECONDS = 0.5
SHARES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


def _rows(
    database: str,
    title: str,
    others: tuple[str, ...],
    targets: Mapping[str, tuple[tuple[Target, ...], tuple[Target, ...]]],
) -> tuple[Row, ...]:
    return tuple(
        Row(
            key=f"latency-{database}-{name}",
            title=f"pick-up by an idle worker, {title}, {name}",
            unit="ms",
            group=f"Pick-up by an idle worker, {title}",
            others=others,
            must=targets.get(name, ((), ()))[0],
            aim=targets.get(name, ((), ()))[1],
            less=True,
            needs="postgresql" if database == "postgresql" else "",
            drawn=name != "p95",
        )
        for name in SHARES
    )


POSTGRESQL = _rows(
    "postgresql",
    "PostgreSQL",
    (*_RIVALS, "raw"),
    {
        "p50": (
            (Target(1.2, _RIVALS, "the best rival"), Target(15)),
            (Target(1.0, _RIVALS, "the best rival"),),
        ),
        "p99": ((Target(1.5, ("raw",)),), ()),
    },
)
SQLITE = _rows("sqlite", "SQLite, another process", ("huey",), {"p50": ((Target(15),), (Target(1.0, ("huey",)),))})
ENTRIES: Mapping[tuple[Row, ...], Mapping[str, Entry]] = {
    POSTGRESQL: {"gnj": Entry("gnj"), **{name: Entry(name) for name in _RIVALS}, "raw": Entry("raw", "notify")},
    SQLITE: {"gnj": Entry("gnj-sqlite"), "huey": Entry("huey")},
}


def waited(run: Run, contender: Contender, entry: Entry, jobs: int) -> list[float]:
    """The milliseconds that each job waited."""
    contender.call("setup")
    log = run.new_log()
    with contender.workers(entry.config, log) as started:
        time.sleep(_SETTLE_SECONDS)
        # jobs of their own show that the worker is there; it finds them by polling, if it was not there in time
        contender.call("latency", 1, 0)
        awaited(log, 2, started, 30.0)
        time.sleep(_SETTLE_SECONDS)
        before = marked(log)
        put = contender.call("latency", jobs, _GAP_MS)["at"]
        due = before + 1 + jobs
        if awaited(log, due, started, 15.0, since=time.monotonic()) is None:
            raise Failed(f"{due - marked(log)} of {1 + jobs} jobs were not begun within 15 s")
    return [(at - put[number]) / 1e6 for number, at in marks(log)[before:] if number >= 0]


def _take(run: Run, rep: int) -> None:
    for rows, entries in ENTRIES.items():

        def measure(contender: Contender, entry: Entry, rows: tuple[Row, ...] = rows) -> Figures:
            times = waited(run, contender, entry, run.options.pickups)
            return {row.key: (percentile(times, share), {}) for row, share in zip(rows, SHARES.values(), strict=True)}

        run.each(rep, rows, entries, measure)


MEASUREMENTS = (Measurement((*POSTGRESQL, *SQLITE), _take),)


if __name__ == "__main__":
    command.main(__doc__, MEASUREMENTS)
