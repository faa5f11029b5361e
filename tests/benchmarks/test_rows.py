"""The arithmetic of the table."""

import json
import subprocess
from dataclasses import replace
from datetime import datetime

import pytest

from benchmarks.harness import machine
from benchmarks.harness.results import Results, Sample, number, percentile, read
from benchmarks.harness.rows import Row, Target, Verdict, table

RIVALS = ("slow", "fast")
ROW = Row(
    key="drain",
    title="drain",
    unit="jobs/s",
    group="drain",
    others=(*RIVALS, "raw"),
    must=(Target(1.5, ("slow",)), Target(0.5, ("raw",))),
    aim=(Target(1.0, RIVALS, "the best rival"),),
)


def results(**figures: float | list[float | None] | None) -> Results:
    found = Results()
    for name, values in figures.items():
        for rep, value in enumerate(values if isinstance(values, list) else [values]):
            found.samples.append(Sample("drain", name, value, rep, {} if value is not None else {"failed": "why"}))
    return found


def test_a_figure_is_the_median_of_its_repetitions() -> None:
    found = results(gnj=[1, 100, 3, 2, 5])
    assert found.median("drain", "gnj") == 3
    assert found.median("drain", "nobody") is None
    assert found.median("other", "gnj") is None


def test_a_repetition_that_failed_is_no_figure() -> None:
    found = results(gnj=[4, None, 6])
    assert found.median("drain", "gnj") == 5
    assert [sample.notes["failed"] for sample in found.failures("drain")] == ["why"]


@pytest.mark.parametrize(
    "ours,verdict",
    [(300, Verdict.AIM), (299, Verdict.MUST), (250, Verdict.MUST), (249, Verdict.SHORT), (149, Verdict.SHORT)],
)
def test_a_verdict_is_of_all_targets(ours: float, verdict: Verdict) -> None:
    assert ROW.verdict(results(gnj=ours, slow=100, fast=300, raw=500)) is verdict


@pytest.mark.parametrize(
    "ours,verdict", [(10, Verdict.AIM), (11, Verdict.MUST), (12, Verdict.MUST), (13, Verdict.SHORT)]
)
def test_less_may_be_better(ours: float, verdict: Verdict) -> None:
    best = (Target(1.2, RIVALS),)
    row = replace(ROW, less=True, must=best, aim=(Target(1.0, RIVALS),))
    assert row.verdict(results(gnj=ours, slow=20, fast=10)) is verdict
    assert best[0].text(row) == "≤ 1.2 x slow and fast"


def test_a_bound_may_be_a_number() -> None:
    row = replace(ROW, unit="MB", less=True, must=(Target(60),), aim=())
    assert row.must[0].text(row) == "≤ 60 MB"
    assert row.verdict(results(gnj=60)) is Verdict.MUST
    assert row.verdict(results(gnj=60.1)) is Verdict.SHORT


def test_what_was_not_measured_is_not_met() -> None:
    assert ROW.verdict(results(gnj=1000, slow=100, fast=10)) is Verdict.OPEN
    assert ROW.verdict(results(gnj=1000, raw=10, fast=10)) is Verdict.OPEN
    assert ROW.verdict(results(slow=1, fast=1, raw=1)) is Verdict.OPEN
    # the aim is the best of two, of which one is missing
    assert ROW.verdict(results(gnj=1000, slow=100, raw=10)) is Verdict.MUST


def test_what_falls_short_of_what_was_measured_falls_short() -> None:
    assert ROW.verdict(results(gnj=100, slow=100)) is Verdict.SHORT


def test_a_row_may_have_no_targets() -> None:
    assert replace(ROW, must=(), aim=()).verdict(results(gnj=1)) is Verdict.NONE


def test_noise_is_allowed_for_where_it_is_said() -> None:
    row = replace(ROW, must=(Target(1.0, ("raw",), within=0.05),), aim=())
    assert row.must[0].text(row) == "≥ 1 x raw (± 5%)"
    assert row.verdict(results(gnj=96, raw=100)) is Verdict.MUST
    assert row.verdict(results(gnj=94, raw=100)) is Verdict.SHORT


