"""How the memory of a worker grows while it does a million jobs.

    python -m benchmarks.memory --database postgresql://… [--memory-jobs 1000000]

From the first 50,000 on, or a tenth of fewer; what Linux tells of its resident memory ten times a second.
"""

from __future__ import annotations

import time

from benchmarks.harness import command, processes, usage
from benchmarks.harness.command import Measurement
from benchmarks.harness.processes import Failed
from benchmarks.harness.rows import Row, Target
from benchmarks.harness.run import Contender, Entry, Figures, Run, marked

_STALLED_SECONDS = 30.0


def _row(database: str, title: str, needs: str) -> Row:
    return Row(
        key=f"memory-{database}",
        title=f"growth of a worker over 1,000,000 jobs, {title}",
        unit="MB",
        group="Memory of a worker",
        must=(Target(10),),
        less=True,
        needs=needs,
    )


ENTRIES = {
    _row("postgresql", "PostgreSQL", "postgresql"): {"gnj": Entry("gnj")},
    _row("sqlite", "SQLite", ""): {"gnj": Entry("gnj-sqlite")},
}


def grown(run: Run, contender: Contender, entry: Entry, jobs: int) -> tuple[float, float, float]:
    """MB of memory: the growth, what it was at first, and the most it was then. It shrinks below nothing: that is flat, too."""
    contender.call("setup")
    contender.call("fill", jobs)
    log, settled = run.new_log(), min(50_000, jobs // 10)
    sizes: list[float] = []
    with contender.workers(entry.config, log) as (worker,):
        done, moved = 0, time.monotonic()
        while done < jobs:
            processes.check([worker], log)
            now = marked(log)
            if now != done:
                done, moved = now, time.monotonic()
            elif time.monotonic() - moved > _STALLED_SECONDS:
                raise Failed(f"nothing was done for {_STALLED_SECONDS:g} s after {done} jobs")
            if done >= settled:
                sizes.append(usage.resident(worker.pid))
            time.sleep(0.1)
    return max(sizes) - sizes[0], sizes[0], max(sizes)


def _take(run: Run, rep: int) -> None:
    for row, entries in ENTRIES.items():

        def measure(contender: Contender, entry: Entry, key: str = row.key) -> Figures:
            jobs = run.options.memory_jobs
            growth, first, most = grown(run, contender, entry, jobs)
            return {key: (growth, {"jobs": jobs, "first MB": round(first, 1), "most MB": round(most, 1)})}

        run.each(rep, [row], entries, measure)


# once: a million jobs repeat it often enough
MEASUREMENTS = (Measurement(tuple(ENTRIES), _take, alone=True),)


if __name__ == "__main__":
    command.main(__doc__, MEASUREMENTS)
