"""`gnj content`: imports and exports, and what became of them, without a client."""

from __future__ import annotations

import getpass
import os
import shutil
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from gnj.cli.database import shown_files
from gnj.cli.existing import opened
from gnj.cli.options import Database, Files
from gnj.cli.output import CommandError, printable
from gnj.cli.show import counted, iso, minute, print_json, print_table
from gnj.queue.errors import InvalidInput
from gnj.queue.model_content import ContentJob, ContentStatus, ContentType

if TYPE_CHECKING:
    from gnj.app import GNJ
    from gnj.content.maker import ContentJobs, User

_PIECE = 1024 * 1024
_PAGE = 200
_OTHERS = "gnj serve or gnj worker --content"
_LOOK = 0.2
"""Seconds between two looks at a job that is waited for."""

app = typer.Typer(
    name="content",
    rich_markup_mode="rich",
    no_args_is_help=True,
    help="Import and export content, and look at the jobs that do.\n\n"
    "A job is worked by [bold]gnj serve[/], by [bold]gnj worker --content[/], or, with [bold]--wait[/], by the command itself, "
    "each with the same database and files.",
)


def _organization(name: str) -> str:
    from gnj.content.application import is_organization

    if not is_organization(name):
        raise typer.BadParameter("it has letters, digits and . _ - in its name, at most 100, the first no sign")
    return name


Org: TypeAlias = Annotated[
    str,
    typer.Argument(metavar="ORGANIZATION", callback=_organization, help="Whose content, as in the paths of the API."),
]
Name: TypeAlias = Annotated[
    str | None,
    typer.Option("--name", metavar="NAME", show_default="what is done, to which file", help="What to call the job."),
]
Wait: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--wait",
        help="Work content jobs here until this one is over, and print its log; otherwise others do. Default: off.",
    ),
]
AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print one JSON object a line. Default: off.")]


@app.command("import")
def import_(
    organization: Org,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="Entries, a JSON array or JSON Lines; with [bold]--assets[/] a zip, in which the first folder is the site.",
        ),
    ],
    database: Database = None,
    files: Files = None,
    name: Name = None,
    assets: Annotated[  # noqa: FBT002 - how Typer declares a flag
        bool, typer.Option("--assets", help="The file is a zip of assets. Default: off.")
    ] = False,
    wait: Wait = False,  # noqa: FBT002 - likewise
    strict: Annotated[  # noqa: FBT002 - likewise
        bool,
        typer.Option(
            "--strict", help="With --wait: the exit code is 1 when an entry or asset was refused. Default: off."
        ),
    ] = False,
) -> None:
    """Store a file of entries, or a zip of assets, and make a job that imports it.

    What it writes is seen when all of it is there. Bad entries are left out, and are errors in its log.
    """
    from gnj.content.files import upload_key

    if strict and not wait:
        raise CommandError("--strict goes with --wait: without, nobody knows yet what will be refused")
    type = ContentType.IMPORT_ASSETS if assets else ContentType.IMPORT_ENTRIES
    with _content(database, files) as (jobs, making, me):
        key = upload_key(file.name)
        with _about(file), file.open("rb") as source:
            _check_kind(file, source, assets=assets)
            sink = jobs.content.files.create(organization, key)
            try:
                shutil.copyfileobj(source, sink, _PIECE)
            except BaseException:
                sink.abort()
                raise
            sink.finish()
        row = making.import_(organization, me, name=name or f"Import of {file.name}", type=type, file_key=key, at=None)
        row = _made(jobs, row, wait=wait)
    if strict and (refused := (row.result or {}).get("refused")):
        raise CommandError(
            f"{counted(refused, 'asset' if assets else 'entry', None if assets else 'entries')} refused", 1
        )


@app.command()
def export(
    organization: Org,
    file: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", show_default="none: it stays where the files are", help="Where to write it."),
    ] = None,
    database: Database = None,
    files: Files = None,
    name: Name = None,
    filter: Annotated[
        str | None,
        typer.Option(
            metavar="JSON",
            show_default="none: all entries",
            help="""Which entries, as in the API: [bold]'{"system": {"Status": {"Eq": "live"}}}'[/].""",
        ),
    ] = None,
    wait: Wait = False,  # noqa: FBT002 - how Typer declares a flag
) -> None:
    """Make a job that exports the entries of the default environment as JSON Lines, which can be imported.

    With FILE it is waited for as with [bold]--wait[/]; a file of that name is overwritten once there is what to write.
    """
    # before anything is done: to export may take long
    if file is not None and (file.is_dir() or not os.access(file if file.exists() else file.parent, os.W_OK)):
        raise CommandError(f"{file} cannot be written", exit_code=1)
    with _content(database, files) as (jobs, making, me):
        row = making.export(organization, me, name=name or "Export", type=ContentType.EXPORT_ENTRIES, filter=filter)
        if not jobs.content.store.sites(organization):
            _say(f"there is no content of {organization} in its default environment")
        row = _made(jobs, row, wait=wait or file is not None)
        if row.file_key is None:
            return
        if file is None:
            print(printable(f"the file has the key {row.file_key}"))
            return
        with _about(file), jobs.content.files.open(organization, row.file_key) as source, file.open("wb") as target:
            shutil.copyfileobj(source, target, _PIECE)


