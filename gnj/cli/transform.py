"""`gnj transform`: transformation jobs, their runs, and what these have written, without a client."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from gnj.cli.existing import opened
from gnj.cli.options import Database, is_typed
from gnj.cli.output import CommandError, printable
from gnj.cli.show import iso, minute, print_json, print_table
from gnj.queue.errors import InvalidInput, NotFound
from gnj.queue.model_transform import RUN_OVER, RunStatus, TransformRun
from gnj.queue.runs import shown as run_told

if TYPE_CHECKING:
    from gnj.app import GNJ
    from gnj.cli.target import Target
    from gnj.transform.requests import JobView

_LOOK = 0.2
"""Seconds between two looks at a run that is waited for."""
_PATIENCE = 4.0
"""Seconds after which a run that nobody has begun is likely to be one that nobody will."""
_UNCHANGED = "the source has not changed"
_ABOVE = "\x1b[K\r"

app = typer.Typer(
    name="transform",
    rich_markup_mode="rich",
    no_args_is_help=True,
    help="List and run transformation jobs, look at their runs, and export what they have written.",
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
    context: typer.Context,
    job: Which,
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="MODULE:ATTR",
            show_default="none: sources that gnj reads itself",
            help="With --here: the gnj.GNJ whose functions read the sources and carry out attributes, and its database. The working "
            "directory is searched first.",
        ),
    ] = None,
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
    from gnj.cli.target import load

    if target is not None and not here:
        raise CommandError(f"{target} goes with --here: otherwise a server or a worker does the run, as it was started")
    loaded = None if target is None else load(target)
    if loaded is not None and loaded.jobs is None:
        raise CommandError(f"{target} has handlers alone: the functions that read sources are those of a gnj.GNJ")
    with _transform(database, loaded, typed=is_typed(context, "database")) as jobs:
        if here:
            _refuse_unread(jobs, tenant, job)
        begun = jobs.transform_jobs.run_job(tenant, job)
        print(f"run {begun.id} of the transformation job {job}", flush=True)
        with jobs.worker([], transform=True, concurrency=1, poll=_LOOK) if here else nullcontext():
            ended = _waited(jobs, begun, hint="" if here else f"or gnj transform run {job} --here does it")
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
        typer.Option(
            show_default="as the name of FILE ends, .csv or .jsonl; jsonl for one without an ending",
            help="JSON Lines, or CSV with a header.",
        ),
    ] = None,
    run: Annotated[
        int | None,
        typer.Option(metavar="ID", show_default="none: the current records", help="What this run of the job wrote."),
    ] = None,
) -> None:
    """Export the current records of a transformation job, or what one of its runs wrote."""
    from gnj.transform import exporting

    chosen = _format_of(file) if format is None else format
    with _transform(database) as jobs:
        if run is None:
            found = exporting.of_job(jobs.queue, tenant, job)
        else:
            found = exporting.of_run(jobs.queue, tenant, _run_of(jobs, tenant, job, run).id)
        try:
            with nullcontext(sys.stdout.buffer) if file is None else file.open("wb") as target:
                for piece in found.pieces(chosen.value):
                    target.write(piece)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise CommandError(f"{file or 'standard output'}: {error.strerror or error}", exit_code=1) from error


@app.command()
def runs(
    job: Which,
    database: Database = None,
    tenant: Tenant = "",
    rejected: Annotated[  # noqa: FBT002 - how Typer declares a flag
        bool,
        typer.Option(
            "--rejected", help="List the records that a run rejected, and why, in the place of the runs. Default: off."
        ),
    ] = False,
    run: Annotated[
        int | None,
        typer.Option(
            metavar="ID", show_default="the last one that ended well", help="With --rejected: of this run of the job."
        ),
    ] = None,
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="At most so many, up to 1,000.")] = 50,
    as_json: Annotated[  # noqa: FBT002 - how Typer declares a flag
        bool,
        typer.Option("--json", help="Print one JSON object a line, with the names of the GraphQL API. Default: off."),
    ] = False,
) -> None:
    """List the runs of a transformation job, the newest first, or with --rejected the records that one of them rejected."""
    if run is not None and not rejected:
        raise CommandError("--run goes with --rejected: it names the run whose rejected records are listed")
    with _transform(database) as jobs:
        lists = jobs.transform_jobs
        if not rejected:
            _print_runs(lists.runs(tenant, job, limit=limit), as_json=as_json)
            return
        if run is None:
            page = lists.job_records(tenant, job, limit=limit)
        else:
            page = lists.records(tenant, _run_of(jobs, tenant, job, run).id, limit=limit)
    if as_json:
        for each in page.rejected:
            print_json({"source": each.source, "reasons": each.reasons})
        return
    print_table(
        ("reasons", "record"),
        [("; ".join(each.reasons), json.dumps(each.source, ensure_ascii=False)) for each in page.rejected],
        yielding=["reasons", "record"],
    )
    if len(page.rejected) < page.rejected_total:
        print(f"{len(page.rejected):,} of {page.rejected_total:,} that were rejected", file=sys.stderr)


def _format_of(file: Path | None) -> Format:
    """What the name of a file says that it is to hold. Raises `CommandError` for what gnj does not write."""
    ending = "" if file is None else file.suffix.lower()
    if ending in ("", ".jsonl"):
        return Format.JSONL
    if ending == ".csv":
        return Format.CSV
    raise CommandError(
        f"{file}: files end with .csv or .jsonl; --format csv or jsonl says what is to be in another one"
    )


def _run_of(jobs: GNJ, tenant: str, job: int, run: int) -> TransformRun:
    """A run of that job. Raises `CommandError`."""
    row = jobs.transform_jobs.run(tenant, run)
    if row is None or row.transform_job_id != job:
        raise CommandError(f"the transformation job {job} has no run {run}", exit_code=1)
    return row


def _print_runs(rows: Sequence[TransformRun], *, as_json: bool) -> None:
    if as_json:
        for row in rows:
            print_json(run_told(row))
        return
    print_table(
        ("id", "status", "started", "finished", "read", "written", "rejected", "what"),
        [
            (
                str(row.id),
                (row.status.value, "red" if row.status is RunStatus.FAILED else ""),
                "" if row.started_at is None else minute(row.started_at),
                "" if row.finished_at is None else minute(row.finished_at),
                f"{row.read:,}",
                f"{row.written:,}",
                f"{row.rejected:,}",
                row.error or (_UNCHANGED if row.unchanged else ""),
            )
            for row in rows
        ],
        right={"id", "read", "written", "rejected"},
        yielding=["what"],
    )


def _refuse_unread(jobs: GNJ, tenant: str, id: int) -> None:
    """Raises `CommandError` where nobody here reads the job's source: its run would fail, and not be tried again."""
    from gnj.transform.errors import NoHandler

    row = jobs.transform_jobs.job_row(tenant, id)
    for source in () if row is None else jobs.transform_jobs.sources_of(tenant, [row.source_id]).values():
        try:
            jobs.transform.hosts.sources.fetcher(source.type)
        except NoHandler:
            message = f"its source is of the type {source.type}, which a function of the host reads: name the gnj.GNJ that has it"
            raise CommandError(f"{message}, as in gnj transform run {id} app:jobs --here") from None


