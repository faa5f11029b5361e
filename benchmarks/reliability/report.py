"""What a run prints."""

from __future__ import annotations

import json
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.reliability.faults import Damage
from benchmarks.reliability.options import Options
from benchmarks.reliability.oracle import COUNTS, Verdict, percentile


def figures(options: Options, damage: Damage, verdict: Verdict, seconds: float) -> dict[str, Any]:
    """The run in numbers."""
    bound = options.lease + 1.0
    return {
        "database": options.database.partition(":")[0],
        "seed": options.seed,
        "mode": options.mode,
        "mutant": options.mutant,
        "skew": options.skew,
        "workers": options.workers,
        "servers": options.servers,
        "seconds": round(seconds, 1),
        "faults": damage.counts,
        "must be 0": {what: verdict.counts[what] for what in COUNTS},
        "facts": verdict.facts,
        "recovery": {
            "jobs": len(verdict.recovery),
            "p50": round(percentile(verdict.recovery, 0.5), 2),
            "p95": round(percentile(verdict.recovery, 0.95), 2),
            "max": round(max(verdict.recovery, default=0.0), 2),
            f"over {bound:g} s": sum(value > bound for value in verdict.recovery),
        },
    }


def show(numbers: dict[str, Any], verdict: Verdict, console: Console) -> None:
    """A table for people, then one line of JSON for programs."""
    table = Table(title=f"{numbers['database']}, seed {numbers['seed']}, {numbers['seconds']} s", title_justify="left")
    table.add_column("")
    table.add_column("", justify="right")
    table.add_column("")
    for what, meaning in COUNTS.items():
        number = verdict.counts[what]
        table.add_row(what, f"[bold red]{number:,}[/]" if number else f"[green]{number}[/]", meaning)
    table.add_section()
    for what, number in {**numbers["faults"], **numbers["facts"]}.items():
        table.add_row(what, f"{number:,}", "")
    recovery = " · ".join(f"{name} {value}" for name, value in numbers["recovery"].items())
    table.add_row("recovery", "", f"from the kill of a worker to the next claim, in seconds: {recovery}")
    console.print(table)
    for what, samples in verdict.samples.items():
        for sample in samples:
            console.print(f"{what}: {sample}", highlight=False)
    print(json.dumps(numbers), flush=True)
