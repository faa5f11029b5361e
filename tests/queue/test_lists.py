"""What a list takes: limits, offsets and orders (section 4 of the jobs contract, point 14 of section 0)."""

from __future__ import annotations

import pytest

from gnj.queue import lists
from gnj.queue.errors import InvalidInput
from gnj.queue.model import Batch, Job, NewJob, Pipeline, Step, attributes, by_wire
from gnj.queue.where import In, Op, Where

everywhere = pytest.mark.usefixtures("everywhere")


@pytest.fixture
def five(queue):
    """Five jobs; by id: their priorities and names."""
    return queue.enqueue_many(
        [
            NewJob("a", i, priority=p, name=n)
            for i, (p, n) in enumerate([(4, "x"), (8, None), (1, "X"), (8, "ä"), (4, "x")])
        ]
    )


def ids(rows):
    return [row.id for row in rows]


@everywhere
def test_without_an_order_lists_go_by_id(queue, five):
    assert queue.list(Job) == five
    assert ids(queue.list(Job, limit=2)) == [1, 2]
    assert ids(queue.list(Job, limit=2, offset=1)) == [2, 3]
    assert queue.list(Job, limit=0) == []
    assert queue.list(Job, offset=5) == []
    assert queue.list(Job, limit=None, offset=None) == five
    assert queue.list(Batch) == queue.list(Pipeline) == queue.list(Step) == []


@everywhere
@pytest.mark.parametrize(
    "order, expected",
    [
        ((), [1, 2, 3, 4, 5]),
        ("id", [1, 2, 3, 4, 5]),
        ("-id", [5, 4, 3, 2, 1]),
        (["priority"], [3, 1, 5, 2, 4]),
        (("-priority", "-id"), [4, 2, 5, 1, 3]),
        (("name",), [3, 1, 5, 4, 2]),
        (("-name",), [2, 4, 1, 5, 3]),
        (("-priority", "name", "-id"), [4, 2, 5, 1, 3]),
    ],
)
def test_orders(queue, five, order, expected):
    assert ids(queue.list(Job, order=order)) == expected


@everywhere
def test_conditions_and_counts(queue, five):
    assert ids(queue.list(Job, priority=8)) == [2, 4]
    assert ids(queue.list(Job, Where(name=None) | Where(priority=1), order="-id")) == [3, 2]
    assert ids(queue.list(Job, {"priorityLevel": {"gt": 1}}, name=In("x", "ä"))) == [1, 4, 5]
    assert queue.count(Job, {"priorityLevel": 8}) == 2
    assert queue.count(Job, input=Op("gte", 3)) == 2
    assert queue.count(Job) == 5
    assert queue.count(Job, tenant="t") == 0
    assert queue.list(Job, tenant="t") == []


def test_a_list_without_a_limit_ends(queue):
    queue.enqueue_many([NewJob("a")] * (lists.DEFAULT_LIMIT + 1))
    assert len(queue.list(Job)) == lists.DEFAULT_LIMIT
    assert len(queue.list(Job, limit=lists.MAX_LIMIT)) == lists.DEFAULT_LIMIT + 1
    assert queue.count(Job) == lists.DEFAULT_LIMIT + 1


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"limit": -1}, "limit must be from 0 to 10,000, not -1"),
        ({"limit": 10_001}, "limit must be from 0 to 10,000, not 10001"),
        ({"limit": True}, "limit must be an integer, not True"),
        ({"limit": "5"}, "limit must be an integer, not '5'"),
        ({"limit": 1.0}, "limit must be an integer, not 1.0"),
        ({"offset": -1}, "offset must be from 0 to 100,000, not -1"),
        ({"offset": 100_001}, "offset must be from 0 to 100,000, not 100001"),
        ({"offset": False}, "offset must be an integer, not False"),
        ({"order": None}, "order must be a list of attribute names, not None"),
        ({"order": 5}, "order must be a list of attribute names, not 5"),
        ({"order": [5]}, "order must be a list of attribute names, not [5]"),
        ({"order": {"id": 1}}, "order must be a list of attribute names, not {'id': 1}"),
        ({"order": ["id"] * 4}, "order takes at most 3 fields, not 4"),
        ({"order": ["input"]}, "order: input is JSON and has no order"),
        ({"order": ["attempts.id"]}, "Association attempts unknown on model job order"),
        (
            {"order": ["batch.nope"]},
            "order: batch has no field 'nope'; there are: created_at, deleted_at, id, pipeline_id, status, tenant, updated_at",
        ),
        ({"where": 5}, 'where must be an object like {"status": "queued"}, not 5'),
        ({"where": [{"id": 1}]}, 'where must be an object like {"status": "queued"}, not [{\'id\': 1}]'),
    ],
)
def test_bad_arguments(queue, arguments, message):
    with pytest.raises(InvalidInput) as caught:
        queue.list(Job, **arguments)
    assert str(caught.value) == message


@pytest.mark.parametrize("name", ["nope", "", "-", "--id", "priorityLevel", "id ", "id;", "\0", "x" * 1000])
def test_unknown_fields_of_an_order(queue, name):
    with pytest.raises(InvalidInput, match=r"^order: job has no field .*; there are: attempt, backoff, ") as caught:
        queue.list(Job, order=[name])
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("record", [Job, Batch, Pipeline, Step])
def test_every_attribute_that_is_not_json_has_an_order(queue, record):
    for attribute in attributes(record).values():
        if attribute.kind.value != "json":
            assert queue.list(record, order=[f"-{attribute.name}"]) == []


@pytest.mark.parametrize(
    "text, expected",
    [
        ("id", (("id", False),)),
        ("reverse:id", (("id", True),)),
        ("priorityLevel, reverse:jobUniqueId", (("priority", False), ("unique_id", True))),
        (" type ,id,reverse:createdAt ", (("type", False), ("id", False), ("created_at", True))),
    ],
)
def test_orders_on_the_wire(text, expected):
    assert lists.wire_order(Job, text) == expected


@pytest.mark.parametrize("text", ["", " ", ",", "id,", ",id", "id,,id"])
def test_empty_orders_on_the_wire(text):
    with pytest.raises(InvalidInput) as caught:
        lists.wire_order(Job, text)
    assert str(caught.value) == 'order must be a field, "reverse:field", or a comma list of those'


@pytest.mark.parametrize(
    "text, message",
    [
        ("foo.id", "Association foo unknown on model job order"),
        ("reverse:foo.id", "Association foo unknown on model job order"),
        ("id,id,id,id", "order takes at most 3 fields, not 4"),
        ("processingInfo", "order: processingInfo is JSON and has no order"),
    ],
)
def test_bad_orders_on_the_wire(text, message):
    with pytest.raises(InvalidInput) as caught:
        lists.wire_order(Job, text)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "text", ["nope", "priority", "reverse:", "reverse:reverse:id", "-id", "tenant", "due_at", "id desc"]
)
def test_unknown_fields_on_the_wire(text):
    with pytest.raises(InvalidInput, match="order: job has no field"):
        lists.wire_order(Job, text)


def test_what_is_hidden_is_not_on_the_wire():
    hidden = {"tenant", "customId", "position", "dueAt", "lease", "options", "limitKey", "traceparent"}
    assert not hidden & set(by_wire(Job))
    assert {"leaseExpiresAt", "timeoutSeconds", "isUpdateAlreadyCalledWhileCancelRequested", "retryOfJobId"} <= set(
        by_wire(Job)
    )
