"""`gnj transform`: transformation jobs, their runs, and what these have written, without a client."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from gnj.cli.existing import opened
from gnj.cli.options import Database
from gnj.cli.output import CommandError, printable
from gnj.cli.show import iso, minute, print_json, print_table
from gnj.queue.errors import InvalidInput, NotFound
from gnj.queue.model_transform import RUN_OVER, RunStatus, TransformRun

if TYPE_CHECKING:
    from gnj.app import GNJ
    from gnj.transform.requests import JobView

_LOOK = 0.2
"""Seconds between two looks at a run that is waited for."""
_ABOVE = "\x1b[K\r"

app = typer.Typer(
    name="transform",
    rich_markup_mode="rich",
    no_args_is_help=True,
    help="List and run transformation jobs, and export what they have written.",
)


class Format(StrEnum):
    """How records are exported."""

    JSONL = "jsonl"
    CSV = "csv"


Which: TypeAlias = Annotated[int, typer.Argument(metavar="JOB", help="The id of the transformation job.")]
Tenant: TypeAlias = Annotated[
    str, typer.Option(metavar="TENANT", show_default="the tenant without a name", help="Whose it is.")
]


@app.command("list")
def list_jobs(
    database: Database = None,
    tenant: Tenant = "",
    as_json: Annotated[  # noqa: FBT002 - how Typer declares a flag
        bool, typer.Option("--json", help="Print one JSON object a line. Default: off.")
    ] = False,
) -> None:
    """List the transformation jobs of a tenant, and how each is."""
    with _transform(database) as jobs:
        views = jobs.transform_jobs.jobs(tenant)
        names = {row.id: row.name or row.type for row in jobs.transform_jobs.sources(tenant)}
    if as_json:
        for view in views:
            print_json(_told(view))
        return
    print_table(
        ("id", "source", "status", "last run", "next run", "when"),
        [
            (
                str(view.job.id),
                names.get(view.job.source_id, ""),
                (view.status, "red" if view.status == "Failed" else ""),
                "" if view.job.last_run_at is None else minute(view.job.last_run_at),
                "" if view.next_run is None else minute(view.next_run),
                view.cron_expression or "24 h after the last run",
            )
            for view in views
        ],
        right={"id"},
        yielding=["source", "when"],
    )


@app.command()
def run(
    job: Which,
    database: Database = None,
    tenant: Tenant = "",
    here: Annotated[  # noqa: FBT002 - how Typer declares a flag
        bool,
        typer.Option(
            "--here",
            help="Do runs in this process until this one is over, which needs no server; GNJ_FETCH_ALLOW and GNJ_SECRET_KEYS as for "
            "[bold]gnj serve[/]. Default: off.",
        ),
    ] = False,
) -> None:
    """Run a transformation job, or join the run that is under way, and wait for its end. Exit code 1 if it does not end well.

    A server does the run, or a worker. Ctrl-C ends the waiting, not the run.
    """
    with _transform(database) as jobs:
        begun = jobs.transform_jobs.run_job(tenant, job)
        print(f"run {begun.id} of the transformation job {job}", flush=True)
        with jobs.worker([], transform=True, concurrency=1, poll=_LOOK) if here else nullcontext():
            ended = _waited(jobs, begun)
    print(_counts(ended))
    if ended.status is not RunStatus.SUCCESSFUL:
        why = "" if ended.error is None else f": {ended.error}"
        raise CommandError(f"the run {ended.id} has ended as {ended.status.value}{why}", exit_code=1)


@app.command()
def export(
    job: Which,
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", show_default="standard output", help="Where to write them.")
    ] = None,
    database: Database = None,
    tenant: Tenant = "",
    format: Annotated[
        Format | None,
        typer.Option(show_default="as the name of FILE ends, else jsonl", help="JSON Lines, or CSV with a header."),
    ] = None,
    run: Annotated[
        int | None,
        typer.Option(metavar="ID", show_default="none: the current records", help="What this run of the job wrote."),
    ] = None,
) -> None:
    """Export the current records of a transformation job, or what one of its runs wrote."""
    from gnj.transform import exporting

    if format is None:
        format = Format.CSV if file is not None and file.suffix.lower() == ".csv" else Format.JSONL
    with _transform(database) as jobs:
        if run is None:
            found = exporting.of_job(jobs.queue, tenant, job)
        else:
            row = jobs.transform_jobs.run(tenant, run)
            if row is None or row.transform_job_id != job:
                raise CommandError(f"the transformation job {job} has no run {run}", exit_code=1)
            found = exporting.of_run(jobs.queue, tenant, run)
        try:
            with nullcontext(sys.stdout.buffer) if file is None else file.open("wb") as target:
                for piece in found.pieces(format.value):
                    target.write(piece)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise CommandError(f"{file or 'standard output'}: {error.strerror or error}", exit_code=1) from error


@contextmanager
def _transform(database: str | None) -> Iterator[GNJ]:
    """An application that has transformation jobs."""
    with opened(database) as jobs:
        try:
            _ = jobs.transform_jobs
        except InvalidInput:
            raise
        except ValueError as error:
            raise CommandError(str(error)) from error
        try:
            yield jobs
        except NotFound as error:
            raise CommandError(str(error), exit_code=1) from error


def _waited(jobs: GNJ, run: TransformRun) -> TransformRun:
    """The run, once it is over; on a terminal it is told meanwhile how far it is."""
    shown = sys.stderr.isatty()
    while run.status not in RUN_OVER:
        if shown:
            print(f"{_counts(run)}{_ABOVE}", end="", file=sys.stderr, flush=True)
        time.sleep(_LOOK)
        found = jobs.transform_jobs.run(run.tenant, run.id)
        if found is None:
            raise CommandError("the transformation job was deleted", exit_code=1)
        run = found
    return run


def _counts(run: TransformRun) -> str:
    return printable(f"{run.status.value}: {run.read:,} read, {run.written:,} written, {run.rejected:,} rejected")


def _told(view: JobView) -> dict[str, Any]:
    """A job as the API tells it."""
    job = view.job
    return {
        "id": str(job.id),
        "status": view.status,
        "sourceID": str(job.source_id),
        "mappingID": str(job.mapping_id),
        "targetSchemaID": str(job.format_id),
        "lastRun": None if job.last_run_at is None else iso(job.last_run_at),
        "nextRun": None if view.next_run is None else iso(view.next_run),
        "cronExpression": view.cron_expression,
        "webhookUrl": job.webhook_url,
    }
