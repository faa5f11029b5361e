"""Jobs per second of `gnj demo`, as it reports them itself.

    python -m benchmarks.demo_rate [--runs 3] [--database URL] [FOLDER]

Everything is in it: a server and a worker process, GraphQL over HTTP to create and to poll, SQLite with synchronous FULL
(or the database named), and the work of compressing each file.
"""

import re
import statistics
import subprocess
import sys

from benchmarks.harness import options


def main() -> None:
    """Measure and print."""
    parser = options.command_line(__doc__)
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--database")
    given = parser.parse_args()
    command = [sys.executable, "-m", "gnj.cli", "demo", *filter(None, [given.folder])]
    command += ["--database", given.database] if given.database else []
    rates = []
    for run in range(1, given.runs + 1):
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        rates.append(int(re.search(r"Jobs per second\s+([\d,]+)", output)[1].replace(",", "")))
        print(f"run {run}: {rates[-1]} jobs/s", flush=True)
    print(f"median of {given.runs}: {statistics.median(rates):g} jobs/s")


if __name__ == "__main__":
    main()
