"""No-op jobs done in a second, from the start of the first to the end of the last one as the database has it.

    python -m benchmarks.drain --database postgresql://… --rivals FOLDER

The jobs are there before the workers start. gnj's is `jobs.worker()`, with nothing set; rivals are tuned as they tune
themselves for their own benchmarks. "raw" writes gnj's columns on gnj's table in batches of 50, without a queue around it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen

from benchmarks.harness import command, processes
from benchmarks.harness.command import Measurement
from benchmarks.harness.processes import Failed
from benchmarks.harness.rows import Row, Target
from benchmarks.harness.run import Contender, Entry, Figures, Run, marked, marks

_START_SECONDS = 30.0
_LOOK = 0.002

POSTGRESQL = Row(
    key="drain-postgresql",
    title="drain no-ops, PostgreSQL, one worker process",
    unit="jobs/s",
    group="No-op jobs drained, PostgreSQL",
    others=("pgqueuer", "graphile-worker", "raw", "raw 500"),
    must=(Target(1.5, ("pgqueuer",)), Target(0.55, ("raw",))),
    aim=(Target(1.0, ("graphile-worker",)),),
)
TWO = Row(
    key="drain-postgresql-two",
    title="drain no-ops, PostgreSQL, two worker processes",
    unit="jobs/s",
    group="No-op jobs drained, PostgreSQL",
    others=("pgqueuer", "graphile-worker", "raw"),
    must=(Target(0.8, ("graphile-worker",)),),
    aim=(Target(1.0, ("graphile-worker",)),),
)
SQLITE = Row(
    key="drain-sqlite",
    title="drain no-ops, SQLite, synchronous FULL",
    unit="jobs/s",
    group="No-op jobs drained, SQLite",
    others=("huey", "raw", "raw 500"),
    must=(Target(5, ("huey",)), Target(0.35, ("raw",))),
    aim=(Target(10, ("huey",)),),
    needs="",
)
ENTRIES: Mapping[Row, Mapping[str, Entry]] = {
    POSTGRESQL: {
        "gnj": Entry("gnj"),
        "pgqueuer": Entry("pgqueuer", "tuned"),
        "graphile-worker": Entry("graphile-worker", "tuned"),
        "raw": Entry("raw", "50"),
        "raw 500": Entry("raw", "500"),
    },
    TWO: {
        "gnj": Entry("gnj", processes=2),
        "pgqueuer": Entry("pgqueuer", "tuned", 2),
        "graphile-worker": Entry("graphile-worker", "tuned", 2),
        "raw": Entry("raw", "50", 2),
    },
    SQLITE: {
        "gnj": Entry("gnj-sqlite"),
        "huey": Entry("huey"),
        "raw": Entry("raw-sqlite", "50"),
        "raw 500": Entry("raw-sqlite", "500"),
    },
}


@dataclass(frozen=True, slots=True)
class Drained:
    """What workers did.

    Args:
        rate: Jobs a second.
        done: How many began.
        twice: How many of them more than once.
        whole: Whether all was done before time was up.
    """

    rate: float
    done: int
    twice: int
    whole: bool


def drained(run: Run, contender: Contender, entry: Entry, jobs: int) -> Drained:
    """Fills an empty queue, starts the workers, and waits until all is done or `cap` seconds have passed."""
    contender.call("setup")
    contender.call("fill", jobs)
    log = run.new_log()
    with contender.watching() as pending, contender.workers(entry.config, log, entry.processes) as started:
        begun = awaited(log, 1, started, _START_SECONDS)
        whole = awaited(log, jobs, started, run.options.cap, since=begun) is not None
        while whole and pending():
            time.sleep(_LOOK)
        ended = time.monotonic_ns()
    return rated(marks(log), jobs, ended if whole else None)


def rated(records: list[tuple[int, int]], jobs: int, ended: int | None) -> Drained:
    """The rate of marks; of what was cut off (`ended` is None), from the first start to the last.

    Raises `Failed` where all was said to be done, and is not.
    """
    starts = sorted(at for number, at in records if number >= 0)
    distinct = {number for number, _ in records if number >= 0}
    if ended is not None and len(distinct) != jobs:
        raise Failed(f"{jobs - len(distinct)} of {jobs} jobs were never begun")
    if len(starts) < 2:
        raise Failed("hardly a job was begun")
    seconds = ((ended or starts[-1]) - starts[0]) / 1e9
    done = len(distinct) if ended is not None else len(distinct) - 1
    return Drained(done / seconds, len(distinct), len(starts) - len(distinct), ended is not None)


def awaited(
    log: Path, count: int, started: list[Popen[bytes]], limit: float, since: float | None = None
) -> float | None:
    """Waits until so many jobs have begun; the time then, or None where `limit` seconds pass before.

    Raises `Failed` when a worker ends, or when none begins its first job.
    """
    begun = time.monotonic() if since is None else since
    while marked(log) < count:
        processes.check(started, log)
        if time.monotonic() - begun > limit:
            if since is None:
                raise Failed(f"no job was begun within {limit:g} s: {processes.errors_of(log).read_text()[-300:]}")
            return None
        time.sleep(_LOOK)
    return time.monotonic()


def taking(entries: Mapping[Row, Mapping[str, Entry]]) -> Callable[[Run, int], None]:
    """What takes one repetition of these rows."""

    def take(run: Run, rep: int) -> None:
        for row, of_row in entries.items():

            def measure(contender: Contender, entry: Entry, key: str = row.key) -> Figures:
                found = drained(run, contender, entry, run.options.jobs)
                notes = {} if found.whole else {"cut off after": found.done}
                return {key: (found.rate, notes | ({"begun twice": found.twice} if found.twice else {}))}

            run.each(rep, [row], of_row, measure)

    return take


MEASUREMENTS = (Measurement(tuple(ENTRIES), taking(ENTRIES)),)


if __name__ == "__main__":
    command.main(__doc__, MEASUREMENTS)
