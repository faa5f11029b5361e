"""How commands show rows: a table on a terminal, plain and whole in a pipe, JSON for scripts."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from gnj.cli.output import printable
from gnj.queue.model import Record, attributes

Cell = str | tuple[str, str]
"""A text, or a text and its style."""


_NARROWEST = 8


def is_terminal() -> bool:
    """Whether a person looks at stdout, with what moves and colours."""
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def print_json(value: Any) -> None:
    """One line."""
    print(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def print_table(
    names: Sequence[str], rows: Sequence[Sequence[Cell]], *, right: Collection[str] = (), yielding: Collection[str] = ()
) -> None:
    """Rows under the names of their columns: as wide as the terminal, or as wide as they are.

    Args:
        names: The columns.
        rows: The cells of each row.
        right: Columns whose cells stand at the right.
        yielding: Columns that are cut where the terminal is too narrow.
    """
    if not is_terminal():
        _print_plain(names, [[printable(_text(cell), None) or "-" for cell in row] for row in rows], right)
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(file=sys.stdout, highlight=False, soft_wrap=True)
    texts = [[Text(printable(_text(cell)), _style(cell)) for cell in row] for row in rows]
    widths = {name: max(len(name), *(row[n].cell_len for row in texts), 0) for n, name in enumerate(names)}
    _narrow(widths, yielding, console.width - 2 * (len(names) - 1))
    for row in ([Text(name, "bold") for name in names], *texts):
        for name, text in zip(names, row, strict=True):
            text.truncate(widths[name], overflow="ellipsis")
            text.align("right" if name in right else "left", widths[name])
        console.print(Text("  ").join(row))


def _narrow(widths: dict[str, int], yielding: Collection[str], room: int) -> None:
    """Takes from the widest of the yielding columns until all have room together, or none has anything left to give."""
    while sum(widths.values()) > room:
        widest = max(yielding, key=lambda name: widths[name])
        if widths[widest] <= max(len(widest), _NARROWEST):
            return
        widths[widest] -= 1


def print_pairs(pairs: Iterable[tuple[str, Cell]]) -> None:
    """Names and their values, one below the other."""
    shown = [(name, cell) for name, cell in pairs if _text(cell)]
    width = max((len(name) for name, _ in shown), default=0)
    if not is_terminal():
        for name, cell in shown:
            print(f"{name:<{width}}  {printable(_text(cell), None)}")
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(file=sys.stdout, highlight=False, soft_wrap=True)
    for name, cell in shown:
        text = (printable(_text(cell), None), _style(cell))
        console.print(Text.assemble((f"{name:<{width}}", "bold"), "  ", text))


def _print_plain(names: Sequence[str], rows: Sequence[Sequence[str]], right: Collection[str]) -> None:
    widths = [max(len(name), *(len(row[place]) for row in rows), 0) for place, name in enumerate(names)]
    for row in (names, *rows):
        cells = (
            f"{cell:>{width}}" if name in right else f"{cell:<{width}}"
            for cell, width, name in zip(row, widths, names, strict=True)
        )
        print("  ".join(cells).rstrip())


def _text(cell: Cell) -> str:
    return cell if isinstance(cell, str) else cell[0]


def _style(cell: Cell) -> str:
    return "" if isinstance(cell, str) else cell[1]


def iso(moment: datetime) -> str:
    """A time as GraphQL has it: UTC, milliseconds, Z."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def wire(record: Record, *, hidden: bool) -> dict[str, Any]:
    """A record by the names of the wire, as JSON takes it; with `hidden`, also what the faces do not show."""
    found = named(record, hidden=hidden)
    return {name: iso(value) if isinstance(value, datetime) else value for name, value in found.items()}


def named(record: Record, *, hidden: bool) -> dict[str, Any]:
    """The values of a record by the names of the wire. The tenant is always among them: whoever is here may see them all."""
    return {
        attribute.wire or _camel(attribute.column): getattr(record, attribute.name)
        for attribute in attributes(type(record)).values()
        if attribute.wire is not None or hidden or attribute.name == "tenant"
    }


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)


def minute(moment: datetime) -> str:
    """A moment in UTC, to the minute."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%MZ")


def duration(seconds: float) -> str:
    """How long something lasts, to its greatest unit: 40s, 12m, 5h, 3d."""
    seconds = max(0.0, seconds)
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * length:
            return f"{int(seconds // length)}{unit}"
    return f"{int(seconds)}s"


def counted(count: int, word: str, words: str | None = None) -> str:
    """A number and what it counts."""
    return f"{count:,} {word if count == 1 else words or word + 's'}"


def first_error(output: Any) -> str:
    """The first line of what a job's output says went wrong."""
    if not isinstance(output, Mapping):
        return ""
    told = output.get("error", output.get("cancelMessage"))
    if told is None:
        return ""
    lines = (told if isinstance(told, str) else json.dumps(told, ensure_ascii=False)).strip().splitlines()
    return lines[0] if lines else ""
