"""Databases that are there already: for the commands that look at jobs, which make none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gnj.cli.database import naming, open_jobs, refuse_memory, shown_database
from gnj.cli.output import CommandError

if TYPE_CHECKING:
    from gnj.app import GNJ
    from gnj.cli.target import Target


@contextmanager
def opened(
    database: str | None, target: Target | None = None, *, typed: bool = False, **settings: Any
) -> Iterator[GNJ]:
    """The `GNJ` of a database that is there and of this version, as `open_jobs` has it, while the block lasts.

    Raises `CommandError`, which says what is wrong with which database; also for what it refuses inside the block.
    """
    with open_jobs(database, target, typed=typed, **settings) as jobs:
        refuse_memory(jobs, "nobody else can look at its jobs")
        if is_absent(jobs):
            raise CommandError(absence(jobs), exit_code=1)
        with naming(jobs):
            _ = jobs.queue
            jobs.storage.check()
            yield jobs


def is_absent(jobs: GNJ) -> bool:
    """Whether the database is a file that does not exist: SQLite would make it as soon as it is asked anything."""
    engine: Any = getattr(jobs.storage, "engine", None)
    if engine is None or engine.dialect.name != "sqlite" or "processes" not in jobs.storage.capabilities:
        return False
    name = engine.url.database
    # of a file:… URI only SQLite knows what it means
    return not name.startswith("file:") and not Path(name).exists()


def absence(jobs: GNJ) -> str:
    """That, in words."""
    return f"{shown_database(jobs)}: there is no database yet: gnj migrate, gnj serve or an application makes it"
