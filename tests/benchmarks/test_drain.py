"""Rates of marks."""

import pytest

from benchmarks.drain import rated
from benchmarks.harness.processes import Failed
from benchmarks.harness.run import marked, marks

SECOND = 1_000_000_000


def test_a_rate_is_from_the_first_start_to_the_last_end() -> None:
    found = rated([(0, 10 * SECOND), (1, 11 * SECOND), (2, 12 * SECOND)], 3, ended=13 * SECOND)
    assert (found.rate, found.done, found.twice, found.whole) == (1.0, 3, 0, True)


def test_what_was_cut_off_is_rated_by_its_starts() -> None:
    found = rated([(0, 0), (1, SECOND), (2, 2 * SECOND)], 100, ended=None)
    assert (found.rate, found.done, found.whole) == (1.0, 3, False)


def test_what_began_twice_counts_once() -> None:
    found = rated([(0, 0), (1, SECOND), (1, SECOND)], 2, ended=2 * SECOND)
    assert (found.rate, found.done, found.twice) == (1.0, 2, 1)


def test_what_was_lost_is_no_rate() -> None:
    with pytest.raises(Failed, match="1 of 3 jobs were never begun"):
        rated([(0, 0), (1, SECOND)], 3, ended=2 * SECOND)
    with pytest.raises(Failed, match="hardly a job"):
        rated([(0, 0)], 3, ended=None)


def test_marks_are_read_as_far_as_they_are_whole(tmp_path) -> None:
    log = tmp_path / "log"
    assert marks(log) == []
    assert marked(log) == 0
    log.write_bytes((5).to_bytes(8, "little") + (7).to_bytes(8, "little") + b"half")
    assert marks(log) == [(5, 7)]
    assert marked(log) == 1
