"""Conditions as SQL against `gnj.queue.where.matches`: random rows, random conditions, the same rows found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gnj.queue.model import Batch, Job, attributes
from gnj.queue.states import BatchStatus, JobStatus
from gnj.queue.storage import Rows, Select, Storage
from gnj.queue.where import And, Compare, Condition, Not, Or, matches
from gnj.storage.sql import SqlStorage
from tests import databases

JOB = attributes(Job)
BATCH = attributes(Batch)
MAX = 2**63 - 1
MOMENT = datetime(2030, 1, 1, tzinfo=UTC)

# Few values, so that they meet; among them what databases compare in ways of their own.
WORDS = 'a A ä Ä aB a% a_ a\\b * a? [a] ] ^a k K 1 1.0 true null {"a":1} " \' \u212a \ufffd \U0001f600'
TEXTS = st.sampled_from(["", "a b", "a\nb", *WORDS.split()]) | st.text("aAbkK\u212a%_*?[]\\ä\U0001f600\n", max_size=4)
EDGES = (2**31, -(2**31) - 1, 2**53, 2**53 + 1, MAX, MAX - 1, -MAX - 1)
INTS = st.sampled_from(EDGES) | st.integers(-3, 7)
SPECIAL = (-0.0, 0.1, 0.1 + 0.2, 1e16, 1e23, -1e23, 2.0**53, 2.0**63, 7.205759403792795e16, 1e-7, 5e-324, 1.7e308)
FLOATS = st.sampled_from(SPECIAL) | st.integers(-3, 7).map(float) | st.floats(allow_nan=False, allow_infinity=False)
SCALARS = st.none() | st.booleans() | INTS | FLOATS | TEXTS
KEYS = st.sampled_from(
    ["a", "b", "0", "1", "01", "0000000001", " 1", "x.y", "x y", "ä", "$", "#", "*", "[0]", "A", "'", "null", "1a"]
)
DOCUMENTS = st.recursive(
    SCALARS, lambda part: st.lists(part, max_size=3) | st.dictionaries(KEYS, part, max_size=3), max_leaves=6
)
PATTERNS = st.lists(
    st.sampled_from(["%", "_", "a", "A", "b", "k", "K", "ä", "\u212a", "*", "?", "[", "]", "^", "-", "\n"])
    | st.sampled_from(["\\%", "\\_", "\\\\", "\\a", "\\*", "\U0001f600"]),
    max_size=5,
).map("".join)
JSON_NAMES = st.sampled_from(["input", "output"])


def compare(name: str, op: str, value: object, path: tuple[str, ...] = ()) -> Compare:
    return Compare(JOB[name], path, op, value)


ORDER_OPS = st.sampled_from(["gt", "gte", "lt", "lte"])
PATHS = st.lists(KEYS, max_size=3).map(tuple)
LEAVES = st.one_of(
    st.builds(compare, JSON_NAMES, st.just("null"), st.none(), PATHS),
    st.builds(compare, JSON_NAMES, st.just("eq"), st.booleans() | INTS | FLOATS | TEXTS, PATHS),
    st.builds(compare, JSON_NAMES, ORDER_OPS, INTS | FLOATS | TEXTS, PATHS),
    st.builds(
        compare,
        JSON_NAMES,
        st.just("in"),
        st.lists(st.booleans() | INTS | FLOATS | TEXTS, max_size=4).map(tuple),
        PATHS,
    ),
    st.builds(compare, JSON_NAMES, st.sampled_from(["like", "ilike"]), PATTERNS, PATHS),
    st.builds(compare, st.sampled_from(["name", "type"]), st.sampled_from(["like", "ilike"]), PATTERNS),
    st.builds(compare, st.sampled_from(["name", "type"]), ORDER_OPS | st.just("eq"), TEXTS),
    st.builds(compare, st.sampled_from(["name", "type"]), st.just("in"), st.lists(TEXTS, max_size=3).map(tuple)),
    st.builds(
        compare, st.sampled_from(["name", "batch_id", "timeout", "start_after", "input"]), st.just("null"), st.none()
    ),
    st.builds(compare, st.sampled_from(["priority", "batch_id", "max_attempts"]), ORDER_OPS | st.just("eq"), INTS),
    st.builds(compare, st.sampled_from(["priority", "batch_id"]), st.just("in"), st.lists(INTS, max_size=3).map(tuple)),
    st.builds(compare, st.just("timeout"), ORDER_OPS | st.just("eq"), INTS | FLOATS),
    st.builds(compare, st.just("recoverable"), st.just("eq"), st.booleans()),
    st.builds(compare, st.just("recoverable"), st.just("in"), st.lists(st.booleans(), max_size=2).map(tuple)),
    st.builds(
        compare,
        st.just("start_after"),
        ORDER_OPS | st.just("eq"),
        st.integers(-2, 2).map(lambda n: MOMENT + timedelta(milliseconds=n)),
    ),
    st.builds(compare, st.just("status"), st.just("eq"), st.sampled_from(JobStatus)),
    st.builds(compare, st.just("status"), st.just("in"), st.lists(st.sampled_from(JobStatus), max_size=8).map(tuple)),
)
CONDITIONS: st.SearchStrategy[Condition] = st.recursive(
    LEAVES,
    lambda part: (
        st.lists(part, max_size=3).map(lambda parts: And(tuple(parts)))
        | st.lists(part, max_size=3).map(lambda parts: Or(tuple(parts)))
        | part.map(Not)
    ),
    max_leaves=6,
)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "type": TEXTS.filter(bool),
            "name": st.none() | TEXTS,
            "input": DOCUMENTS,
            "output": DOCUMENTS,
            "priority": st.integers(-3, 3) | st.sampled_from([2**31 - 1, -(2**31)]),
            "batch_id": st.none() | INTS,
            "max_attempts": st.none() | st.integers(1, 2),
            "timeout": st.none() | st.sampled_from([0.1, 1.0, 2.0, 7.0, 0.30000000000000004]),
            "start_after": st.none() | st.integers(-2, 2).map(lambda n: MOMENT + timedelta(milliseconds=n)),
            "recoverable": st.booleans(),
            "status": st.sampled_from(JobStatus),
        }
    ),
    min_size=1,
    max_size=6,
)


@pytest.fixture(scope="module", params=["sqlite", "postgresql", "mysql"])
def storage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqlStorage]:
    if request.param == "sqlite":
        url = databases.sqlite_database(tmp_path_factory.mktemp("where"))
        yield from opened(url)
    else:
        with request.getfixturevalue(f"{request.param}_server").database(migrated=True) as url:
            yield from opened(url)


def opened(url: str) -> Iterator[SqlStorage]:
    storage = SqlStorage(url)
    storage.migrate()
    yield storage
    storage.close()


@contextmanager
def undone(storage: Storage) -> Iterator[Rows]:
    """A transaction whose rows nobody needs any more at its end."""

    class Undo(Exception):
        pass

    with suppress(Undo), storage.begin() as tx:
        yield tx
        raise Undo


def check(storage: Storage, rows: Sequence[Mapping[str, object]], conditions: list[Condition]) -> None:
    with undone(storage) as tx:
        jobs = [job for job, _ in tx.insert_jobs(rows)]
        for condition in conditions:
            found = {job.id for job in tx.find(Job, Select(condition))}
            assert found == {job.id for job in jobs if matches(condition, job) is True}, (condition, rows)
            assert tx.count(Job, condition) == len(found)
            assert tx.exists(Job, condition) == bool(found)


BASE = {"type": "t", "input": None}


@example(
    rows=[{**BASE, "input": v} for v in (1, 1.0, True, "1", None, [1], {"a": 1}, 2**53 + 1, 2.0**53, 10**18, 1e18)],
    conditions=[compare("input", op, v) for op in ("eq", "gt", "lte") for v in (1, 1.0, "1", 2**53, 2.0**53, 1e18)]
    + [Not(compare("input", "in", ())), compare("input", "in", (1, "1", True)), Not(compare("input", "in", (1, "1")))],
)
@example(
    rows=[{**BASE, "input": v} for v in ([[5], 6], {"0": {"0": 5}, "1": 6}, [{"0": 5}], "x", {"01": 5}, [None, 5])],
    conditions=[
        compare("input", "eq", 5, p) for p in (("0", "0"), ("1",), ("01",), (" 1",), ("0000000001",), ("0",) * 10)
    ],
)
@example(
    rows=[{**BASE, "name": v} for v in ("[a]", "a*b", "a?b", "A", "a\nb", "\u212a", "k", "ä", "Ä", "\\", "^", "]")],
    conditions=[
        compare("name", op, p)
        for op in ("like", "ilike")
        for p in ("[a]", "a*b", "a_b", "k", "ä", "\\\\", "^", "]", "%")
    ],
)
@given(rows=ROWS, conditions=st.lists(CONDITIONS, min_size=1, max_size=8))
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_sql_finds_what_matches_says(storage, rows, conditions):
    check(storage, rows, conditions)


@given(
    rows=st.lists(st.fixed_dictionaries({"status": st.none() | st.sampled_from(BatchStatus)}), max_size=6),
    named=st.lists(st.none() | st.sampled_from(BatchStatus), max_size=4).map(tuple),
)
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
def test_none_of_these_statuses(storage, rows, named):
    """`Not(in)` becomes an `in` of the other statuses, which must leave out what has none."""
    condition = Not(Compare(BATCH["status"], (), "in", named))
    with undone(storage) as tx:
        batches = tx.insert(Batch, rows)
        assert [b.id for b in tx.find(Batch, Select(condition))] == [
            b.id for b in batches if matches(condition, b) is True
        ]


def test_as_many_values_as_the_filter_language_allows(storage):
    """100 conditions of 1,000 values: more than either database has parameters for."""
    values = tuple(f"v{n}" for n in range(1000))
    numbers = tuple(range(1000))
    parts = tuple(compare("name", "in", values) for _ in range(50)) + tuple(
        compare("input", "in", (*numbers, *values[:10]), ("n",)) for _ in range(50)
    )
    rows = [{"type": "t", "name": "v7", "input": {"n": 7}}, {"type": "t", "name": "w", "input": {"n": 7}}]
    check(storage, rows, [And(parts)])
