"""What a run is told on its command line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """A run. The sizes are those of the table; smaller ones only show that it works."""

    database: str | None = None
    mariadb: str | None = None
    rivals: Path | None = None
    rows: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    reps: int = 5
    save: Path | None = None
    jobs: int = 20_000
    enqueues: int = 2_000
    concurrent: int = 6_400
    bulk: int = 20_000
    pickups: int = 1_000
    queued: int = 1_000_000
    before: int = 500_000
    ended: int = 5_000_000
    cycles: int = 50
    memory_jobs: int = 1_000_000
    idle: float = 10.0
    http: float = 4.0
    cap: float = 20.0


_SMALL = Options(
    reps=1,
    jobs=3_000,
    enqueues=200,
    concurrent=640,
    bulk=2_000,
    pickups=50,
    queued=20_000,
    before=10_000,
    ended=50_000,
    cycles=5,
    memory_jobs=10_000,
    idle=1.0,
    http=0.5,
    cap=5.0,
)


def command_line(description: str, usage: str | None = None) -> argparse.ArgumentParser:
    """A parser that calls the program as it was started, `python -m benchmarks.table`, and leaves the description's lines alone."""
    spec = sys.modules["__main__"].__spec__
    return argparse.ArgumentParser(
        prog=None if spec is None else f"python -m {spec.name}",
        usage=usage,
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def parser(description: str) -> argparse.ArgumentParser:
    """Of the whole table, and of any part of it."""
    # with all options in its usage, an error would stand below ten lines of them
    made = command_line(description, usage="%(prog)s [options]")
    add = made.add_argument
    add("--database", metavar="URL", help="a PostgreSQL, postgresql://…, in which schemas bench_* are made and dropped")
    add(
        "--mariadb",
        metavar="URL",
        help="an empty MariaDB or MySQL, mysql://…; tables bench_* are made and dropped there",
    )
    add(
        "--rivals",
        type=Path,
        metavar="FOLDER",
        help="where benchmarks.setup_rivals put them; without it gnj and raw only",
    )
    add(
        "--rows",
        type=_names,
        metavar="NAMES",
        help="only these, as drain,latency-sqlite: names of those below, or how some begin",
    )
    add("--only", type=_names, metavar="NAMES", help="only these contenders, as gnj,pgqueuer,raw: see below")
    add("--reps", type=_count, metavar="N", help="repetitions, each of all contenders in turn (5)")
    add("--save", type=Path, metavar="FOLDER", help="write performance.jsonl, performance.md and performance.svg there")
    add("--small", action="store_true", help="small sizes and one repetition: shows that it works, measures nothing")
    sizes = made.add_argument_group("sizes")
    for name, what in {
        "jobs": "drained",
        "enqueues": "enqueued one by one",
        "concurrent": "enqueued with 32 in flight",
        "bulk": "enqueued in one call",
        "pickups": "whose latency is taken, 10 ms apart",
        "queued": "of the backlog",
        "before": "held, delayed or of other types before the first free one",
        "ended": "ended, in the table",
        "cycles": "claims of ten, in one repetition of a backlog",
        "memory-jobs": "done by the worker whose memory is watched",
    }.items():
        sizes.add_argument(
            f"--{name}",
            type=_count,
            metavar="N",
            help=f"{what} ({Options.__dataclass_fields__[name.replace('-', '_')].default:,})",
        )
    sizes.add_argument("--idle", type=float, metavar="SECONDS", help="for which an idle worker is watched (10)")
    sizes.add_argument("--http", type=float, metavar="SECONDS", help="for which HTTP is asked, each time (4)")
    sizes.add_argument(
        "--cap", type=float, metavar="SECONDS", help="after which a drain is cut off and counted so far (20)"
    )
    return made


def read(arguments: argparse.Namespace) -> Options:
    """The options of what was parsed."""
    given = {name: value for name, value in vars(arguments).items() if value is not None}
    base = _SMALL if given.pop("small") else Options()
    known = {name: getattr(base, name) for name in Options.__dataclass_fields__}
    return Options(**known | {name: value for name, value in given.items() if name in known})


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _count(text: str) -> int:
    number = int(text.replace(",", "").replace("_", ""))
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def wanted(row: str, names: Sequence[str]) -> bool:
    """Whether a row is among those that were asked for."""
    return not names or any(row == name or row.startswith(f"{name}-") for name in names)
