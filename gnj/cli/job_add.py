"""`gnj jobs add`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from gnj.cli.options import Database
from gnj.cli.output import CommandError, printable
from gnj.cli.show import print_json, wire
from gnj.queue.errors import InvalidInput
from gnj.queue.values import Json, parse_json


def add(
    queue: Annotated[str, typer.Argument(metavar="QUEUE", help="The queue, which is the type that the job gets.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="What kind of job of the queue it is.")],
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            help="What its handler is given, as JSON; [bold]-[/] reads it from stdin.",
            show_default="null",
        ),
    ] = "null",
    database: Database = None,
    opts: Annotated[
        str | None,
        typer.Option(
            metavar="JSON",
            show_default="none",
            help='Its options, written as for the REST API: [bold]\'{"attempts": 3, "delay": 60000}\'[/].',
        ),
    ] = None,
    tenant: Annotated[
        str, typer.Option(metavar="TENANT", show_default="the tenant without a name", help="Whose job it is.")
    ] = "",
    as_json: Annotated[  # noqa: FBT002 - how Typer declares a flag
        bool, typer.Option("--json", help="Print one JSON object: the job, and whether it is new. Default: off.")
    ] = False,
) -> None:
    """Add a job to a queue, as the REST API does.

    A job whose jobId or deduplication another one has is not added; that one is told instead.
    """
    from gnj.cli.existing import opened

    new: dict[str, Json] = {"name": name, "data": _parsed(sys.stdin.buffer.read() if data == "-" else data, "DATA")}
    if opts is not None:
        new["opts"] = _parsed(opts, "--opts")
    with opened(database) as jobs:
        try:
            ((job, is_new),) = jobs.queue.add(queue, [new], tenant=tenant)
        except InvalidInput as error:
            raise CommandError(str(error)) from error
    if as_json:
        print_json(wire(job, hidden=False) | {"new": is_new})
    elif is_new:
        print(printable(f"job {job.id} was added to {job.type}"))
    else:
        print(printable(f"nothing was added: job {job.id} is there already"))


def _parsed(text: str | bytes, what: str) -> Json:
    try:
        return parse_json(text, what)
    except InvalidInput as error:
        raise CommandError(str(error)) from error
