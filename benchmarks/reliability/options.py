"""What a run is told."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.reliability.mutations import MUTATIONS

MODES = ("http", "embedded", "both")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """One run; the same options, seed included, give the same jobs and the same faults in the same order."""

    database: str
    """A URL; empty, or not there yet where gnj makes it (SQLite)."""
    jobs: int = 1000
    kills: int = 30
    """Signal 9, to workers and servers."""
    stops: int = 10
    """SIGSTOP and, after a while that is often longer than the lease, SIGCONT."""
    cuts: int = 0
    """Connections ended by the database server, where there is one."""
    restarts: int = 0
    """SIGTERM, to workers and servers."""
    workers: int = 6
    servers: int = 2
    seed: int = 1
    short: bool = False
    """All jobs are single, there from the beginning and take no time: workers hold hundreds of claims, and tell ends in bulk."""
    mode: str = "both"
    """How workers reach the queue: over HTTP, on the database, or half of them each way."""
    lease: int = 2
    drain: float = 60.0
    """Seconds that fresh workers have in the end."""
    stall: float = 30.0
    """Seconds without a job done after which the run is given up and judged as it stands."""
    skew: float = 0.0
    """Seconds by which the processes' clocks are wrong, one forward, the next one back."""
    mutant: str | None = None
    """A deliberate defect, in every process (see `mutations`)."""
    keep: str | None = None
    """A folder that keeps the traces and logs."""

    @property
    def server_database(self) -> bool:
        """Whether connections to the database can be ended by it."""
        return not self.database.startswith("sqlite")


def parse(arguments: Sequence[str] | None = None) -> Options:
    """The options of a command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.reliability",
        description="Kills and freezes servers, workers and database connections while jobs, batches and pipelines go "
        "through, then counts what was lost, claimed twice, overwritten or run out of order. Exit code 1 if anything was.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--database", required=True, metavar="URL", help="an empty database; a SQLite file is made")
    add("--jobs", type=_count(1), default=1000, metavar="N", help="jobs in all")
    add("--kills", type=_count(0), default=30, metavar="K", help="kill -9 of workers and servers")
    add(
        "--stops", type=_count(0), default=10, metavar="S", help="SIGSTOP, then SIGCONT, mostly after the lease is over"
    )
    add("--cuts", type=_count(0), default=0, metavar="C", help="database connections ended by the database server")
    add("--restarts", type=_count(0), default=0, metavar="R", help="SIGTERM and a new process")
    add("--workers", type=_count(1), default=6, metavar="W", help="worker processes, 4 jobs at once each")
    add("--servers", type=_count(1), default=2, metavar="V", help="gnj serve processes")
    add("--seed", type=int, default=1, metavar="X", help="decides what is created, and what dies when")
    add("--short", action="store_true", help="jobs that take no time, all there from the beginning: batches in flight")
    add("--mode", choices=MODES, default="both", help="how workers reach the queue")
    add("--lease", type=_count(1), default=2, metavar="SECONDS", help="of the workers' claims")
    add("--drain", type=float, default=60.0, metavar="SECONDS", help="for fresh workers in the end")
    add("--stall", type=float, default=30.0, metavar="SECONDS", help="give up when nothing is done for so long")
    add("--skew", type=float, default=0.0, metavar="SECONDS", help="set the clocks of processes, one forward, one back")
    add("--mutant", choices=sorted(MUTATIONS), default=None, help="a deliberate defect, to see that it is found")
    add("--keep", metavar="FOLDER", default=None, help="keep traces and logs there")
    return Options(**vars(parser.parse_args(arguments)))


def _count(low: int) -> type[int]:
    def count(text: str) -> int:
        number = int(text.replace(",", "").replace("_", ""))
        if number < low:
            raise argparse.ArgumentTypeError(f"must be at least {low}")
        return number

    return count  # type: ignore[return-value]
