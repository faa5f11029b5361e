"""What requests that try a source or a mapping keep."""

from __future__ import annotations

import json
from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnj.queue.errors import InvalidInput
from gnj.transform import trying
from gnj.transform.errors import TriedAtOnce
from gnj.transform.sources import Bad
from gnj.transform.trying import AT_ONCE, OF_TENANT, Made, Tries, first, size_of

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(VALUES)
def test_the_size_is_about_that_of_the_json(value):
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    assert size_of(value) <= len(text) + 2  # of a comma behind it, and one that the last element has not
    assert size_of([value, value]) > size_of(value)


def test_of_large_records_fewer_are_read(monkeypatch):
    monkeypatch.setattr(trying, "MOST", 100)
    read = []

    def items():
        for number in range(1_000):
            read.append(number)
            yield Bad(number, "no JSON") if number % 2 else {"a": "x" * 40}

    assert len(first(items(), 1_000)) == 3
    assert len(read) == 5
    assert first(({"a": number} for number in range(9)), 2) == [{"a": 0}, {"a": 1}]
    assert first([], 2) == []


def test_what_is_made_is_bounded(monkeypatch):
    monkeypatch.setattr(trying, "MOST", 100)
    made = Made()
    made.add({"a": "x" * 200})
    with pytest.raises(InvalidInput, match="more than 100 characters of JSON"):
        made.add({})
    assert len(made.records) == 1


def test_few_sources_are_tried_at_once():
    tries = Tries()
    with ExitStack() as running:
        for _ in range(OF_TENANT):
            running.enter_context(tries.of("a"))
        with pytest.raises(TriedAtOnce), tries.of("a"):
            raise AssertionError
        for number in range(AT_ONCE - OF_TENANT):
            running.enter_context(tries.of(f"b{number}"))
        with pytest.raises(TriedAtOnce), tries.of("c"):
            raise AssertionError
    with tries.of("a"), tries.of("c"):
        pass


def test_a_try_that_fails_is_over():
    tries = Tries()
    for _ in range(AT_ONCE * 2):
        with pytest.raises(ZeroDivisionError), tries.of("a"):
            raise ZeroDivisionError
