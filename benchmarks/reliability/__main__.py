"""`python -m benchmarks.reliability`."""

from __future__ import annotations

import signal
import sys

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.reliability.options import parse
from benchmarks.reliability.report import show
from benchmarks.reliability.run import NotEmpty, run
from gnj.queue.errors import GnjError


def main() -> int:
    """Runs, prints, and gives the exit code."""
    options = parse()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    errors = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    try:
        with Progress(*columns, console=errors, disable=not errors.is_terminal, transient=True) as bar:
            task = bar.add_task("starting", total=options.jobs)
            result = run(options, lambda done, what: bar.update(task, completed=done, description=what))
    except KeyboardInterrupt:
        errors.print("stopped; all its processes are ended")
        return 130
    except (NotEmpty, GnjError) as error:
        errors.print(str(error))
        return 2
    show(result.figures, result.verdict, Console())
    return 0 if result.verdict.clean else 1


if __name__ == "__main__":
    sys.exit(main())
