"""Everything that gnj is measured by, beside its rivals and the raw limit, in one table.

    python -m benchmarks.setup_rivals FOLDER
    python -m benchmarks.table --rivals FOLDER --database postgresql://… --mariadb mysql://… --save docs/figures
    python -m benchmarks.table --small --rivals FOLDER --database postgresql://…     some minutes: does it work?
    python -m benchmarks.table --from docs/figures/performance.jsonl                 print again what was measured

Every figure is the median of its repetitions, which go round: all contenders once, then all of them again. Absolute figures
are those of one machine at one time; compare the ratios.
"""

from __future__ import annotations

from benchmarks import backlog, drain, enqueue, graphql_rows, idle, latency, memory
from benchmarks.harness import command

MEASUREMENTS = (
    *drain.MEASUREMENTS,
    *enqueue.MEASUREMENTS,
    *latency.MEASUREMENTS,
    *backlog.MEASUREMENTS,
    *graphql_rows.MEASUREMENTS,
    *memory.MEASUREMENTS,
    *idle.MEASUREMENTS,
)


if __name__ == "__main__":
    command.main(__doc__, MEASUREMENTS)
