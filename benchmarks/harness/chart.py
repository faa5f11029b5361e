"""The table as a drawing: bars by hand in SVG, which any browser shows, light or dark, and any diff can be read of."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from benchmarks.harness.results import Results, number
from benchmarks.harness.rows import OURS, RAW, Row

_MARGIN = 20
_COLUMN = 460
_NAMES = 124
_FIGURES = 66
_BAR = 15
_PITCH = 20
_STYLE = """
  text { font: 13px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; fill: #24292f }
  .group { font-weight: 600; font-size: 14px } .row, .unit { fill: #57606a } .unit { font-size: 12px }
  .gnj { fill: #1f6feb } .rival { fill: #afb8c1 } .raw { fill: #d8dee4 } .ours { font-weight: 600 }
  .back { fill: #ffffff }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .row, .unit { fill: #9198a1 } .back { fill: #0d1117 }
    .gnj { fill: #4493f8 } .rival { fill: #59636e } .raw { fill: #343b44 }
  }"""


def svg(rows: Sequence[Row], results: Results) -> str:
    """A drawing of the rows that have something to compare: a panel for each group, a bar for each contender."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        compared = any(results.values(row.key, name) for name in row.others)
        if row.drawn and compared and results.values(row.key, OURS):
            groups.setdefault(row.group, []).append(row)
    columns: list[list[str]] = [[], []]
    ends = [_MARGIN, _MARGIN]
    for group, members in groups.items():
        shorter = ends.index(min(ends))
        columns[shorter].append(
            f'<g transform="translate({_MARGIN + shorter * (_COLUMN + 2 * _MARGIN)} {ends[shorter]})">'
        )
        ends[shorter] += _panel(columns[shorter], group, members, results) + _MARGIN
        columns[shorter].append("</g>")
    width, height = 2 * _COLUMN + 4 * _MARGIN, max(ends)
    told = escape("; ".join(groups), quote=True)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" viewBox="0 0 {width} {height}" role="img" aria-label="{told}">',
            f"<style>{_STYLE}\n</style>",
            f'<rect class="back" width="{width}" height="{height}" rx="6"/>',
            *columns[0],
            *columns[1],
            "</svg>\n",
        ]
    )


def _panel(parts: list[str], group: str, members: Sequence[Row], results: Results) -> int:
    """Draws the rows of one group; how high that is."""
    better = "less is better" if members[0].less else "more is better"
    parts.append(f'<text class="group" y="14">{escape(group)}</text>')
    parts.append(f'<text class="unit" y="32">{escape(members[0].unit)}, {better}</text>')
    y = 42
    for row in members:
        if len(members) > 1:
            parts.append(f'<text class="row" y="{y + 12}">{escape(_short(row, members))}</text>')
            y += 20
        y = _bars(parts, row, results, y) + 4
    return y


def _bars(parts: list[str], row: Row, results: Results, y: int) -> int:
    """Draws one row, the best first; where it ends."""
    found = [(name, value) for name in (OURS, *row.others) if (value := results.median(row.key, name)) is not None]
    found.sort(key=lambda pair: pair[1], reverse=not row.less)
    most = max(value for _, value in found) or 1
    for name, value in found:
        kind = "gnj" if name == OURS else "raw" if name.startswith(RAW) else "rival"
        bold = ' class="ours"' if name == OURS else ""
        length = max(1.5, (_COLUMN - _NAMES - _FIGURES) * value / most)
        base = y + _BAR - 3
        parts.append(f'<text{bold} x="{_NAMES - 8}" y="{base}" text-anchor="end">{escape(name)}</text>')
        parts.append(f'<rect class="{kind}" x="{_NAMES}" y="{y}" width="{length:.1f}" height="{_BAR}" rx="2"/>')
        parts.append(f'<text{bold} x="{_NAMES + length + 6:.1f}" y="{base}">{number(value)}</text>')
        y += _PITCH
    return y


def _short(row: Row, members: Sequence[Row]) -> str:
    """A row's title without the parts that all of its group begin with."""
    titles = [each.title.split(", ") for each in members]
    common = 0
    while all(len(title) > common + 1 for title in titles) and len({title[common] for title in titles}) == 1:
        common += 1
    return ", ".join(row.title.split(", ")[common:])
