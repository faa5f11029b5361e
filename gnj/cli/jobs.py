"""`gnj jobs`: looking at jobs; what is done with them is in `job_add` and `job_commands`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from gnj.cli.job_add import add
from gnj.cli.job_commands import cancel, delete, queue, recover, retry
from gnj.cli.options import Database
from gnj.cli.output import CommandError, printable
from gnj.cli.show import (
    Cell,
    duration,
    first_error,
    is_terminal,
    iso,
    named,
    print_json,
    print_pairs,
    print_table,
    wire,
)
from gnj.queue import lists
from gnj.queue.errors import InvalidInput
from gnj.queue.model import Job, JobAttempt
from gnj.queue.states import JobStatus
from gnj.queue.storage import Select
from gnj.queue.values import check_int
from gnj.queue.where import And, Condition, equal, parse

if TYPE_CHECKING:
    from gnj.app import GNJ

STYLES: Mapping[JobStatus, str] = {
    JobStatus.PROCESSING: "cyan",
    JobStatus.CANCEL_REQUESTED: "yellow",
    JobStatus.SUCCESSFUL: "green",
    JobStatus.FAILED: "red",
    JobStatus.CANCELLED: "yellow",
}
_COLUMNS = ("id", "type", "name", "status", "priority", "attempt", "age", "worker", "error")

_YIELDING = ("type", "name", "worker", "error")

app = typer.Typer(
    name="jobs",
    rich_markup_mode="rich",
    no_args_is_help=True,
    help="Look at jobs, and add, retry, recover, cancel or delete them.",
)


@app.command("list")
def list_jobs(
    database: Database = None,
    types: Annotated[
        list[str] | None,
        typer.Option(
            "--type",
            metavar="TYPE",
            show_default="any",
            help="Only of this type; may be repeated, or a list with commas.",
        ),
    ] = None,
    statuses: Annotated[
        list[str] | None,
        typer.Option(
            "--status",
            metavar="STATUS",
            show_default="any",
            help=f"Only with this status: {', '.join(JobStatus)}; may be repeated, or a list with commas.",
        ),
    ] = None,
    tenant: Annotated[
        str | None,
        typer.Option(metavar="TENANT", show_default="any", help="Only of this tenant; '' is the one without a name."),
    ] = None,
    where: Annotated[
        str | None,
        typer.Option(
            metavar="JSON",
            show_default="none",
            help="Only what meets this filter, written as for the GraphQL API: "
            """[bold]'{"input": {"customer": 7}, "attempt": {"gt": 2}}'[/].""",
        ),
    ] = None,
    order: Annotated[
        str,
        typer.Option(
            metavar="FIELDS",
            help="Up to three fields of the GraphQL API with commas between them, [bold]reverse:[/] or a minus before one that "
            "descends.",
        ),
    ] = "reverse:id",
    limit: Annotated[int, typer.Option(metavar="N", min=1, max=lists.MAX_LIMIT, help="At most so many.")] = 50,
    as_json: Annotated[  # noqa: FBT002 - how Typer declares a flag
        bool,
        typer.Option("--json", help="Print one JSON object a line, with the names of the GraphQL API. Default: off."),
    ] = False,
) -> None:
    """List jobs, the newest first.

    In a pipe nothing is cut off. The age is the time since a job was created.
    """
    from gnj.cli.existing import opened

    conditions: list[Condition] = []
    if wanted := words(types):
        conditions.append(equal(Job, type=tuple(wanted)))
    if chosen := [_status(word) for word in words(statuses)]:
        conditions.append(equal(Job, status=tuple(chosen)))
    if where is not None:
        conditions.append(_parsed(where))
    try:
        ordered = lists.wire_order(Job, re.sub(r"(^|,)\s*-", r"\1reverse:", order))
    except InvalidInput as error:
        raise CommandError(f"--order: {error}") from error
    with opened(database) as jobs:
        select = Select(where=And(tuple(conditions)), order=ordered, limit=limit)
        found = jobs.queue.select(Job, select, tenant=tenant)
        if not found and wanted:
            refuse_unknown(jobs, wanted, tenant)
        now = jobs.storage.now()
    if as_json:
        for job in found:
            print_json(wire(job, hidden=False))
        return
    print_table(
        _COLUMNS, [_row(job, now) for job in found], right=("id", "priority", "attempt", "age"), yielding=_YIELDING
    )
    if is_terminal() and len(found) == limit:
        print(f"These are the first {limit:,}; --limit shows more.")


@app.command("show")
def show_job(
    id: Annotated[int, typer.Argument(metavar="ID", help="The job.")],
    database: Database = None,
    as_json: Annotated[  # noqa: FBT002 - how Typer declares a flag
        bool, typer.Option("--json", help="Print one JSON object, its attempts included. Default: off.")
    ] = False,
) -> None:
    """Show everything about a job, deleted ones included, and the attempts of it that did not end well."""
    from gnj.cli.existing import opened

    with opened(database) as jobs:
        found = jobs.queue.select(Job, Select(equal(Job, id=check_int(id, "id")), deleted=True))
        if not found:
            raise CommandError(f"there is no job {id}", exit_code=1)
        attempts = jobs.queue.list(JobAttempt, job_id=id, order=("attempt", "id"), limit=lists.MAX_LIMIT)
        now = jobs.storage.now()
    (job,) = found
    if as_json:
        print_json(wire(job, hidden=True) | {"attempts": [wire(attempt, hidden=True) for attempt in attempts]})
        return
    print_pairs(_pairs(job, now))
    for attempt in attempts:
        _print_attempt(attempt)


for command in (add, retry, recover, queue, cancel, delete):
    app.command()(command)


def words(given: list[str] | None) -> list[str]:
    """The words of a repeated option, each of which may be a list with commas."""
    return [word.strip() for text in given or () for word in text.split(",") if word.strip()]


def refuse_unknown(jobs: GNJ, wanted: list[str], tenant: str | None) -> None:
    """Raises `CommandError` for a type that no job has, unless there are no jobs at all."""
    known = [summary.type for summary in jobs.queue.types(tenant=tenant) if summary.counts]
    unknown = [type for type in wanted if type not in known]
    if known and unknown:
        raise CommandError(f"no job has the type {unknown[0]!r}; there are: {', '.join(known)}")


def _status(word: str) -> JobStatus:
    try:
        return JobStatus(word)
    except ValueError:
        raise CommandError(f"there is no status {word!r}; there are: {', '.join(JobStatus)}") from None


def _parsed(where: str) -> Condition:
    try:
        return parse(Job, json.loads(where))
    except InvalidInput as error:
        raise CommandError(f"--where: {error}") from error
    except (ValueError, RecursionError) as error:
        raise CommandError(f"--where must be JSON: {error}") from error


def _row(job: Job, now: datetime) -> list[Cell]:
    return [
        str(job.id),
        job.type,
        job.name or "",
        (job.status, STYLES.get(job.status, "")),
        str(job.priority),
        str(job.attempt),
        duration((now - job.created_at).total_seconds()),
        job.worker_id or "",
        (first_error(job.output), "red" if job.status is JobStatus.FAILED else ""),
    ]


def _pairs(job: Job, now: datetime) -> Iterator[tuple[str, Cell]]:
    """What a person is shown: everything but nulls, times with how long ago they were."""
    for name, value in named(job, hidden=True).items():
        if isinstance(value, JobStatus):
            yield name, (value, STYLES.get(value, ""))
        elif isinstance(value, datetime):
            seconds = (now - value).total_seconds()
            told = f"{duration(seconds)} ago" if seconds >= 0 else f"in {duration(-seconds)}"
            yield name, f"{iso(value)}  ({told})"
        elif value is not None:
            yield name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _print_attempt(attempt: JobAttempt) -> None:
    times = " to ".join(iso(moment) for moment in (attempt.started_at, attempt.ended_at) if moment is not None)
    by = f" by {attempt.worker_id}" if attempt.worker_id else ""
    print()
    print(printable(f"attempt {attempt.attempt}: {attempt.outcome}{by}, {times}", None))
    for line in (attempt.error or "").splitlines():
        print(f"    {printable(line, None)}")
