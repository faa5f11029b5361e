"""No-op jobs done in a second by 1, 2 and 4 worker processes on one PostgreSQL.

    python -m benchmarks.scaling --database postgresql://… --rivals FOLDER

As `benchmarks.drain` measures; the database and the workers share the machine's cores, which is the limit of most machines.
"""

from __future__ import annotations

from benchmarks import drain
from benchmarks.harness import command
from benchmarks.harness.command import Measurement
from benchmarks.harness.rows import Row
from benchmarks.harness.run import Entry

ENTRIES = {
    Row(
        key=f"scaling-{processes}",
        title=f"drain no-ops, PostgreSQL, worker processes: {processes}",
        unit="jobs/s",
        group="No-op jobs drained by worker processes, PostgreSQL",
        others=("graphile-worker", "raw"),
    ): {
        "gnj": Entry("gnj", processes=processes),
        "graphile-worker": Entry("graphile-worker", "tuned", processes),
        "raw": Entry("raw", "50", processes),
    }
    for processes in (1, 2, 4)
}
MEASUREMENTS = (Measurement(tuple(ENTRIES), drain.taking(ENTRIES)),)


if __name__ == "__main__":
    command.main(__doc__, MEASUREMENTS)
