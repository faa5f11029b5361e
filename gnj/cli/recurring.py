"""`gnj recurring`: jobs that are made again and again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated, Any, TypeAlias

import typer

from gnj.cli.ask import Yes, confirm
from gnj.cli.options import Database, as_id
from gnj.cli.output import CommandError, printable
from gnj.cli.show import Cell, iso, minute, print_json, print_table, wire
from gnj.queue import cron, zones
from gnj.queue.errors import Duplicate, IllegalTransition, InvalidInput, NotFound
from gnj.queue.model import Schedule
from gnj.queue.schedules import MISSED, NEWEST, PLAIN
from gnj.queue.storage import Select
from gnj.queue.ticks import Timing
from gnj.queue.values import parse_json
from gnj.queue.where import And, equal

_COLUMNS = ("id", "name", "when", "job", "tenant", "runs", "next", "last")
_NEXT = 5

app = typer.Typer(
    name="recurring",
    rich_markup_mode="rich",
    no_args_is_help=True,
    help="Make, list, pause and run the jobs that are made again and again.",
)

Which: TypeAlias = Annotated[str, typer.Argument(metavar="ID|NAME", help="Which: a name goes before an id.")]
Tenant: TypeAlias = Annotated[
    str, typer.Option(metavar="TENANT", show_default="the tenant without a name", help="Whose it is.")
]
Zone: TypeAlias = Annotated[
    str, typer.Option("--tz", metavar="ZONE", help="The time zone of CRON, such as Europe/Paris.")
]
AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print one JSON object a line. Default: off.")]


@app.command("list")
def list_recurring(database: Database = None, as_json: AsJson = False) -> None:  # noqa: FBT002 - how Typer declares a flag
    """List the recurring jobs of all tenants, and when each is due next."""
    with _queue(database) as queue:
        found = queue.storage.find(Schedule, Select(PLAIN))
    if as_json:
        for row in found:
            print_json(_told(row))
    else:
        print_table(
            _COLUMNS,
            [_row(row) for row in found],
            right={"id", "runs"},
            yielding=["name", "job", "tenant"],
        )


@app.command()
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Names it, and its jobs' type unless --type does.")],
    expression: Annotated[
        str | None,
        typer.Argument(metavar="CRON", show_default="none: --every", help="When: minute, hour, day, month, weekday."),
    ] = None,
    database: Database = None,
    every: Annotated[
        float | None, typer.Option(metavar="SECONDS", show_default="none", help="In the place of CRON: an interval.")
    ] = None,
    time_zone: Zone = "UTC",
    job_type: Annotated[
        str | None, typer.Option("--type", metavar="TYPE", show_default="NAME", help="The type of its jobs.")
    ] = None,
    job_input: Annotated[str, typer.Option("--input", metavar="JSON", help="What each of its jobs is given.")] = "null",
    missed: Annotated[
        str, typer.Option(metavar="|".join(MISSED), help="What becomes of ticks at which nothing ran.")
    ] = NEWEST,
    no_overlap: Annotated[  # noqa: FBT002 - how Typer declares a flag
        bool,
        typer.Option("--no-overlap", help="Make no job while the one before has not ended. Default: off."),
    ] = False,
    tenant: Tenant = "",
) -> None:
    """Make a recurring job, and print when it is due the next five times."""
    values: dict[str, Any] = {
        "name": name,
        "cron": expression,
        "every_ms": None if every is None else round(every * 1000),
        "time_zone": time_zone,
        "missed": missed,
        "may_overlap": not no_overlap,
    }
    with _queue(database) as queue:
        values["job"] = {"type": job_type or name, "input": parse_json(job_input, "--input")}
        row = queue.create_schedule(values, tenant=tenant, declared=True)
        print(printable(f"{row.name} (id {row.id}) was made; it is due at"))
        _print_ticks(queue.next_ticks(row, _NEXT), row.time_zone)


@app.command()
def show(
    which: Which,
    database: Database = None,
    tenant: Tenant = "",
    as_json: AsJson = False,  # noqa: FBT002 - how Typer declares a flag
) -> None:
    """Show a recurring job, and when it is due the next five times."""
    with _queue(database) as queue:
        row = _found(queue, which, tenant)
        upcoming = queue.next_ticks(row, _NEXT)
    if as_json:
        print_json(_told(row) | {"nextRuns": [iso(moment) for moment in upcoming]})
        return
    for name, value in _told(row).items():
        if value is not None:
            print(printable(f"{name}: {value}"))
    print("paused: if it goes on, it is due at" if row.paused else "due at")
    _print_ticks(upcoming, row.time_zone)


@app.command()
def pause(which: Which, database: Database = None, tenant: Tenant = "") -> None:
    """Pause a recurring job: its ticks make no jobs."""
    with _queue(database) as queue:
        row = queue.pause_schedule(_found(queue, which, tenant).id, paused=True)
    print(printable(f"{row.name} is paused"))


@app.command()
def resume(which: Which, database: Database = None, tenant: Tenant = "") -> None:
    """Have a recurring job go on, with its next tick; what it missed meanwhile is not made up for."""
    with _queue(database) as queue:
        row = queue.pause_schedule(_found(queue, which, tenant).id, paused=False)
    print(
        printable(f"{row.name} goes on" + (f" at {minute(row.next_at)}" if row.next_at else "; it is never due again"))
    )


@app.command()
def run(which: Which, database: Database = None, tenant: Tenant = "") -> None:
    """Make a job of a recurring job now, besides those of its ticks; also of one that is paused."""
    with _queue(database) as queue:
        row = _found(queue, which, tenant)
        job = queue.run_schedule(row.id)
    print(printable(f"job {job.id} was made for {row.name}"))


@app.command()
def remove(which: Which, database: Database = None, tenant: Tenant = "", yes: Yes = False) -> None:  # noqa: FBT002 - how Typer declares a flag
    """Remove a recurring job; the jobs it has made stay. One that is declared in code comes back with it."""
    with _queue(database) as queue:
        row = _found(queue, which, tenant)
        if not yes:
            confirm(f"Remove the recurring job {row.name}?", "removing a recurring job")
        queue.delete_schedule(row.id)
    print(printable(f"{row.name} is removed"))


@app.command("next")
def show_next(
    expression: Annotated[str, typer.Argument(metavar="CRON", help="minute, hour, day of the month, month, weekday.")],
    time_zone: Zone = "UTC",
    count: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = _NEXT,
) -> None:
    """Print when a cron expression is due next, in its time zone and in UTC; no database is asked."""
    try:
        zone = zones.zone(time_zone, "--tz")
        timing = Timing(cron.parse(expression, "CRON"), zone, None, None, None)
    except InvalidInput as error:
        raise CommandError(str(error)) from error
    now = datetime.now(UTC)
    _print_ticks(timing.some(now, None, count), zone.key)


@contextmanager
def _queue(database: str | None) -> Iterator[Any]:
    from gnj.cli.existing import opened

    with opened(database) as jobs:
        try:
            yield jobs.queue
        except (InvalidInput, Duplicate) as error:
            raise CommandError(str(error)) from error
        except (NotFound, IllegalTransition) as error:
            raise CommandError(str(error), exit_code=1) from error


def _found(queue: Any, which: str, tenant: str) -> Schedule:
    """The recurring job of the tenant that has this name, or else the one with this id, of whichever tenant."""
    by_name = queue.storage.find(Schedule, Select(And((PLAIN, equal(Schedule, name=which)))), tenant=tenant)
    if by_name:
        return by_name[0]  # type: ignore[no-any-return]
    id = as_id(which)
    by_id = [] if id is None else queue.storage.find(Schedule, Select(And((PLAIN, equal(Schedule, id=id)))))
    if not by_id:
        raise CommandError(f"there is no recurring job {which}: gnj recurring list", exit_code=1)
    return by_id[0]  # type: ignore[no-any-return]


def _print_ticks(moments: Any, time_zone: str) -> None:
    zone = zones.zone(time_zone)
    for moment in moments:
        local = "" if time_zone == "UTC" else f"  {moment.astimezone(zone):%a %Y-%m-%d %H:%M %Z}"
        print(f"  {moment:%a %Y-%m-%d %H:%M:%SZ}{local}")
    if not moments:
        print("  never")


def _when(row: Schedule) -> str:
    if row.every_ms is not None:
        return f"every {row.every_ms / 1000:g} s"
    return f"{row.cron}" + ("" if row.time_zone == "UTC" else f" {row.time_zone}")


def _told(row: Schedule) -> dict[str, Any]:
    return {name: value for name, value in wire(row, hidden=False).items() if name != "deletedAt"}


def _row(row: Schedule) -> list[Cell]:
    next_one: Cell = ("paused", "yellow") if row.paused else minute(row.next_at) if row.next_at else "never"
    if row.failures:
        next_one = (f"failed {row.failures} x", "red")
    kind = row.job.get("type") if isinstance(row.job, dict) else None
    last = "" if row.last_at is None else minute(row.last_at)
    return [str(row.id), row.name, _when(row), str(kind or ""), row.tenant, str(row.runs), next_one, last]
