"""Conditions: which rows meet them, as the filter language has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import product
from typing import Any

from gnj.queue.model import Batch, Job
from gnj.queue.states import BatchStatus, JobStatus
from gnj.queue.storage import Select, Storage
from gnj.queue.where import And, Compare, Condition, Not, Or, Where, equal, matches, parse
from gnj.testing.contracts.support import ODD, PAST, Contract, names, put_many

Expected = Sequence[tuple[Mapping[str, Any], str]]

PATTERNS = [
    "a%",
    "%a",
    "%A%",
    "a_c",
    "_",
    "%",
    "",
    r"%\%%",
    r"%\_%",
    r"%\\%",
    "%[a-z]%",
    "%*%",
    "%?%",
    "É%",
    "é%",
    "%😀",
]
TEXTS = [
    "",
    "a",
    "A",
    "abc",
    "ABC",
    "aXc",
    "a\nc",
    "50%",
    "a_c",
    "a\\c",
    "[a-z]",
    "*",
    "?",
    "é",
    "É",
    "x😀",
    "%",
    "_",
    "'",
]
JSONS: list[Any] = [
    *(None, True, False, 0, 1, 3, 3.0, 3.5, -1, 0.1, 1e300, 2**53 + 1, 2**63 - 1, "3", "", "true", "null", "a", "A"),
    *(
        [],
        {},
        [1, "a", None],
        ["b", {"k": 1}],
        {"a": None},
        {"a": 1},
        {"a": "x"},
        {"a": {"b": [10, 20]}},
        {"0": "zero"},
    ),
    *({"00": 1, " 1": 2, "1 ": 3, "01": 4, "9999999999": 5, "²": 6}, [["x"], 2]),
    *({"a.b": 1}, {"a": {"b": 2}}, {"": 1}, {"é 'x": 5}, {"a": [[1], [2, 3]]}, {"$": 1, "a b": 2}, {"a": True}),
]
SCALARS: list[Any] = [True, False, 0, 1, 3, 3.5, 0.1, 2**53, 2**53 + 1, 2**63 - 1, 1e300, "3", "", "a", "x", "true"]
PATHS = [
    (),
    ("a",),
    ("0",),
    ("1",),
    ("a", "b"),
    ("a", "b", "1"),
    ("a", "1", "0"),
    ("a.b",),
    ("é 'x",),
    ("$",),
    ("a b",),
    *[(part,) for part in ("00", " 1", "1 ", "01", "000000001", "0000000001", "9999999999", "²")],
]


def check(storage: Storage, expected: Expected) -> None:
    """That each filter finds the jobs whose names are the letters given with it; also turned round, and counted."""
    wrong = {}
    for tree, letters in expected:
        where = parse(Job, tree)
        found = "".join(str(name) for name in names(storage.find(Job, Select(where))))
        if found != letters or storage.count(Job, where) != len(letters) or storage.exists(Job, where) != bool(letters):
            wrong[repr(tree)] = found, letters
    assert wrong == {}, "filter: (found, expected)"


def agree(storage: Storage, conditions: Sequence[Condition]) -> None:
    """That the storage finds for each condition, and for its opposite, the very rows that `matches` says."""
    rows = storage.find(Job)
    wrong = {}
    for condition in (each for one in conditions for each in (one, Not(one))):
        found = [job.name for job in storage.find(Job, Select(condition))]
        meant = [job.name for job in rows if matches(condition, job) is True]
        if found != meant:
            wrong[repr(condition)] = found, meant
    assert wrong == {}, "condition: (found, expected)"


def about(name: str) -> Any:
    """The attribute a hand-made comparison is about."""
    (part,) = equal(Job, **{name: None}).parts  # type: ignore[union-attr]
    return part.attribute  # type: ignore[union-attr]


class ConditionContract(Contract):
    """Filters, against what is expected of them and against `gnj.queue.where.matches`."""

    def test_texts(self, storage: Storage) -> None:
        """By code point, case-sensitively; the `i…` operators ignore the case of ASCII letters."""
        rows = {"a": "mail", "b": "Mail", "c": "mail.send", "d": "50%", "e": None, "f": "É", "g": "é"}
        put_many(storage, [{"name": name, "worker_id": value} for name, value in rows.items()])
        check(
            storage,
            [
                ({"workerId": "mail"}, "a"),
                ({"workerId": {"ne": "mail"}}, "bcdfg"),
                ({"workerId": ["mail", "é", "none"]}, "ag"),
                ({"workerId": {"in": []}}, ""),
                ({"workerId": {"notIn": ["mail", "Mail"]}}, "cdfg"),
                ({"workerId": {"notIn": []}}, "abcdfg"),
                ({"workerId": None}, "e"),
                ({"workerId": {"ne": None}}, "abcdfg"),
                ({"workerId": {"like": "mail%"}}, "ac"),
                ({"workerId": {"notLike": "mail%"}}, "bdfg"),
                ({"workerId": {"iLike": "MAIL%"}}, "abc"),
                ({"workerId": {"iLike": "É"}}, "f"),
                ({"workerId": {"startsWith": "mail."}}, "c"),
                ({"workerId": {"endsWith": "%"}}, "d"),
                ({"workerId": {"substring": "ai"}}, "abc"),
                ({"workerId": {"gt": "mail"}}, "cfg"),
                ({"workerId": {"lte": "Mail"}}, "bd"),
                ({"workerId": {"between": ["A", "Z"]}}, "b"),
                ({"workerId": {"notBetween": ["A", "Z"]}}, "acdfg"),
                ({"workerId": {"or": [{"like": "M%"}, {"eq": None}]}}, "be"),
                ({"workerId": {"not": {"like": "m%"}}}, "bdfg"),
            ],
        )

    def test_numbers_times_and_truths(self, storage: Storage) -> None:
        """Compared as what they are."""
        times = {"a": PAST, "b": PAST.replace(year=2021, month=3, day=1), "c": None}
        rows = {"a": (1, 0.5, True), "b": (-5, None, False), "c": (2**31 - 1, 1e9, False)}
        put_many(
            storage,
            [
                {
                    "name": n,
                    "priority": p,
                    "timeout": t,
                    "recoverable": r,
                    "started_at": times[n],
                    "batch_id": p + 2**40,
                }
                for n, (p, t, r) in rows.items()
            ],
        )
        check(
            storage,
            [
                ({"priorityLevel": 1}, "a"),
                ({"priorityLevel": {"gte": 1}}, "ac"),
                ({"priorityLevel": {"lt": 2**62}}, "abc"),
                ({"priorityLevel": {"between": [-5, 1]}}, "ab"),
                ({"priorityLevel": {"in": [2**31 - 1, 2**40]}}, "c"),
                ({"timeoutSeconds": {"gt": 0.25}}, "ac"),
                ({"timeoutSeconds": 0.5}, "a"),
                ({"timeoutSeconds": {"notBetween": [0, 1]}}, "c"),
                ({"timeoutSeconds": None}, "b"),
                ({"isRecoverable": True}, "a"),
                ({"isRecoverable": {"ne": True}}, "bc"),
                ({"isRecoverable": {"is": False}}, "bc"),
                ({"batchId": 2**40 + 1}, "a"),
                ({"batchId": {"gt": 2**40}}, "ac"),
                ({"startedAt": "2020-02-29T23:59:59.999Z"}, "a"),
                ({"startedAt": {"gt": "2020-03-01T00:59:59.998+01:00"}}, "ab"),
                ({"startedAt": {"lte": datetime(2020, 2, 29, 23, 59, 59, 999999, UTC)}}, "a"),
                ({"startedAt": {"in": ["2021-03-01T23:59:59.998Z", "2020-02-29T23:59:59.999Z"]}}, "a"),
                ({"startedAt": {"ne": None}}, "ab"),
            ],
        )

    def test_statuses(self, storage: Storage) -> None:
        """Every one of them, as the text it is; and a batch's, which may have none."""
        letters = dict(zip(JobStatus, "abcdefg", strict=True))
        put_many(storage, [{"name": letter, "status": status} for status, letter in letters.items()])
        check(storage, [({"status": status.value}, letter) for status, letter in letters.items()])
        check(storage, [({"status": {"like": "%cess%"}}, "ce"), ({"status": ["failed", "queued"]}, "bf")])
        batches = storage.insert(Batch, [{}, {"status": BatchStatus.PLANNED}, {"status": BatchStatus.FAILED}])
        assert storage.find(Batch, Select(equal(Batch, status=None))) == batches[:1]
        assert storage.find(Batch, Select(Not(equal(Batch, status=BatchStatus.PLANNED)))) == batches[2:]
        assert storage.find(Batch, Select(equal(Batch, status=(BatchStatus.FAILED, "planned")))) == batches[1:]

    def test_json(self, storage: Storage) -> None:
        """Along a path, and only with values of the same JSON type; a path that leads nowhere is null."""
        rows = {
            "a": {"to": "x", "n": 3, "deep": {"list": [1, {"k": True}]}},
            "b": {"to": "X", "n": "3", "deep": None},
            "c": {"n": 3.5, "to": 7, "0": "zero"},
            "d": [1, "zero"],
            "e": "3",
            "f": None,
            "g": 3,
        }
        put_many(storage, [{"name": name, "input": value} for name, value in rows.items()])
        check(
            storage,
            [
                ({"input.to": "x"}, "a"),
                ({"input": {"to": "x"}}, "a"),
                ({"input.to": {"iLike": "X"}}, "ab"),
                ({"input.to": {"ne": "x"}}, "b"),
                ({"input.to": None}, "defg"),
                ({"input.to": {"ne": None}}, "abc"),
                ({"input.n": 3}, "a"),
                ({"input.n": "3"}, "b"),
                ({"input.n": {"ne": 3}}, "c"),
                ({"input.n": {"gt": 3}}, "c"),
                ({"input.n": {"gte": "3"}}, "b"),
                ({"input.n": [3, "3", 4]}, "ab"),
                ({"input.n": {"notIn": [3]}}, "c"),
                ({"input.deep.list.0": 1}, "a"),
                ({"input.deep.list.1.k": True}, "a"),
                ({"input.deep.list.1.k": {"ne": False}}, "a"),
                ({"input.deep.list.1.k": 1}, ""),
                ({"input.deep.list.2": None}, "abcdefg"),
                ({"input.deep": None}, "bcdefg"),
                ({"input.0": "zero"}, "c"),
                ({"input.0": 1}, "d"),
                ({"input.1": "zero"}, "d"),
                ({"input": "3"}, "e"),
                ({"input": 3}, "g"),
                ({"input": None}, "f"),
                ({"input": {"ne": None}}, "abcdeg"),
                ({"input": {"like": "%"}}, "e"),
                ({"and": [{"input.n": {"gt": 0}}, {"not": {"input.to": "x"}}]}, ""),
            ],
        )

    def test_combinations(self, storage: Storage) -> None:
        """Three-valued, as in SQL: the opposite of unknown is unknown."""
        put_many(storage, [{"name": n, "priority": p, "worker_id": w} for n, p, w in [("a", 1, "x"), ("b", 2, None)]])
        unknown = {"workerId": "x"}
        check(
            storage,
            [
                ({}, "ab"),
                ({"not": unknown}, ""),
                ({"or": [unknown, {"priorityLevel": 2}]}, "ab"),
                ({"and": [unknown, {"priorityLevel": 1}]}, "a"),
                ({"not": {"and": [unknown, {"priorityLevel": 1}]}}, "b"),
                ({"not": {"or": [unknown, {"priorityLevel": 2}]}}, ""),
                ({"or": []}, ""),
                ({"and": []}, "ab"),
                ({"not": {"or": []}}, "ab"),
                ({"not": {}}, ""),
                ({"priorityLevel": 2, "workerId": None}, "b"),
                ({"priorityLevel": {"gt": 0, "lt": 2}}, "a"),
            ],
        )
        python = (Where(priority=1) | Where(worker_id=None)) & ~Where(priority=2)
        assert names(storage.find(Job, Select(parse(Job, python)))) == ["a"]

    def test_long_lists(self, storage: Storage) -> None:
        """A thousand values, of whatever type."""
        put_many(storage, [{"name": n, "input": v, "timeout": 0.5} for n, v in [("a", 999), ("b", "999"), ("c", 0.25)]])
        thousand = range(1000)
        assert names(storage.find(Job, Select(equal(Job, name=("a", "c", *map(str, range(998))))))) == ["a", "c"]
        assert storage.count(Job, equal(Job, id=(*range(10**6, 10**6 + 999), 2**63 - 1))) == 0
        assert storage.count(Job, equal(Job, timeout=tuple(i / 2 for i in thousand))) == 3
        times = tuple(PAST.replace(microsecond=i * 1000) for i in thousand)
        assert storage.count(Job, equal(Job, created_at=times)) == 0
        check(
            storage,
            [
                ({"input": list(thousand)}, "a"),
                ({"input": [str(i) for i in thousand]}, "b"),
                ({"input": [i / 4 for i in thousand]}, "c"),
                ({"input": {"notIn": [i / 4 for i in range(999)]}}, "a"),
                ({"or": [{"input": i} for i in range(950, 1050)]}, "a"),
                ({"and": [{"not": {"input": str(i)}} for i in range(950, 1049)]}, ""),
            ],
        )

    def test_odd_texts_are_only_texts(self, storage: Storage) -> None:
        """Values, patterns and paths are never taken for a part of a statement."""
        put_many(storage, [{"name": "a", "worker_id": ODD, "input": {ODD.replace('"', "").replace("\\", ""): ODD}}])
        path = "".join(c for c in ODD if c not in '"\\.\t\n')
        put_many(storage, [{"name": "b", "input": {path: ODD}}])
        attribute = about("input")
        assert names(storage.find(Job, Select(equal(Job, worker_id=ODD)))) == ["a"]
        assert names(storage.find(Job, Select(Compare(attribute, (path,), "eq", ODD)))) == ["b"]
        assert names(storage.find(Job, Select(Compare(attribute, (path,), "in", (ODD, "x"))))) == ["b"]
        check(
            storage,
            [
                ({"workerId": {"substring": ODD[3:-1]}}, "a"),
                ({"workerId": {"startsWith": "O'"}}, "a"),
                ({"workerId": {"startsWith": "O_"}}, ""),
                ({"workerId": {"endsWith": "😀"}}, "a"),
                ({"workerId": {"substring": "\\"}}, "a"),
            ],
        )

    def test_every_operator_agrees_on_attributes(self, storage: Storage) -> None:
        """Texts, numbers, times: every comparison and its opposite finds what `matches` says."""
        put_many(
            storage,
            [
                {"name": str(i), "worker_id": text, "priority": i - 9, "timeout": None if i % 4 == 0 else i / 8}
                for i, text in enumerate([*TEXTS, None])
            ],
        )
        worker, timeout, priority = about("worker_id"), about("timeout"), about("priority")
        tried: list[Condition] = [
            Compare(worker, (), op, p) for op, p in product(["like", "ilike"], [*PATTERNS, "%B%", "%c"])
        ]
        tried += [Compare(worker, (), op, text) for op, text in product(["eq", "gt", "gte", "lt", "lte"], TEXTS)]
        tried += [
            Compare(timeout, (), op, x) for op, x in product(["eq", "gt", "gte", "lt", "lte"], [0, 0.125, 1, 2.25])
        ]
        tried += [Compare(priority, (), op, x) for op, x in product(["eq", "gt", "lte"], [-(2**63), -1, 0, 2**63 - 1])]
        tried += [Compare(each, (), "null", None) for each in (worker, timeout, priority)]
        tried += [Compare(worker, (), "in", values) for values in [(), ("a",), ("a", "É", "none")]]
        tried += [And((tried[0], Not(tried[3]))), Or((tried[1], Not(tried[-1]))), Not(And((tried[5], tried[-4])))]
        agree(storage, tried)

    def test_every_operator_agrees_on_json(self, storage: Storage) -> None:
        """Along paths that exist, that do not, and that mean an index in one row and a key in another."""
        put_many(storage, [{"name": str(i), "input": value} for i, value in enumerate(JSONS)])
        attribute = about("input")
        tried: list[Condition] = [Compare(attribute, path, "null", None) for path in PATHS]
        tried += [
            Compare(attribute, (), op, v) for op, v in product(["eq", "gt", "lte"], SCALARS) if v not in (True, False)
        ]
        tried += [Compare(attribute, path, "eq", v) for path, v in product(PATHS, [True, 1, 2, 10, "x", "zero", "a"])]
        tried += [Compare(attribute, path, "in", tuple(SCALARS)) for path in PATHS]
        tried += [Compare(attribute, (), "like", p) for p in ["%", "a", "_", "tr%", ""]]
        tried += [Compare(attribute, ("a",), "ilike", "X"), Compare(attribute, (), "in", ())]
        agree(storage, tried)
