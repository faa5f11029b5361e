"""`gnj queues`: how queues stand, and what is done to all of a queue at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any, TypeAlias

import typer

from gnj.cli.ask import Yes, confirm
from gnj.cli.options import Database
from gnj.cli.output import CommandError, printable
from gnj.cli.show import Cell, counted, print_json, print_pairs, print_table
from gnj.queue.actions import CLEANED, MAX_CLEAN, MAX_GRACE, Removed
from gnj.queue.derived import STATES
from gnj.queue.errors import InvalidInput
from gnj.queue.limits import NO_LIMITS, Rate, of_row, told
from gnj.queue.listing import QueueSummary
from gnj.queue.options import check_name
from gnj.queue.values import Json

Queue: TypeAlias = Annotated[str, typer.Argument(metavar="QUEUE", help="The queue.")]
Tenant: TypeAlias = Annotated[
    str, typer.Option(metavar="TENANT", show_default="the tenant without a name", help="Whose queue it is.")
]
AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print one JSON object a line. Default: off.")]
_NUMBERS = ("waiting", "prioritized", "active", "delayed", "completed", "failed")

app = typer.Typer(
    name="queues",
    rich_markup_mode="rich",
    no_args_is_help=True,
    help="Look at queues, and pause, drain, clean or limit them.",
)


@app.command("list")
def list_queues(
    database: Database = None,
    search: Annotated[
        str | None,
        typer.Option(metavar="TEXT", show_default="all", help="Only those with this text in their name."),
    ] = None,
    tenant: Tenant = "",
    as_json: AsJson = False,  # noqa: FBT002 - how Typer declares a flag
) -> None:
    """List the queues that have jobs, are paused or have limits, with how many jobs have which state."""
    from gnj.cli.existing import opened

    with opened(database) as jobs:
        found = jobs.queue.queues(tenant=tenant, search=search)
    if as_json:
        for each in found:
            print_json(_summary(each) | {"limited": each.limited})
        return
    rows: list[list[Cell]] = [
        [each.name, *(f"{each.counts.get(state, 0):,}" for state in _NUMBERS), _marks(each)] for each in found
    ]
    print_table(["queue", *_NUMBERS, ""], rows, right=set(_NUMBERS), yielding=["queue"])


@app.command("show")
def show_queue(queue: Queue, database: Database = None, tenant: Tenant = "", as_json: AsJson = False) -> None:  # noqa: FBT002
    """Show how a queue stands: its jobs by state, its limits, and its push worker."""
    from gnj.cli.existing import opened

    with opened(database) as jobs:
        summary = jobs.queue.summary(queue, tenant=tenant)
        set_limits, worker = jobs.queue.settings_of(queue, tenant=tenant)
    limits = told(set_limits)
    if as_json:
        called = None if worker is None else {"url": worker.url, "disabled": worker.disabled_at is not None}
        print_json(_summary(summary) | {"limits": limits or None, "worker": called})
        return
    print_pairs(
        [
            ("queue", summary.name),
            *((state, f"{summary.counts.get(state, 0):,}") for state in STATES),
            ("paused", ("yes", "yellow") if summary.paused else "no"),
            ("limits", _described(limits)),
            ("push worker", "" if worker is None else worker.url + (" (disabled)" if worker.disabled_at else "")),
        ]
    )


@app.command()
def pause(queue: Queue, database: Database = None, tenant: Tenant = "") -> None:
    """Hand out no more jobs of a queue, until it is resumed. What runs already goes on."""
    from gnj.cli.existing import opened

    _check_one(queue)
    with opened(database) as jobs:
        jobs.queue.hold(queue, tenant=tenant)
        waiting = _waiting(jobs.queue.summary(queue, tenant=tenant))
    print(printable(f"{queue} is paused; {counted(waiting, 'job')} waiting"))


@app.command()
def resume(queue: Queue, database: Database = None, tenant: Tenant = "") -> None:
    """Hand out jobs of a queue again."""
    from gnj.cli.existing import opened

    _check_one(queue)
    with opened(database) as jobs:
        released = jobs.queue.release_hold(queue, tenant=tenant)
        held = jobs.queue.summary(queue, tenant=tenant).paused
    if not released:
        raise CommandError(f"{queue} is not paused" if not held else f"{queue} is held: see gnj types", exit_code=1)
    print(printable(f"{queue} is resumed" + ("; it is still held: see gnj types" if held else "")))


@app.command()
def drain(
    queue: Queue,
    database: Database = None,
    delayed: Annotated[  # noqa: FBT002 - how Typer declares a flag
        bool, typer.Option("--delayed", help="Delete delayed jobs as well. Default: off.")
    ] = False,
    tenant: Tenant = "",
    yes: Yes = False,  # noqa: FBT002 - how Typer declares a flag
) -> None:
    """Delete the jobs of a queue that wait. Members of batches and pipelines stay."""
    from gnj.cli.existing import opened

    with opened(database) as jobs:
        if not yes:
            confirm(f"Delete all jobs of {queue} that wait?", "this")
        removed = _repeated(lambda _: jobs.queue.drain(queue, delayed=delayed, tenant=tenant))
    print(printable(f"{counted(removed, 'job')} of {queue} deleted"))


@app.command()
def clean(
    queue: Queue,
    database: Database = None,
    status: Annotated[
        str, typer.Option(metavar="STATE", help=f"Which jobs: one of {', '.join(CLEANED)}.")
    ] = "completed",
    older: Annotated[
        float,
        typer.Option(
            metavar="SECONDS", help="Only jobs that ended so long ago; of jobs that have not ended, were added."
        ),
    ] = 0,
    limit: Annotated[
        int | None, typer.Option(metavar="N", min=1, show_default="all", help="At most so many, the oldest.")
    ] = None,
    tenant: Tenant = "",
    yes: Yes = False,  # noqa: FBT002 - how Typer declares a flag
) -> None:
    """Delete old jobs of a queue. Members of batches and pipelines stay."""
    from gnj.cli.existing import opened

    if status not in CLEANED:
        raise CommandError(f"there is no state {status!r} to clean; there are: {', '.join(CLEANED)}")
    if not 0 <= older <= MAX_GRACE / 1000:  # nor is it what is no number
        raise CommandError(f"--older must be from 0 to {MAX_GRACE // 1000:,} seconds, not {older:g}")

    def some(done: int) -> Removed:
        most = MAX_CLEAN if limit is None else min(MAX_CLEAN, limit - done)
        if not most:
            return Removed(0, more=False)
        return jobs.queue.clean(queue, status, round(older * 1000), most, tenant=tenant)

    with opened(database) as jobs:
        if not yes:
            confirm(f"Delete {status} jobs of {queue}?", "this")
        removed = _repeated(some)
    print(printable(f"{counted(removed, 'job')} of {queue} deleted"))


@app.command()
def limits(
    queue: Queue,
    database: Database = None,
    concurrency: Annotated[
        int | None, typer.Option(metavar="N", show_default="as it is", help="At most so many run at once.")
    ] = None,
    rate: Annotated[
        str | None,
        typer.Option(
            metavar="MAX/MS",
            show_default="as it is",
            help="At most so many start in any so many milliseconds: 100/60000.",
        ),
    ] = None,
    group_concurrency: Annotated[
        int | None,
        typer.Option(metavar="N", show_default="as it is", help="At most so many of each group run at once."),
    ] = None,
    group_rate: Annotated[
        str | None,
        typer.Option(metavar="MAX/MS", show_default="as it is", help="At most so many of each group start: 10/1000."),
    ] = None,
    clear: Annotated[  # noqa: FBT002 - how Typer declares a flag
        bool, typer.Option("--clear", help="Take away the limits that are not given here. Default: off.")
    ] = False,
    tenant: Tenant = "",
    as_json: AsJson = False,  # noqa: FBT002 - how Typer declares a flag
) -> None:
    """Show the limits of a queue, or set those that are given."""
    from gnj.cli.existing import opened

    given: dict[str, Any] = {
        "concurrency": concurrency,
        "limiter": _rate(rate, "--rate"),
        "group_concurrency": group_concurrency,
        "group_limiter": _rate(group_rate, "--group-rate"),
    }
    with opened(database) as jobs:
        found = jobs.queue.limits_of(queue, tenant=tenant)
        if clear or any(value is not None for value in given.values()):
            there = NO_LIMITS if clear or found is None else of_row(found)
            values = replace(there, **{name: value for name, value in given.items() if value is not None})
            try:
                found = jobs.queue.set_limits(queue, values, tenant=tenant)
            except InvalidInput as error:
                raise CommandError(str(error)) from error
    shown = told(found)
    if as_json:
        print_json(shown)
    else:
        print(printable(f"{queue}: {_described(shown) or 'no limits'}"))


def _check_one(queue: str) -> None:
    try:
        check_name(queue)
    except InvalidInput as error:
        raise CommandError(f"{error}; gnj hold and gnj release take it, for every type") from error


def _summary(each: QueueSummary) -> dict[str, Json]:
    return {"name": each.name, "paused": each.paused, "counts": dict(each.counts)}


def _marks(each: QueueSummary) -> Cell:
    marks = [word for word, is_so in (("paused", each.paused), ("limited", each.limited)) if is_so]
    return (", ".join(marks), "yellow") if marks else ""


def _waiting(summary: QueueSummary) -> int:
    return sum(summary.counts.get(state, 0) for state in ("waiting", "prioritized"))


def _described(limits: Json) -> str:
    """Limits, as `gnj.queue.limits.told` tells them, for people."""

    def parts(of: Json, each: str) -> list[str]:
        found = []
        if "concurrency" in of:
            found.append(f"{of['concurrency']:,} at once{each}")
        if "limiter" in of:
            found.append(f"{of['limiter']['max']:,} in {of['limiter']['duration']:,} ms{each}")
        return found

    told_all = [*parts(limits, ""), *parts(limits.get("group", {}), " in each group")]
    if "worker" in limits:
        told_all += parts({"limiter": limits["worker"]}, " for the push worker")
    return ", ".join(told_all)


def _rate(text: str | None, option: str) -> Rate | None:
    if text is None:
        return None
    most, _, duration = text.partition("/")
    if not (most.isascii() and most.isdigit() and duration.isascii() and duration.isdigit()):
        raise CommandError(f"{option} must be MAX/MS, such as 100/60000, not {text!r}")
    return Rate(int(most), int(duration))


def _repeated(some: Callable[[int], Removed]) -> int:
    """Does what is done in parts until there is no more, told how many were removed already; how many were."""
    removed = 0
    while True:
        done = some(removed)
        removed += done.removed
        if not done.more or not done.removed:
            return removed
