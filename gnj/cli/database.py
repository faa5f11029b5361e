"""From the command line to a `GNJ` whose database answers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from gnj.cli.output import CommandError, printable, shown_url
from gnj.queue.errors import StorageError

if TYPE_CHECKING:
    from gnj.app import GNJ
    from gnj.cli.target import Target


def open_jobs(database: str | None, target: Target | None = None, *, typed: bool = False, **settings: Any) -> GNJ:
    """The `GNJ` that the command line and the target mean together; nothing is connected yet.

    A target that is a `GNJ` has chosen its database: only an option that was `typed` goes before it, the environment does
    not. Its hooks, handlers, custom operations, sources of transformation jobs and settings (a token, a prefix) stay in either case. Raises
    `GnjError` for a URL that means nothing.
    """
    from gnj.app import GNJ

    handlers = target.handlers if target else None
    own = target.jobs if target else None
    if own is None:
        return GNJ(database, handlers=handlers, **settings)
    hooks: dict[str, Any] = {"authenticate": own.authenticate, "authorize": own.authorize, "hooks": own.hooks}
    hooks["content"] = own.given_store
    given = {name: value for name, value in settings.items() if value is not None}
    chosen = {each.name: getattr(own.settings, each.name) for each in fields(own.settings) if each.name != "database"}
    if own.given_files is not None and "files" not in given:
        given["files"] = own.given_files
    jobs = GNJ(database if typed else own.storage, handlers=handlers, **hooks, **{**chosen, **given})
    jobs.adopt(own)
    if "transform" in vars(own):  # asked for only where something was registered: it needs an extra
        jobs.given_hosts = own.transform.hosts
    return jobs


def make_ready(jobs: GNJ) -> None:
    """Returns when the database answers and has this version's tables.

    A SQLite file is made, and migrated. Raises `CommandError`, which says what is wrong with which database.
    """
    with naming(jobs):
        jobs.start()
        jobs.storage.check()


def bring_up_to_date(jobs: GNJ) -> None:
    """Migrates the database. Raises `CommandError`, which says what is wrong with which database."""
    with naming(jobs):
        jobs.migrate()
        jobs.storage.check()


@contextmanager
def naming(jobs: GNJ) -> Iterator[None]:
    """What a database refuses inside is told with its name: a user may have several, and the environment chooses."""
    try:
        yield
    except StorageError as error:
        raise CommandError(f"{shown_database(jobs)}: {error}", exit_code=1) from error


def shown_database(jobs: GNJ) -> str:
    """Where the jobs are, for people."""
    engine = getattr(jobs.storage, "engine", None)
    if engine is not None:
        return shown_url(str(engine.url))
    return jobs.settings.database if jobs.settings.database.startswith("memory:") else type(jobs.storage).__name__


def shown_files(jobs: GNJ) -> str:
    """Where the files of content jobs are, for people: a directory by its whole path, since another process may run in another one."""
    from gnj.content.local_files import LocalFiles
    from gnj.content.s3_files import S3Files

    files = jobs.content.files
    if isinstance(files, LocalFiles):
        return printable(str(files.root.absolute()))
    return printable(jobs.settings.files) if isinstance(files, S3Files) else type(files).__name__


def refuse_memory(jobs: GNJ, why: str) -> None:
    """Raises `CommandError` for a database that nobody outside of this process can see."""
    if "processes" not in jobs.storage.capabilities:
        raise CommandError(f"{shown_database(jobs)} is inside one process: {why}")
