"""`gnj migrate`."""

from __future__ import annotations

from typing import Annotated

import typer

from gnj.cli.options import Database, is_typed


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
    from gnj.cli.database import bring_up_to_date, open_jobs, refuse_memory, shown_database
    from gnj.cli.output import CommandError
    from gnj.cli.target import load

    loaded = load(target) if target else None
    if loaded is not None and loaded.jobs is None:
        raise CommandError(f"{target} is a gnj.Handlers, which has no database: name a gnj.GNJ, or give --database")
    with open_jobs(database, loaded, typed=is_typed(context, "database")) as jobs:
        refuse_memory(jobs, "there is nothing to migrate")
        bring_up_to_date(jobs)
        print(f"{shown_database(jobs)} is up to date.")
