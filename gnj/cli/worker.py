"""`gnj worker`."""

from __future__ import annotations

from typing import Annotated

import typer

from gnj.cli.options import Database, Grace, Log, is_typed
from gnj.cli.output import CommandError, LogLevel, end_on_signals, log_to_stderr


def worker(
    context: typer.Context,
    target: Annotated[
        str,
        typer.Argument(
            metavar="MODULE:ATTR",
            help="The handlers: a gnj.GNJ (with its database), or gnj.Handlers. The working directory is searched first.",
        ),
    ],
    database: Database = None,
    types: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TYPE",
            envvar="GNJ_TYPES",
            show_default="all that have a handler",
            help="Only take jobs of this type; may be repeated, or a list with commas.",
        ),
    ] = None,
    concurrency: Annotated[
        int,
        typer.Option(metavar="N", envvar="GNJ_CONCURRENCY", min=1, max=1000, help="How many jobs run at once."),
    ] = 8,
    lease: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            envvar="GNJ_WORKER_LEASE",
            min=1,
            help="How long a job stays with this worker after its last sign of life. It gives three in that time, so only "
            "a worker that was killed, or cut off, loses its jobs to others.",
        ),
    ] = 30,
    poll: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            envvar="GNJ_POLL",
            min=0.01,
            max=3600,
            help="How often to look for jobs where the database does not tell of new ones (PostgreSQL does).",
        ),
    ] = 1,
    grace: Grace = 25,
    log_level: Log = LogLevel.WARNING,
) -> None:
    """Run jobs with the handlers of a Python module, until SIGTERM or Ctrl-C.

    Then it takes no more jobs and ends with exit code 0 when those under way are done; what is not done within --grace
    goes back to the queue. A second signal does not wait.
    """
    from gnj.cli.database import make_ready, open_jobs, refuse_memory, shown_database
    from gnj.cli.target import load

    end_on_signals()
    log_to_stderr(log_level)
    loaded = load(target)
    known = sorted(loaded.handlers.types)
    if not known:
        raise CommandError(f"{target} has no handlers: there is nothing to run")
    chosen = [name.strip() for text in types or known for name in text.split(",") if name.strip()] if types else known
    if unknown := [name for name in chosen if name not in known]:
        raise CommandError(f"{target} has no handler for {unknown[0]}; it has: {', '.join(known)}")
    with open_jobs(database, loaded, typed=is_typed(context, "database")) as jobs:
        refuse_memory(jobs, "a worker of its own would never see a job (gnj serve --workers runs them together)")
        make_ready(jobs)
        running = jobs.worker(chosen, concurrency=concurrency, lease=lease, poll=poll)
        where = shown_database(jobs)
        print(f"gnj worker for {', '.join(chosen)}, {concurrency} at once, database {where}", flush=True)
        running.run(grace=grace)
