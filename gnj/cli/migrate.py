"""`gnj migrate`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from gnj.cli.options import Database, is_typed

if TYPE_CHECKING:
    from gnj.queue.storage import Storage


def migrate(
    context: typer.Context,
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="[MODULE:ATTR]",
            show_default="none: the database of --database",
            help="A gnj.GNJ, whose database is meant. The working directory is searched first.",
        ),
    ] = None,
    database: Database = None,
) -> None:
    """Bring the tables of a database up to this version of gnj.

    Any number of processes may do it at once, and doing it again changes nothing. SQLite files do not need it: whatever
    uses one first migrates it.
    """
    from gnj.cli.database import bring_up_to_date, naming, open_jobs, refuse_memory, shown_database
    from gnj.cli.output import CommandError
    from gnj.cli.target import load

    loaded = load(target) if target else None
    if loaded is not None and loaded.jobs is None:
        raise CommandError(f"{target} is a gnj.Handlers, which has no database: name a gnj.GNJ, or give --database")
    with open_jobs(database, loaded, typed=is_typed(context, "database")) as jobs:
        refuse_memory(jobs, "there is nothing to migrate")
        with naming(jobs):
            before = _revision(jobs.storage)
        bring_up_to_date(jobs)
        after = _revision(jobs.storage)
        if before == after:
            print(f"{shown_database(jobs)} is up to date.")
        else:
            print(f"{shown_database(jobs)} was migrated from {before or 'no tables'} to {after}.")


def _revision(storage: Storage) -> str | None:
    """That of a database; None where gnj has no tables, or they are a storage's of another kind."""
    from gnj.storage.sql.migrate import revision
    from gnj.storage.sql.storage import SqlStorage
    from gnj.storage.sql.transaction import SqlRows

    if not isinstance(storage, SqlStorage):
        return None
    with storage.begin(write=False) as rows:
        assert isinstance(rows, SqlRows)  # noqa: S101 - what the storage of SQL gives
        return revision(rows.connection, storage.tables)
