"""The rows of the table, and whether a row's figures reach what was aimed at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from benchmarks.harness.results import Results, number

OURS = "gnj"
RAW = "raw"
SMALL = "Small sizes: the figures mean nothing, so there are no verdicts; titles that tell sizes mean the large ones."


class Verdict(StrEnum):
    """How a row stands."""

    AIM = "aim"
    """Everything that must be, and all that was aimed at."""
    MUST = "must"
    """Everything that must be."""
    SHORT = "short"
    """Not even that."""
    OPEN = "not measured"
    """Not all that it takes."""
    NONE = "-"
    """Nothing was aimed at."""


@dataclass(frozen=True, slots=True)
class Target:
    """A bound for our figure: a number in the row's unit, or a multiple of others' figures.

    Args:
        factor: The number, or the multiple.
        of: Whose figure: of several, the best one's that was measured; none: `factor` is the bound itself.
        called: What `of` is called in the table, where that is shorter.
        within: The share by which a figure may miss it, where two that are alike still differ by as much.
    """

    factor: float
    of: tuple[str, ...] = ()
    called: str = ""
    within: float = 0.0

    def text(self, row: Row) -> str:
        """As the table has it."""
        sign = "≤" if row.less else "≥"
        of = f"x {self.called or ' and '.join(self.of)}" if self.of else row.unit
        return f"{sign} {self.factor:g} {of}{f' (± {self.within:.0%})' if self.within else ''}"

    def met(self, row: Row, results: Results) -> bool | None:
        """Whether our figure reaches it; None where what that takes was not measured."""
        ours = results.median(row.key, OURS)
        if ours is None:
            return None
        others = [results.median(row.key, name) for name in self.of]
        bounds = [self.factor * other for other in others if other is not None] if self.of else [self.factor]
        reached = [
            ours <= bound * (1 + self.within) if row.less else ours >= bound * (1 - self.within) for bound in bounds
        ]
        # a rival that is missing may have been the best one
        return False if False in reached else None if None in others else True


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the table.

    Args:
        key: Names it in results.
        title: Names it for people.
        unit: Of its figures.
        group: What it is drawn with.
        others: Who is measured besides us, in the order of the table.
        must: What must be reached.
        aim: What was aimed at.
        less: Whether the smaller figure is the better one.
        needs: The server without which it cannot be measured: `postgresql`, `mariadb` or none.
        drawn: Whether it is in the drawing.
    """

    key: str
    title: str
    unit: str
    group: str
    others: tuple[str, ...] = ()
    must: tuple[Target, ...] = ()
    aim: tuple[Target, ...] = ()
    less: bool = False
    needs: str = "postgresql"
    drawn: bool = True

    def verdict(self, results: Results) -> Verdict:
        """How it stands. What was not measured is not met."""
        if not self.must and not self.aim:
            return Verdict.NONE
        musts = [target.met(self, results) for target in self.must]
        if False in musts:
            return Verdict.SHORT
        if None in musts or results.median(self.key, OURS) is None:
            return Verdict.OPEN
        aims = [target.met(self, results) for target in self.aim]
        return Verdict.AIM if aims and all(aims) else Verdict.MUST

    def ratio(self, results: Results, other: str) -> float | None:
        """How many times the other's figure ours is."""
        ours, theirs = results.median(self.key, OURS), results.median(self.key, other)
        return None if ours is None or not theirs else ours / theirs


LEGEND = (
    "Verdicts: `aim` all of must and of aim is reached · `must` all of must, not all of aim · `short` not all of must · "
    "`not measured` what a target of must compares with is missing · `-` there is no target."
)


def table(rows: Sequence[Row], results: Results) -> str:
    """The rows that were measured or tried, as Markdown that reads well in a terminal, what the verdicts mean, and where
    and when it was measured.

    Where the sizes were small ones, there is no verdict.
    """
    lines = [["work", "gnj", "rivals (gnj is x theirs)", "raw (gnj is x raw)", "must", "aim", "verdict"]]
    lines += [_cells(row, results) for row in rows if any(sample.row == row.key for sample in results.samples)]
    if results.small:
        lines = [line[:-1] for line in lines]
    widths = [max(len(line[n]) for line in lines) for n in range(len(lines[0]))]
    padded = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    ]
    padded.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    told = [SMALL if results.small else LEGEND, results.origin]
    return "\n".join([*padded, *(line for text in told if text for line in ("", text))])


def _cells(row: Row, results: Results) -> list[str]:
    ours = results.median(row.key, OURS)
    failed = any(sample.contender == OURS for sample in results.failures(row.key))
    raws = [name for name in row.others if name.startswith(RAW)]
    rivals = [name for name in row.others if not name.startswith(RAW)]
    return [
        f"{row.title}, {row.unit}",
        number(ours) if ours is not None else "failed" if failed else "-",
        _beside(row, results, rivals),
        _beside(row, results, raws),
        "; ".join(target.text(row) for target in row.must) or "-",
        "; ".join(target.text(row) for target in row.aim) or "-",
        str(row.verdict(results)),
    ]


def _beside(row: Row, results: Results, names: Sequence[str]) -> str:
    found = []
    for name in names:
        value, ratio = results.median(row.key, name), row.ratio(results, name)
        if value is not None:
            shown = "" if ratio is None else f" (x {ratio:.2f})"
            found.append(f"{name} {number(value)}{shown}")
        elif any(sample.contender == name for sample in results.failures(row.key)):
            found.append(f"{name} failed")
    return "; ".join(found) or "-"
