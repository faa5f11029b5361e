"""`gnj jobs retry`, `recover`, `queue`, `cancel` and `delete`: one job after the other, each with its result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from gnj.cli.ask import Yes, confirm
from gnj.cli.options import Database
from gnj.cli.output import printable
from gnj.cli.show import counted, print_json, wire
from gnj.queue.errors import GnjError, StorageUnavailable
from gnj.queue.model import Job
from gnj.queue.states import JobStatus

if TYPE_CHECKING:
    from gnj.app import GNJ

_LISTED = 10

Ids: TypeAlias = Annotated[list[int], typer.Argument(metavar="ID...", help="The jobs.")]
AsJson: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Print one JSON object a line: id, ok, and the job or the error. Default: off.")
]


def retry(ids: Ids, database: Database = None, as_json: AsJson = False) -> None:  # noqa: FBT002 - how Typer declares a flag
    """Put a new job in the place of each failed or cancelled one.

    All are tried, whatever becomes of the others; the exit code is 1 if one could not be.
    """
    _each(ids, database, lambda jobs: jobs.retry, lambda job: f"retried as job {job.id}", as_json=as_json)


def recover(ids: Ids, database: Database = None, as_json: AsJson = False) -> None:  # noqa: FBT002 - how Typer declares a flag
    """Queue each failed job again that was enqueued as recoverable.

    All are tried, whatever becomes of the others; the exit code is 1 if one could not be.
    """
    _each(ids, database, lambda jobs: jobs.recover, lambda _: "queued again", as_json=as_json)


def queue(ids: Ids, database: Database = None, as_json: AsJson = False) -> None:  # noqa: FBT002 - how Typer declares a flag
    """Queue each planned job, such as one that a lost lease holds (on_lost "hold").

    All are tried, whatever becomes of the others; the exit code is 1 if one could not be.
    """

    def queued(jobs: GNJ) -> Callable[[int], Job]:
        return lambda number: jobs.queue.update_job(number, {"status": JobStatus.QUEUED})

    _each(ids, database, queued, lambda _: "queued", as_json=as_json)


def cancel(ids: Ids, database: Database = None, as_json: AsJson = False) -> None:  # noqa: FBT002 - how Typer declares a flag
    """Cancel each job: at once while it waits; the worker of a running one is asked to stop.

    All are tried, whatever becomes of the others; the exit code is 1 if one could not be.
    """
    _each(ids, database, lambda jobs: jobs.cancel, _cancelled, as_json=as_json)


def delete(
    ids: Ids,
    database: Database = None,
    yes: Yes = False,  # noqa: FBT002 - how Typer declares a flag
    as_json: AsJson = False,  # noqa: FBT002 - how Typer declares a flag
) -> None:
    """Delete each job, unless it is being processed.

    All are tried, whatever becomes of the others; the exit code is 1 if one could not be.
    """
    if not yes:
        listed = ", ".join(map(str, ids[:_LISTED])) + (", …" if len(ids) > _LISTED else "")
        confirm(f"Delete {counted(len(ids), 'job')} ({listed})?", "delete")
    _each(ids, database, lambda jobs: jobs.delete, lambda _: "deleted", as_json=as_json)


def _cancelled(job: Job) -> str:
    return "its worker is asked to stop" if job.status is JobStatus.CANCEL_REQUESTED else "cancelled"


def _each(
    ids: Sequence[int],
    database: str | None,
    command: Callable[[GNJ], Callable[[int], Job]],
    told: Callable[[Job], str],
    *,
    as_json: bool,
) -> None:
    from gnj.cli.existing import opened

    failed = False
    with opened(database) as jobs:
        for id in dict.fromkeys(ids):
            try:
                job = command(jobs)(id)
            except StorageUnavailable:  # nor would the next one be done
                raise
            except GnjError as error:
                failed = True
                if as_json:
                    print_json({"id": id, "ok": False, "code": error.code, "error": str(error)})
                else:
                    print(f"{id}: {printable(str(error))}")
                continue
            if as_json:
                print_json({"id": id, "ok": True, "job": wire(job, hidden=False)})
            else:
                print(f"{id}: {told(job)}")
    if failed:
        raise typer.Exit(1)