def test_the_table_tells_figures_ratios_and_what_failed() -> None:
    printed = table([ROW, replace(ROW, key="other")], results(gnj=12_345, slow=1_000, fast=None, raw=20_000))
    head, line, row, empty, legend = printed.splitlines()
    assert head.startswith("| work")
    assert set(line) == set("|-")
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells == [
        "drain, jobs/s",
        "12,345",
        "slow 1,000 (x 12.35); fast failed",
        "raw 20,000 (x 0.62)",
        "≥ 1.5 x slow; ≥ 0.5 x raw",
        "≥ 1 x the best rival",
        "must",
    ]
    assert not empty
    assert all(f"`{verdict}`" in legend for verdict in Verdict)


def test_small_sizes_have_no_verdict() -> None:
    found = results(gnj=12_345, slow=1_000)
    found.facts.append({"fact": "small"})
    head, _, row, _, told = table([ROW], found).splitlines()
    assert head.strip("| ").endswith("aim")
    assert row.strip("| ").endswith("the best rival")
    assert told.startswith("Small sizes")


def test_the_table_tells_where_and_when_it_was_measured() -> None:
    found = results(gnj=1)
    assert table([ROW], found).splitlines()[-1].startswith("Verdicts")  # what was saved before that was known
    found.facts.append({"fact": "machine", "cores": 2, "system": "Linux", "python": "3.11.7"})
    assert table([ROW], found).splitlines()[-1].startswith("Verdicts")
    found.facts[-1] |= {"date": "2026-11-26", "commit": "0123456789ab+", "processor": "A Processor"}
    assert table([ROW], found).splitlines()[-2:] == [
        "",
        "Measured on 2026-11-26, at commit 0123456789ab+, with Python 3.11.7 on Linux, 2 cores of A Processor.",
    ]
    found.facts += [{"fact": "machine", "date": "2026-11-26", "commit": commit} for commit in ("0123456789ab+", "ab")]
    assert ", at commit 0123456789ab+ and ab, with" in found.origin
    del found.facts[-2:]
    found.facts[-1] |= {"commit": None, "processor": None}
    assert found.origin == "Measured on 2026-11-26, with Python 3.11.7 on Linux, 2 cores."


def test_a_commit_is_told_apart_from_changes_to_it(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(machine, "_ROOT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert machine.commit() is None

    def git(*words: str) -> str:
        identity = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
        command = ["git", *identity, *words]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout.strip()

    (tmp_path / "file").write_text("a")
    for words in (["init"], ["add", "."], ["commit", "--message=a"]):
        git(*words)
    assert machine.commit() == git("rev-parse", "--short=12", "HEAD")
    (tmp_path / "other").write_text("not one of its files")
    assert machine.commit() == git("rev-parse", "--short=12", "HEAD")
    (tmp_path / "file").write_text("b")
    assert machine.commit() == git("rev-parse", "--short=12", "HEAD") + "+"


def test_the_machine_is_described() -> None:
    told = machine.description()
    assert datetime.fromisoformat(told["date"]).year > 2000
    assert told["cores"] > 0
    assert json.loads(json.dumps(told)) == told


def test_numbers_have_three_digits() -> None:
    assert [number(value) for value in (0.123, 1.5, 12.34, 123.4, 12345.6)] == ["0.12", "1.50", "12.3", "123", "12,346"]


def test_percentiles() -> None:
    values = list(range(100, 0, -1))
    assert [percentile(values, share) for share in (0.5, 0.95, 0.99)] == [51, 96, 100]
    assert percentile([7], 0.99) == 7


def test_what_is_saved_is_what_is_read(tmp_path) -> None:
    found = results(gnj=[1, None], slow=3)
    found.facts.append({"fact": "machine", "cores": 2})
    file = tmp_path / "saved.jsonl"
    file.write_text("\n".join(found.lines()), "utf-8")
    again = read(file)
    assert again.samples == found.samples
    assert again.facts == found.facts
    assert not again.small


@pytest.mark.parametrize(
    "line", ["no JSON", "[1]", "7", '{"row": "drain"}', '{"row": "drain", "contender": "gnj", "value": "much"}']
)
def test_what_no_run_has_saved_is_not_read(line: str, tmp_path) -> None:
    file = tmp_path / "saved.jsonl"
    file.write_text('{"fact": "machine"}\n' + line, "utf-8")
    with pytest.raises(ValueError, match="line 2 is not what a run saves"):
        read(file)