@contextmanager
def _transform(database: str | None, target: Target | None = None, *, typed: bool = False) -> Iterator[GNJ]:
    """An application that has transformation jobs."""
    with opened(database, target, typed=typed) as jobs:
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


def _waited(jobs: GNJ, run: TransformRun, *, hint: str) -> TransformRun:
    """The run, once it is over; on a terminal it is told meanwhile how far it is. With a hint, that is told of a run that nobody takes."""
    shown, patience = sys.stderr.isatty(), time.monotonic() + _PATIENCE
    while run.status not in RUN_OVER:
        if shown:
            print(f"{_counts(run)}{_ABOVE}", end="", file=sys.stderr, flush=True)
        if hint and run.status is RunStatus.PENDING and time.monotonic() >= patience:
            print(f"no worker has taken it yet: gnj serve, gnj worker --transform {hint}", file=sys.stderr, flush=True)
            hint = ""
        time.sleep(_LOOK)
        found = jobs.transform_jobs.run(run.tenant, run.id)
        if found is None:
            raise CommandError("the transformation job was deleted", exit_code=1)
        run = found
    return run


def _counts(run: TransformRun) -> str:
    told = f"; {_UNCHANGED}" if run.unchanged else ""
    return printable(f"{run.status.value}: {run.read:,} read, {run.written:,} written, {run.rejected:,} rejected{told}")


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
