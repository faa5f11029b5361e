"""The filter language: what it means (`matches` is the oracle), what it takes, and how it refuses the rest."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import cast

import pytest

from gnj.queue import where as language
from gnj.queue.errors import InvalidInput, InvalidText
from gnj.queue.model import Job, NewJob, attributes
from gnj.queue.states import JobStatus
from gnj.queue.where import EVERYTHING, OPERATORS, And, Compare, In, Not, Op, Or, Where, equal, matches, parse

START = datetime(2030, 1, 1, 12, tzinfo=UTC)
everywhere = pytest.mark.usefixtures("everywhere")

JOB = Job(
    id=5,
    type="mail",
    name="A_b%c\\d",
    input={"n": 3, "f": 1.5, "t": "Text", "yes": True, "no": None, "list": [10, {"x": "y"}], "a.b": 1, "": 2},
    status=JobStatus.FAILED,
    priority=8,
    timeout=2.5,
    recoverable=True,
    created_at=START,
    updated_at=START,
)


def meets(tree):
    return matches(parse(Job, tree), JOB)


@pytest.mark.parametrize(
    "tree, expected",
    [
        ({}, True),
        (None, True),
        ({"type": "mail"}, True),
        ({"type": "Mail"}, False),
        ({"type": {"eq": "mail"}}, True),
        ({"type": {"ne": "mail"}}, False),
        ({"workerId": {"ne": "w"}}, None),
        ({"workerId": {"eq": None}}, True),
        ({"workerId": {"ne": None}}, False),
        ({"type": {"ne": None}}, True),
        ({"workerId": None}, True),
        ({"type": ["a", "mail"]}, True),
        ({"type": {"eq": ["a", "mail"]}}, True),
        ({"type": {"in": []}}, False),
        ({"workerId": {"in": []}}, None),
        ({"type": {"notIn": ["a"]}}, True),
        ({"workerId": {"notIn": ["a"]}}, None),
        ({"status": "failed"}, True),
        ({"status": "nonsense"}, False),
        ({"priorityLevel": {"gt": 7, "lte": 8}}, True),
        ({"priorityLevel": {"gte": 9}}, False),
        ({"priorityLevel": {"lt": 8}}, False),
        ({"priorityLevel": {"between": [1, 8]}}, True),
        ({"priorityLevel": {"notBetween": [1, 8]}}, False),
        ({"priorityLevel": {"not": {"gt": 8}}}, True),
        ({"priorityLevel": {"not": 8}}, False),
        ({"priorityLevel": {"or": [1, {"gt": 7}]}}, True),
        ({"priorityLevel": {"and": {"gt": 1, "lt": 8}}}, False),
        ({"priorityLevel": {"or": {"gt": 9, "lt": 9}}}, True),
        ({"timeoutSeconds": {"gt": 2}}, True),
        ({"timeoutSeconds": 2.5}, True),
        ({"isRecoverable": True}, True),
        ({"isRecoverable": {"is": False}}, False),
        ({"workerId": {"is": None}}, True),
        ({"createdAt": {"lt": "2030-01-01T12:00:00.001Z"}}, True),
        ({"createdAt": {"gt": "2030-01-01T11:59:59"}}, True),
        ({"createdAt": START}, True),
        ({"createdAt": "2030-01-01T13:00:00+01:00"}, True),
        ({"or": []}, False),
        ({"and": []}, True),
        ({"or": [{"type": "x"}, {"id": 5}]}, True),
        ({"or": {"id": 5}}, True),
        ({"and": [{"type": "x"}, {"workerId": "w"}]}, False),
        ({"and": [{"type": "mail"}, {"workerId": "w"}]}, None),
        ({"or": [{"type": "x"}, {"workerId": "w"}]}, None),
        ({"or": [{"id": 5}, {"workerId": "w"}]}, True),
        ({"not": {"workerId": "w"}}, None),
        ({"not": {"id": 5}}, False),
        # patterns
        ({"name": {"like": "A\\_b\\%c\\\\d"}}, True),
        ({"name": {"like": "A_b%"}}, True),
        ({"name": {"like": "a_b%"}}, False),
        ({"name": {"iLike": "a_B%D"}}, True),
        ({"name": {"like": "%b%c%"}}, True),
        ({"name": {"like": "%b%b%"}}, False),
        ({"name": {"like": ""}}, False),
        ({"name": {"like": "%"}}, True),
        ({"name": {"like": "%%"}}, True),
        ({"name": {"like": "_______"}}, True),
        ({"name": {"like": "______"}}, False),
        ({"name": {"notLike": "x%"}}, True),
        ({"name": {"notILike": "a%"}}, False),
        ({"workerId": {"notLike": "x"}}, None),
        ({"name": {"startsWith": "A_"}}, True),
        ({"name": {"startsWith": "Ab"}}, False),
        ({"name": {"endsWith": "\\d"}}, True),
        ({"name": {"substring": "b%c"}}, True),
        ({"name": {"substring": "b_c"}}, False),
        # JSON
        ({"input": {"n": 3}}, True),
        ({"input": {"n": 3.0}}, True),
        ({"input.n": 3}, True),
        ({"input.n": "3"}, None),
        ({"input.n": {"ne": "3"}}, None),
        ({"input.n": {"ne": 4}}, True),
        ({"input.n": True}, None),
        ({"input.yes": True}, True),
        ({"input.yes": 1}, None),
        ({"input.yes": {"is": True}}, True),
        ({"input.no": None}, True),
        ({"input.missing": None}, True),
        ({"input.missing": {"ne": 1}}, None),
        ({"input.n": {"in": [1, 3, "3"]}}, True),
        ({"input.n": {"in": ["3"]}}, None),
        ({"input.n": {"in": [1, "3"]}}, None),
        ({"input.list.0": 10}, True),
        ({"input.list.1.x": "y"}, True),
        ({"input.list.2": None}, True),
        ({"input.list.x": None}, True),
        ({"input.list.1234567890": None}, True),
        ({"input.n.x": None}, True),
        ({"input": {"list": {"1": {"x": {"startsWith": "y"}}}}}, True),
        ({"input.t": {"iLike": "TEXT"}}, True),
        ({"input.n": {"like": "3"}}, None),
        ({"input.t": {"gt": "Tex"}}, True),
        ({"input.f": {"between": [1, 2]}}, True),
        ({"input": {"n": {"gt": 1, "lt": 3}}}, False),
        ({"input": {"n": {"or": [1, 3]}}}, True),
        ({"input": 5}, None),
        ({"output": None}, True),
        ({"input": {}}, True),
    ],
)
def test_what_conditions_mean(tree, expected):
    assert meets(tree) is expected


@everywhere
@pytest.mark.parametrize(
    "where, expected",
    [
        (Where(type="a", status=In("queued", "failed")), [1]),
        (Where(input={"n": Op("gte", 2)}), [2]),
        (Where(input={"n": "2"}), []),
        (Where(name="x") | Where(priority=Op("gt", 4)), [1, 2]),
        (Where(name="x") & Where(type="b"), []),
        (~Where(name="x"), [2]),
        (Where(worker_id=None, start_after=None), [1, 2, 3]),
        (Where(name=Op("iLike", "X")), [1]),
        (Where(tenant="", unique_id=Op("ne", None)), [3]),
    ],
)
def test_filters_in_python(queue, where, expected):
    queue.enqueue_many(
        [NewJob("a", {"n": 1}, name="x"), NewJob("b", {"n": 2}, name="y", priority=8), NewJob("b", unique_id="u")]
    )
    assert [job.id for job in queue.list(Job, where)] == expected
    assert queue.count(Job, where) == len(expected)


def test_filters_show_and_combine():
    assert repr(Where(type="a") & ~Where(name=None)) == "Where({'and': [{'type': 'a'}, {'not': {'name': None}}]})"
    assert repr(Where(status=In("a"))) == "Where({'status': Op(name='in', value=['a'])})"
    known = attributes(Job)
    nested = parse(Job, Where(**{"or": [Where(type="a"), {"not": Where(priority=4)}]}))
    assert nested == Or((Compare(known["type"], (), "eq", "a"), Not(Compare(known["priority"], (), "eq", 4))))


def test_the_tree_is_small():
    known = attributes(Job)
    assert parse(Job, None) is EVERYTHING
    assert parse(Job, {"type": "a"}) == Compare(known["type"], (), "eq", "a")
    assert parse(Job, {"type": None, "id": [1]}) == And(
        (Compare(known["type"], (), "null", None), Compare(known["id"], (), "in", (1,)))
    )
    assert equal(Job, type="a", name=None, id={5}) == And(
        (
            Compare(known["type"], (), "eq", "a"),
            Compare(known["name"], (), "null", None),
            Compare(known["id"], (), "in", (5,)),
        )
    )
    assert set(OPERATORS) == set(
        "eq ne gt gte lt lte not is in notIn like notLike iLike notILike startsWith endsWith substring between notBetween and or".split()
    )


THERE_ARE = f"there are: {', '.join(OPERATORS)} (a JSON key of such a name is reached by a dotted path)"
OBJECT = 'where must be an object like {"status": "queued"}, not '


@pytest.mark.parametrize(
    "tree, message",
    [
        (5, OBJECT + "5"),
        ("x", OBJECT + "'x'"),
        ([], OBJECT + "[]"),
        ({"and": 5}, "and must have a list of conditions, not 5"),
        ({"or": "x"}, "or must have a list of conditions, not 'x'"),
        ({"or": None}, "or must have a list of conditions, not None"),
        ({"or": [5]}, OBJECT + "5"),
        ({"or": b"x"}, OBJECT + "120"),
        ({"not": [1]}, OBJECT + "[1]"),
        ({5: 1}, "where must have attribute names as keys, not 5"),
        ({None: 1}, "where must have attribute names as keys, not None"),
        ({"type.x": 1}, "type is not JSON: it has nothing like 'type.x'"),
        ({"regexp": "x"}, "where: 'regexp' needs an attribute it applies to, written without a sign before it"),
        ({"$or": []}, "where: '$or' needs an attribute it applies to, written without a sign before it"),
        ({"eq": 1}, "where: 'eq' needs an attribute it applies to, written without a sign before it"),
        ({"type": {"regexp": "x"}}, f"type: 'regexp' is not supported; {THERE_ARE}"),
        ({"input": {"col": "x"}}, f"input: 'col' is not supported; {THERE_ARE}"),
        ({"input.a": {"literal": "x"}}, f"input.a: 'literal' is not supported; {THERE_ARE}"),
        ({"type": {"equals": "x"}}, f"type: 'equals' is not an operator; {THERE_ARE}"),
        ({"type": {5: "x"}}, f"type: 5 is not an operator; {THERE_ARE}"),
        ({"input": {5: "x"}}, "input must have strings as keys, not 5"),
        ({"type": Op("nope", 1)}, f"type: 'nope' is not an operator; {THERE_ARE}"),
        ({"type": Op(cast("str", None), 1)}, f"type: None is not an operator; {THERE_ARE}"),
        ({"id": "5"}, "id: eq must be an integer, not '5'"),
        ({"id": True}, "id: eq must be an integer, not True"),
        (
            {"id": 2**63},
            "id: eq must be from -9,223,372,036,854,775,808 to 9,223,372,036,854,775,807, not 9223372036854775808",
        ),
        ({"id": 1.5}, "id: eq must be an integer, not 1.5"),
        ({"type": 5}, "type: eq must be a string, not 5"),
        ({"isRecoverable": 1}, "isRecoverable: eq must be true or false, not 1"),
        ({"isRecoverable": {"gt": True}}, "isRecoverable: gt does not compare true and false"),
        ({"input.a": {"gt": True}}, "input.a: gt does not compare true and false"),
        ({"timeoutSeconds": "5"}, "timeoutSeconds: eq takes a number, not '5'"),
        ({"timeoutSeconds": {"gt": None}}, "timeoutSeconds: gt takes a number, not None"),
        ({"timeoutSeconds": float("nan")}, "timeoutSeconds: eq takes a number, not nan"),
        ({"timeoutSeconds": True}, "timeoutSeconds: eq must be an integer, not True"),
        ({"input.a": {"eq": {"b": 1}}}, "input.a: eq takes a number, not {'b': 1}"),
        ({"input.a": {"lt": []}}, "input.a: lt takes a number, not []"),
        ({"input.a": float("inf")}, "input.a: eq takes a number, not inf"),
        ({"createdAt": "yesterday"}, "createdAt: eq takes a date like 2030-01-31T12:00:00Z, not 'yesterday'"),
        ({"createdAt": 5}, "createdAt: eq must be a date and time, not 5"),
        (
            {"createdAt": datetime(2030, 1, 1)},  # noqa: DTZ001
            "createdAt: eq must be an aware datetime (with a time zone), not datetime.datetime(2030, 1, 1, 0, 0)",
        ),
        ({"type": {"is": "x"}}, "type: is takes null, true or false, not 'x'"),
        ({"type": {"in": "abc"}}, "type: in takes a list, not 'abc'"),
        ({"type": {"in": None}}, "type: in takes a list, not None"),
        ({"type": {"notIn": 5}}, "type: in takes a list, not 5"),
        ({"id": {"in": [None]}}, "id: in must be an integer, not None"),
        ({"id": [1] * 1001}, "id: in takes at most 1,000 values, not 1,001"),
        ({"id": {"between": [1]}}, "id: between takes a list of two values, not [1]"),
        ({"id": {"between": 5}}, "id: between takes a list of two values, not 5"),
        ({"id": {"between": [1, None]}}, "id: lte must be an integer, not None"),
        ({"id": {"like": "1%"}}, "id is not a text: like does not apply"),
        ({"createdAt": {"startsWith": "2030"}}, "createdAt is not a text: startsWith does not apply"),
        ({"name": {"like": 5}}, "name: like must be a string, not 5"),
        ({"name": {"like": "x" * 201}}, "name: like must have at most 200 characters, not 201"),
        ({"name": {"like": "a\\"}}, "name: like must not end with a lone backslash"),
        ({"name": {"notILike": "a\\\\\\"}}, "name: notILike must not end with a lone backslash"),
        ({"name": {"or": 5}}, "name: or must have a list, not 5"),
        ({"name": {"and": "x"}}, "name: and must have a list, not 'x'"),
        ({"input." + ".".join("abcdefghijk"): 1}, "input.a.b.c.d.e.f.g.h.i.j.k: a path has at most 10 parts"),
        ({"input.": 1}, "a path in input must not be empty"),
        ({"input.a..b": 1}, "a path in input must not be empty"),
        ({"input." + "x" * 201: 1}, "a path in input must have at most 200 characters, not 201"),
        ({'input.a"b': 1}, 'input.a"b: a path must not hold ", \\ or control characters'),
        ({"input.a\\b": 1}, 'input.a\\b: a path must not hold ", \\ or control characters'),
        ({"input.a\n": 1}, 'input.a\n: a path must not hold ", \\ or control characters'),
        ({"input.-1": 1}, "input.-1: a path must not hold signed numbers"),
        ({"input.list.+1": 1}, "input.list.+1: a path must not hold signed numbers"),
        ({"not": {"not": {"not": {"not": {"not": {}}}}}}, "where must not be nested deeper than 5 levels"),
        ({"type": {"not": {"not": {"not": {"not": {"not": "x"}}}}}}, "where must not be nested deeper than 5 levels"),
        ({"input": {"a": {"b": {"c": {"d": {"e": {"f": 1}}}}}}}, "where must not be nested deeper than 5 levels"),
        ({"or": [{"id": 1}] * 101}, "where must not have more than 100 conditions"),
    ],
    ids=range(71),
)
def test_what_is_refused_and_how(queue, tree, message):
    for call in (lambda: parse(Job, tree), lambda: queue.list(Job, tree), lambda: queue.count(Job, tree)):
        with pytest.raises(InvalidInput) as caught:
            call()
        assert str(caught.value) == message
        assert type(caught.value) is InvalidInput


@pytest.mark.parametrize("text", ["\0", "\ud800"])
def test_texts_no_storage_keeps(text):
    for tree in ({"type": text}, {"name": {"like": text}}, {"input.a": text}, {f"input.{text}": 1}):
        with pytest.raises(InvalidText):
            parse(Job, tree)


@pytest.mark.parametrize(
    "name", ["nope", "", " type", "tenant", "priority", "job_unique_id", "leaseSeconds", "x" * 5000]
)
def test_unknown_attributes(name):
    with pytest.raises(
        InvalidInput, match=r"^where: there is no attribute '.*; there are: attempt, backoff, batchId, "
    ) as caught:
        parse(Job, {name: 1})
    assert len(str(caught.value)) < 1000


def test_python_and_the_wire_have_their_own_names():
    assert parse(Job, Where(priority=4)) == parse(Job, {"priorityLevel": 4})
    for where in (Where(priorityLevel=4), {"priority": 4}):
        with pytest.raises(InvalidInput, match="there is no attribute"):
            parse(Job, where)


def test_a_pattern_with_many_wildcards_takes_no_time():
    job = JOB.evolve(name="a" * 5000)
    start = time.process_time()
    for op in ("like", "iLike"):
        assert matches(parse(Job, {"name": {op: "%a" * 99 + "b"}}), job) is False
        assert matches(parse(Job, {"name": {op: "%a" * 99 + "%"}}), job) is True
        assert matches(parse(Job, {"name": {op: "%_a" * 60 + "%b"}}), job) is False
    assert time.process_time() - start < 2


@pytest.mark.parametrize(
    "pattern, text, expected",
    [
        ("%ab%ab", "abab", True),
        ("%ab%ab", "ab", False),
        ("ab%ab", "aab", False),
        ("a%a", "a", False),
        ("a%a", "aa", True),
        ("%a%", "bab", True),
        ("%\\%%", "50%", True),
        ("%\\%%", "50", False),
        ("a\nb", "a\nb", True),
        ("%b", "a\nb", True),
        ("_", "\U0001f600", True),
        ("\\a", "a", True),
        ("%aab", "aaab", True),
        ("%_b%c", "abbc", True),
        ("[a-z]%", "abc", False),
        (".*", "abc", False),
    ],
)
def test_patterns(pattern, text, expected):
    assert matches(parse(Job, {"name": {"like": pattern}}), JOB.evolve(name=text)) is expected


def test_ascii_letters_only_lose_their_case():
    for pattern, text, expected in (
        ("É", "é", False),
        ("k", "\u212a", False),
        ("straSSE", "STRAsse", True),
        ("\u0131", "I", False),
    ):
        assert matches(parse(Job, {"name": {"iLike": pattern}}), JOB.evolve(name=text)) is expected


def test_times_compare_as_moments():
    assert meets({"createdAt": {"between": [START - timedelta(1), "2030-01-02"]}}) is True
    assert meets({"createdAt": {"in": ["2030-01-01T12:00:00Z"]}}) is True


def test_combinations_never_reach_the_table():
    with pytest.raises(AssertionError):
        language._OPERATORS["and"](None, None)  # type: ignore[arg-type]
