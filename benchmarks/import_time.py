"""How long `import gnj` takes, beside an interpreter that imports nothing.

    python -m benchmarks.import_time [--runs 15]

Medians of fresh interpreters, run in turn. The bound is 100 ms (architecture: `import gnj` stays light).
"""

import os
import statistics
import subprocess
import sys
import time

from benchmarks.harness import options


def seconds(code: str) -> float:
    """Wall time of an interpreter that runs `code`."""
    # bytecode is compiled once and kept, as on any installation
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
    return time.perf_counter() - start


def main() -> None:
    """Measure and print."""
    parser = options.command_line(__doc__)
    parser.add_argument("--runs", type=int, default=15)
    runs = parser.parse_args().runs
    seconds("import gnj")  # compiles the bytecode
    pairs = [(seconds("pass"), seconds("import gnj")) for _ in range(runs)]
    empty, full = (statistics.median(column) * 1000 for column in zip(*pairs, strict=True))
    print(f"empty interpreter {empty:6.1f} ms")
    print(f"with import gnj   {full:6.1f} ms")
    print(f"import gnj        {full - empty:6.1f} ms  (medians of {runs})")


if __name__ == "__main__":
    main()
