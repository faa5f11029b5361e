"""Jobs enqueued in a second with 32 in flight in one process.

    python -m benchmarks.concurrent_enqueue --database postgresql://… --rivals FOLDER

Each is committed before its call returns: threads of gnj and raw, coroutines and promises of the rivals.
"""

from benchmarks.enqueue import CONCURRENT_MEASUREMENT
from benchmarks.harness import command

if __name__ == "__main__":
    command.main(__doc__, [CONCURRENT_MEASUREMENT])
