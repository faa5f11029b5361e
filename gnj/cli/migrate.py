"""`gnj migrate`."""

from __future__ import annotations

from gnj.cli.options import Database


def migrate(database: Database = None) -> None:
    """Bring the tables of a database up to this version of gnj.

    Any number of processes may do it at once, and doing it again changes nothing. SQLite files do not need it: whatever
    uses one first migrates it.
    """
    from gnj.cli.database import bring_up_to_date, open_jobs, refuse_memory, shown_database

    with open_jobs(database) as jobs:
        refuse_memory(jobs, "there is nothing to migrate")
        bring_up_to_date(jobs)
        print(f"{shown_database(jobs)} is up to date.")
