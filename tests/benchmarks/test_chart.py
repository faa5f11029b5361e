"""The drawing."""

import xml.etree.ElementTree as ET

from benchmarks.harness.chart import svg
from benchmarks.harness.results import Results, Sample
from benchmarks.harness.rows import Row

SVG = "{http://www.w3.org/2000/svg}"


def drawn(*rows: Row, **figures: float) -> ET.Element:
    found = Results([Sample(row.key, name, value) for row in rows for name, value in figures.items()])
    return ET.fromstring(svg(rows, found))


def texts(drawing: ET.Element) -> list[str]:
    return [element.text or "" for element in drawing.iter(f"{SVG}text")]


def test_bars_are_as_long_as_their_figures() -> None:
    row = Row(key="r", title="t", unit="jobs/s", group="a < b", others=("rival", "raw"))
    drawing = drawn(row, gnj=50, rival=25, raw=100)
    bars = {e.get("class"): float(e.get("width", "0")) for e in drawing.iter(f"{SVG}rect") if e.get("class") != "back"}
    assert bars["gnj"] == bars["raw"] / 2 == bars["rival"] * 2
    assert texts(drawing) == ["a < b", "jobs/s, more is better", "raw", "100", "gnj", "50.0", "rival", "25.0"]


def test_the_best_comes_first() -> None:
    row = Row(key="r", title="t", unit="ms", group="g", others=("rival",), less=True)
    assert texts(drawn(row, gnj=3, rival=2))[2:] == ["rival", "2.00", "gnj", "3.00"]


def test_rows_of_a_group_are_named_by_what_differs() -> None:
    one, two = (
        Row(key=n, title=f"drain, {n}", unit="jobs/s", group="drain", others=("rival",)) for n in ("one", "two")
    )
    found = texts(drawn(one, two, gnj=1, rival=1))
    assert "one" in found
    assert "two" in found


def test_nothing_is_drawn_of_what_has_nothing_to_compare() -> None:
    alone = Row(key="a", title="t", unit="MB", group="alone")
    hidden = Row(key="h", title="t", unit="MB", group="hidden", others=("rival",), drawn=False)
    assert texts(drawn(alone, hidden, gnj=1, rival=1)) == []