@app.command("jobs")
def list_jobs(
    organization: Org,
    database: Database = None,
    as_json: AsJson = False,  # noqa: FBT002 - how Typer declares a flag
) -> None:
    """List the content jobs, the newest first."""
    with opened(database) as jobs:
        found, total = jobs.queue.content_jobs(organization, offset=0, limit=_PAGE)
    if as_json:
        for row in found:
            print_json(_told(row))
        return
    print_table(
        ("id", "type", "status", "name", "by", "started", "errors"),
        [
            (
                str(row.id),
                row.type.value,
                row.status.value,
                row.name,
                _by(row),
                "" if row.started_at is None else minute(row.started_at),
                str(row.errors),
            )
            for row in found
        ],
        right={"id", "errors"},
        yielding=["name", "by"],
    )
    if total > len(found):
        print(f"and {total - len(found):,} older ones")


@app.command()
def logs(
    organization: Org,
    job: Annotated[int, typer.Argument(metavar="ID", help="The content job.")],
    database: Database = None,
    as_json: AsJson = False,  # noqa: FBT002 - how Typer declares a flag
) -> None:
    """Print the log of a content job, the oldest line first."""
    with opened(database) as jobs:
        if jobs.queue.content_job(organization, job) is None:
            raise CommandError(f"{organization} has no content job {job}", exit_code=1)
        _, total = jobs.queue.content_logs(organization, job, offset=0, limit=1)
        for end in range(total, 0, -_PAGE):
            size = min(_PAGE, end)
            lines, _ = jobs.queue.content_logs(organization, job, offset=end - size, limit=size)
            for line in reversed(lines):
                if as_json:
                    print_json({"loggedAt": iso(line.created_at), "type": line.level, "message": line.message})
                else:
                    print(printable(f"{iso(line.created_at)} {line.level} {line.message}"))


@app.command("env")
def list_environments(
    organization: Org,
    database: Database = None,
    as_json: AsJson = False,  # noqa: FBT002 - how Typer declares a flag
) -> None:
    """List the environments, the default one first."""
    with _content(database, None) as (jobs, _, _):
        found = jobs.content.store.environments(organization)
    if not found:
        _say(f"{organization} has no content yet: its first job makes the default environment")
    if as_json:
        for each in found:
            told = {"id": each.id, "alias": each.alias, "displayName": each.name, "isDefault": each.is_default}
            print_json(told)
        return
    print_table(
        ("id", "alias", "name", "default"),
        [(each.id, each.alias, each.name, "yes" if each.is_default else "") for each in found],
        yielding=["name"],
    )


def _check_kind(file: Path, source: IO[bytes], *, assets: bool) -> None:
    """Refuses what an import could only fail with."""
    is_zip = source.seekable() and zipfile.is_zipfile(source)
    if assets and not is_zip:
        raise CommandError(f"{file} is no zip, or its end is missing", exit_code=1)
    if is_zip and not assets:
        raise CommandError(f"{file} is a zip: --assets imports the assets in it", exit_code=1)
    if source.seekable():
        source.seek(0)


@contextmanager
def _about(file: Path) -> Iterator[None]:
    """Says of a file what is wrong with it."""
    try:
        yield
    except OSError as error:
        raise CommandError(f"{file}: {error.strerror or error}", exit_code=1) from error


@contextmanager
def _content(database: str | None, files: str | None) -> Iterator[tuple[GNJ, ContentJobs, User]]:
    """An application whose database has content, who makes its jobs, and whoever sits here."""
    from gnj.content.maker import ContentJobs, User

    with opened(database, files=files) as jobs:
        try:
            content = jobs.content
        except InvalidInput:
            raise
        except ValueError as error:
            raise CommandError(str(error)) from error
        me = getpass.getuser()
        yield jobs, ContentJobs(content), User(f"cli:{me}", me)


def _say(text: str) -> None:
    """For people: not among what a command prints."""
    print(printable(text), file=sys.stderr, flush=True)


def _made(jobs: GNJ, row: ContentJob, *, wait: bool) -> ContentJob:
    """Says that a job was made, and waits for it; the job as it then is."""
    print(printable(f"content job {row.id}, {row.type.value}: {row.name}"), flush=True)
    if not wait:
        _say(
            f"{_OTHERS} works it, with the files in {shown_files(jobs)}; gnj content logs {row.tenant} {row.id} tells of it"
        )
        return row
    try:
        with jobs.worker([], content=True, concurrency=1, poll=_LOOK):
            while not jobs.queue.content_over(row.tenant, row.id):
                time.sleep(_LOOK)
    except KeyboardInterrupt:
        _say(
            f"the content job {row.id} is not over: it goes on where {_OTHERS} runs; gnj content logs {row.tenant} {row.id}"
        )
        raise
    found = jobs.queue.content_job(row.tenant, row.id)
    if found is None:
        raise CommandError(f"the content job {row.id} was removed", exit_code=1)
    lines, total = jobs.queue.content_logs(row.tenant, row.id, offset=0, limit=_PAGE)
    if total > len(lines):
        print(f"{total - len(lines):,} earlier lines: gnj content logs {row.tenant} {row.id}")
    for line in reversed(lines):
        print(printable(f"{line.level} {line.message}"))
    if found.status is not ContentStatus.COMPLETED:
        raise CommandError(f"the content job {row.id} has ended as {found.status.value}", exit_code=1)
    return found


def _told(row: ContentJob) -> dict[str, Any]:
    """A content job as the API tells it."""
    return {
        "id": str(row.id),
        "name": row.name,
        "type": row.type.value,
        "status": row.status.value,
        "fileKey": row.file_key,
        "createdBy": _by(row),
        "createdAt": iso(row.created_at),
        "startedAt": None if row.started_at is None else iso(row.started_at),
        "finishedAt": None if row.finished_at is None else iso(row.finished_at),
        "result": row.result,
        "warnings": row.warnings,
        "errors": row.errors,
    }


def _by(row: ContentJob) -> str:
    by = row.created_by if isinstance(row.created_by, dict) else {}
    return str(by.get("name") or by.get("id") or "")
