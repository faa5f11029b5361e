"""Whether the tests notice: a subset of the ordinary suite against five deliberately broken variants of gnj.

    python -m benchmarks.reliability.mutants [--mutant NAME …] [--catch N]

The subset is green as gnj is, and has to go red for each mutation of `mutations`. Exit code 1 if one survives.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks.reliability.mutations import MUTATIONS, VARIABLE

ROOT = Path(__file__).resolve().parents[2]
TESTS = (
    "tests/reliability/test_fences.py::test_p3_every_write_of_a_lost_claim_changes_no_byte",
    "tests/reliability/test_races.py::test_p2_processes_are_handed_each_claim_once",
    "tests/reliability/test_recovery.py::test_p4_a_killed_workers_job_is_claimed_again_in_time",
    "tests/reliability/test_restarts.py::test_p5_a_start_leaves_what_is_worked_on_alone",
    "tests/reliability/test_deaths.py::test_p1_an_acknowledged_job_survives_the_death_of_who_acknowledged_it",
    "tests/queue/test_lease.py",
    "tests/queue/test_update.py",
    "tests/storage/test_claim_races.py::test_32_threads",
    "tests/storage/test_contract_sqlite.py::TestSqliteFileContract::test_each_job_is_handed_out_once",
)
"""What has to notice: files, or tests of them."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one variant."""

    name: str
    green: bool
    caught_by: tuple[str, ...]
    summary: str


def test(name: str | None, catch: int) -> Outcome:
    """Runs the subset against one variant, until `catch` tests have noticed; None: against gnj as it is."""
    environment = {**os.environ, VARIABLE: name or "", "PYTHONPATH": str(ROOT)}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-n0",
        "-q",
        "-m",
        "not slow",
        "-k",
        "not mysql",
        "--tb=no",
        "-rfE",
        f"--maxfail={catch}",
    ]
    command += ["-p", "benchmarks.reliability.plugin", "-p", "no:cacheprovider", *TESTS]
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if run.returncode > 1:
        raise RuntimeError(f"pytest did not run: {run.stdout[-2000:]}{run.stderr[-2000:]}")
    caught = re.findall(r"^(?:FAILED|ERROR) (?:tests/)?(.+?)(?: - .*)?$", run.stdout, re.MULTILINE)
    summary = run.stdout.strip().splitlines()[-1]
    return Outcome(name or "none", run.returncode == 0, tuple(caught), summary)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs, prints, and gives the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.reliability.mutants",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--mutant", action="append", choices=sorted(MUTATIONS), help="only this one; may be repeated")
    parser.add_argument("--catch", type=int, default=3, metavar="N", help="end when so many tests have noticed")
    given = parser.parse_args(arguments)
    console = Console()
    table = Table("mutation", "what it is")
    table.add_column("noticed by", overflow="fold")
    survivors = []
    for name in [None, *(given.mutant or MUTATIONS)]:
        with console.status(f"testing {name or 'gnj as it is'}"):
            outcome = test(name, given.catch)
        if outcome.green != (name is None):
            survivors.append(outcome.name)
        title = MUTATIONS[name].title if name else "gnj as it is"
        console.print(f"{outcome.name}: {outcome.summary}", highlight=False)
        table.add_row(outcome.name, title, escape("\n".join(outcome.caught_by) or outcome.summary))
    console.print(table)
    if survivors:
        console.print(f"[bold red]not as they should be: {', '.join(survivors)}[/]")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
