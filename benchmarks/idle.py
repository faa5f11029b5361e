"""What a worker with nothing to do uses, processor time and memory, and how long `import gnj` takes.

    python -m benchmarks.idle --database postgresql://… --rivals FOLDER

The worker has done two jobs before. `python -m benchmarks.import_time` measures the import alone, more often.
"""

from __future__ import annotations

import statistics
import time

from benchmarks import import_time
from benchmarks.drain import awaited
from benchmarks.harness import command, usage
from benchmarks.harness.command import Measurement
from benchmarks.harness.results import Sample
from benchmarks.harness.rows import OURS, Row, Target
from benchmarks.harness.run import Contender, Entry, Figures, Run

_RIVALS = ("pgqueuer", "graphile-worker", "pg-boss", "procrastinate")
CPU = Row(
    key="idle-cpu",
    title="idle worker, PostgreSQL, processor",
    unit="% of a core",
    group="Idle worker, processor",
    others=_RIVALS,
    must=(Target(1),),
    less=True,
    drawn=False,
)
RSS = Row(
    key="idle-memory",
    title="idle worker, PostgreSQL, memory",
    unit="MB",
    group="Idle worker, memory",
    others=_RIVALS,
    must=(Target(60),),
    less=True,
    drawn=False,
)
IMPORT = Row(
    key="import",
    title="import gnj",
    unit="ms",
    group="import gnj",
    must=(Target(100),),
    less=True,
    needs="",
)
ENTRIES = {"gnj": Entry("gnj"), **{name: Entry(name) for name in _RIVALS}}


def idled(run: Run, contender: Contender, entry: Entry, seconds: float) -> tuple[float, float]:
    """Percent of a core, and MB, of a worker that has done a job and has no more."""
    contender.call("setup")
    log = run.new_log()
    with contender.workers(entry.config, log) as (worker,):
        contender.call("latency", 1, 0)
        awaited(log, 2, [worker], 30.0)
        time.sleep(1.0)
        before, begun = usage.cpu_seconds(worker.pid), time.monotonic()
        time.sleep(seconds)
        used = usage.cpu_seconds(worker.pid) - before
        return 100 * used / (time.monotonic() - begun), usage.resident(worker.pid)


def _take(run: Run, rep: int) -> None:
    def measure(contender: Contender, entry: Entry) -> Figures:
        cpu, memory = idled(run, contender, entry, run.options.idle)
        return {CPU.key: (cpu, {}), RSS.key: (memory, {})}

    run.each(rep, [CPU, RSS], ENTRIES, measure)


def _take_import(run: Run, rep: int) -> None:
    if rep == 0:
        import_time.seconds("import gnj")  # compiles the bytecode
    pairs = [(import_time.seconds("pass"), import_time.seconds("import gnj")) for _ in range(3)]
    empty, full = (statistics.median(column) for column in zip(*pairs, strict=True))
    run.recorder.add(Sample(IMPORT.key, OURS, 1000 * (full - empty), rep), IMPORT.unit)


MEASUREMENTS = (Measurement((CPU, RSS), _take), Measurement((IMPORT,), _take_import))


if __name__ == "__main__":
    command.main(__doc__, MEASUREMENTS)
