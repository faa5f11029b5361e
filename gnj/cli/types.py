"""`gnj types`."""

from __future__ import annotations

from typing import Annotated

import typer

from gnj.cli.options import Database
from gnj.cli.show import Cell, is_terminal, print_json, print_table
from gnj.queue.holds import ALL_TYPES
from gnj.queue.states import JobStatus


def types(
    database: Database = None,
    tenant: Annotated[
        str | None,
        typer.Option(
            metavar="TENANT", show_default="any", help="Only jobs of this tenant; '' is the one without a name."
        ),
    ] = None,
    as_json: Annotated[  # noqa: FBT002 - how Typer declares a flag
        bool, typer.Option("--json", help="Print one JSON object a line: type, held, counts. Default: off.")
    ] = False,
) -> None:
    """Count the jobs of each type by their status, and show which types are held."""
    from gnj.cli.existing import opened

    with opened(database) as jobs:
        found = jobs.queue.types(tenant=tenant)
    all_held = any(each.held for each in found if each.type == ALL_TYPES)
    if as_json:
        for each in found:
            counts = {status: each.counts.get(status, 0) for status in JobStatus}
            print_json({"type": each.type, "held": each.held or all_held, "counts": counts})
        return

    def counts_of(status: JobStatus) -> list[int]:
        return [each.counts.get(status, 0) for each in found]

    rows: list[list[Cell]] = [
        [
            each.type,
            *(f"{counts_of(status)[place]:,}" for status in JobStatus),
            ("held", "yellow") if each.held else ("all held", "yellow") if all_held else "",
        ]
        for place, each in enumerate(found)
    ]
    print_table(["type", *JobStatus, "held"], rows, right=set(JobStatus), yielding=["type"])
    if is_terminal() and all_held:
        print("Every type is held: gnj release all")
