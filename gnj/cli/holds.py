"""`gnj hold` and `gnj release`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from gnj.cli.options import Database
from gnj.cli.output import CommandError, printable
from gnj.cli.show import counted
from gnj.queue.holds import ALL_TYPES
from gnj.queue.model import Hold, Job
from gnj.queue.where import equal

if TYPE_CHECKING:
    from gnj.app import GNJ

Type: TypeAlias = Annotated[str, typer.Argument(metavar="TYPE", help="The type; [bold]all[/] stands for every type.")]
Tenant: TypeAlias = Annotated[
    str, typer.Option(metavar="TENANT", show_default="the jobs of every tenant", help="Only the jobs of this tenant.")
]


def hold(
    type: Type,
    database: Database = None,
    tenant: Tenant = "",
    new: Annotated[  # noqa: FBT002 - how Typer declares a flag
        bool,
        typer.Option(
            "--new", help="Hold a type that no job has yet; without it that is taken for a slip. Default: off."
        ),
    ] = False,
) -> None:
    """Hand out no more jobs of a type, until it is released. What runs already goes on.

    [bold]gnj hold all[/] pauses everything.
    """
    from gnj.cli.existing import opened

    with opened(database) as jobs:
        if not new and type != ALL_TYPES and not jobs.storage.exists(Job, equal(Job, type=type)):
            known = [each.type for each in jobs.queue.types() if each.counts]
            there = f"there are: {', '.join(known)}" if known else "there are no jobs"
            raise CommandError(f"no job has the type {type!r}; {there} (--new holds it all the same)")
        jobs.queue.hold(type, tenant=tenant)
        of: dict[str, Any] = {} if type == ALL_TYPES else {"type": type}
        waiting = jobs.queue.count(Job, status="queued", tenant=tenant or None, **of)
    what = "every type" if type == ALL_TYPES else type
    print(f"{_shown(what, tenant)} is held; {counted(waiting, 'job')} queued")


def release(type: Type, database: Database = None, tenant: Tenant = "") -> None:
    """Hand out jobs of a type again."""
    from gnj.cli.existing import opened

    with opened(database) as jobs:
        released = jobs.queue.release_hold(type, tenant=tenant)
        left = _holds(jobs)
    if not released:
        held = f"held: {', '.join(left)}" if left else "nothing is held"
        raise CommandError(f"{_shown(type, tenant)} is not held; {held}", exit_code=1)
    what = "every type" if type == ALL_TYPES else type
    print(f"{_shown(what, tenant)} is released" + (f"; still held: {', '.join(left)}" if left else ""))


def _holds(jobs: GNJ) -> list[str]:
    return [_shown(hold.type or ALL_TYPES, hold.tenant) for hold in jobs.queue.list(Hold, order=("type", "tenant"))]


def _shown(type: str, tenant: str) -> str:
    return printable(f"{type} of tenant {tenant}" if tenant else type)
