"""Jobs enqueued in a second, all in one call.

    python -m benchmarks.bulk --database postgresql://… --rivals FOLDER

On SQLite beside raw only: huey has no such call.
"""

from benchmarks.enqueue import BULK_MEASUREMENT
from benchmarks.harness import command

if __name__ == "__main__":
    command.main(__doc__, [BULK_MEASUREMENT])
