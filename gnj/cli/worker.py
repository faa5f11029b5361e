"""`gnj worker`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit, urlunsplit

import typer

from gnj.cli.collector import spare
from gnj.cli.options import Database, FetchAllow, Files, Grace, Log, allowed_hosts, check_hosts, is_typed
from gnj.cli.output import CommandError, LogLevel, end_on_signals, log_to_stderr
from gnj.queue.errors import GnjError

if TYPE_CHECKING:
    from gnj.worker import Handlers, Worker


def worker(
    context: typer.Context,
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="MODULE:ATTR",
            show_default="none, which takes --content or --transform",
            help="The handlers: a gnj.GNJ (with its database), or gnj.Handlers. The working directory is searched first.",
        ),
    ] = None,
    database: Database = None,
    url: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            envvar="GNJ_URL",
            show_default="none: the jobs are in the database",
            help="The GraphQL endpoint of a server, such as [bold]https://example.com/jobs/graphql[/], in place of a database. "
            "[bold]GNJ_TOKEN[/] is sent as its bearer token.",
        ),
    ] = None,
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
    content: Annotated[  # noqa: FBT002 - how Typer declares a flag
        bool,
        typer.Option("--content", help="Do the tasks of content jobs, besides those of the handlers. Default: off."),
    ] = False,
    transform: Annotated[  # noqa: FBT002 - how Typer declares a flag
        bool,
        typer.Option(
            "--transform", help="Do the runs of transformation jobs, besides those of the handlers. Default: off."
        ),
    ] = False,
    fetch_allow: FetchAllow = None,
    files: Files = None,
    grace: Grace = 25,
    log_level: Log = LogLevel.WARNING,
) -> None:
    """Run jobs with the handlers of a Python module, until SIGTERM or Ctrl-C.

    With --transform, [bold]GNJ_SECRET_KEYS[/] and [bold]GNJ_FETCH_ALLOW[/] are to be those of the servers: the keys that credentials of
    sources are encrypted with, and where sources may be.

    Then it takes no more jobs and ends with exit code 0 when those under way are done; what is not done within --grace
    goes back to the queue. A second signal does not wait.
    """
    from gnj.cli.database import make_ready, open_jobs, refuse_memory, shown_database, shown_files
    from gnj.cli.target import load

    end_if_told = end_on_signals()
    log_to_stderr(log_level)
    more = [name for name, wanted in (("content", content), ("transformation", transform)) if wanted]
    if target is None and not more:
        raise CommandError("name the handlers, MODULE:ATTR, or say --content or --transform: there is nothing to run")
    hosts = allowed_hosts(fetch_allow)
    loaded = load(target) if target is not None else None
    known = sorted(loaded.handlers.types) if loaded is not None else []
    if not known and not more:
        raise CommandError(f"{target} has no handlers: there is nothing to run")
    chosen = [name.strip() for text in types or known for name in text.split(",") if name.strip()] if types else known
    if unknown := [name for name in chosen if name not in known]:
        raise CommandError(f"{target} has no handler for {unknown[0]}; it has: {', '.join(known)}")
    if url is not None:
        if loaded is None or more:
            kind, flag = ("content", "--content") if content else ("transformation", "--transform")
            raise CommandError(f"{kind} jobs are done where their database is: {flag} goes with --database, not --url")
        if is_typed(context, "database"):
            raise CommandError("give either --database or --url")
        running = _remote(url, loaded.handlers, chosen, concurrency=concurrency, lease=lease, poll=poll)
        print(f"gnj worker for {', '.join(chosen)}, {concurrency} at once, server {_shown(url)}", flush=True)
        spare()
        end_if_told()
        running.run(grace=grace)
        return
    with open_jobs(database, loaded, typed=is_typed(context, "database"), files=files, fetch_allow=hosts) as jobs:
        check_hosts(jobs.settings.fetch_allow)
        refuse_memory(jobs, "a worker of its own would never see a job (gnj serve --workers runs them together)")
        make_ready(jobs)
        try:
            running = jobs.worker(
                chosen, content=content, transform=transform, concurrency=concurrency, lease=lease, poll=poll
            )
        except ValueError as error:
            raise CommandError(str(error)) from error
        where, kinds = shown_database(jobs), [*chosen, *(f"{name} jobs" for name in more)]
        kept = f", files in {shown_files(jobs)}" if content else ""
        print(f"gnj worker for {', '.join(kinds)}, {concurrency} at once, database {where}{kept}", flush=True)
        spare()
        end_if_told()
        running.run(grace=grace)


def _remote(url: str, handlers: Handlers, types: Sequence[str], **options: Any) -> Worker:
    from gnj.worker.remote import RemoteWorker

    try:
        return RemoteWorker(url, token=os.environ.get("GNJ_TOKEN"), handlers=handlers, types=types, **options)
    except (GnjError, ImportError) as error:
        raise CommandError(str(error)) from error


def _shown(url: str) -> str:
    """The address without what may be a password in it."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
