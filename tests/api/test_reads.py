"""Lists and counts (section 4 of the jobs contract)."""

from __future__ import annotations

import pytest

LISTS = ["job", "batch", "pipeline", "pipelineStep", "jobHoldType"]
COUNTS = ["job", "batch", "pipeline", "pipelineStep"]


@pytest.fixture
def jobs(api):
    for number, (type, priority) in enumerate([("mail", 4), ("scan", 8), ("mail", 1), ("mail", 8)]):
        api.create(type, name=f"n{number}", priorityLevel=priority, input={"n": number})
    return api


def ids(rows):
    return [row["id"] for row in rows]


def test_without_order_a_list_goes_by_id(jobs):
    assert ids(jobs.get("{ job { id } }")) == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "arguments, expected",
    [
        ("id: 2", [2]),
        ("id: 99", []),
        ("id: -1", []),
        ('where: {type: "mail"}', [1, 3, 4]),
        ('where: {type: "mail"}, id: 3', [3]),
        ('where: {type: "scan"}, id: 3', []),
        ("where: {}", [1, 2, 3, 4]),
        ("where: {id: [1, 2]}", [1, 2]),
        ("where: {priorityLevel: {gte: 4}}", [1, 2, 4]),
        ('where: {or: [{type: "scan"}, {priorityLevel: 1}]}', [2, 3]),
        ("where: {input: {n: 2}}", [3]),
        ("where: {workerId: null}", [1, 2, 3, 4]),
        ('order: "reverse:id"', [4, 3, 2, 1]),
        ('order: "reverse:priorityLevel, id"', [2, 4, 1, 3]),
        ('order: "type,reverse:id"', [4, 3, 1, 2]),
        ("limit: 2", [1, 2]),
        ("limit: 0", []),
        ("limit: 10000", [1, 2, 3, 4]),
        ("offset: 1, limit: 2", [2, 3]),
        ("offset: 3", [4]),
        ("offset: 100", []),
        # an argument of null is one that was not given (B18)
        ("id: null, where: null, limit: null, order: null, offset: null", [1, 2, 3, 4]),
    ],
)
def test_arguments_of_a_list(jobs, arguments, expected):
    assert ids(jobs.get(f"{{ job({arguments}) {{ id }} }}")) == expected


def test_a_filter_may_be_a_variable_or_its_json_text(jobs):
    text = "query($where: SequelizeJSON) { job(where: $where) { id } }"
    assert ids(jobs.get(text, where={"input.n": 2})) == [3]
    assert ids(jobs.get(text, where='{"type": "scan"}')) == [2]
    assert ids(jobs.get(text, where=None)) == [1, 2, 3, 4]
    assert ids(jobs.get(text)) == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "arguments, message",
    [
        ('order: ""', 'order must be a field, "reverse:field", or a comma list of those'),
        ('order: " , "', 'order must be a field, "reverse:field", or a comma list of those'),
        ('order: "nope"', "order: job has no field 'nope'"),
        ('order: "priority"', "order: job has no field 'priority'"),
        ('order: "tenant"', "order: job has no field 'tenant'"),
        ('order: "input"', "order: input is JSON and has no order"),
        ('order: "foo.id"', "Association foo unknown on model job order"),
        ('order: "id,type,name,status"', "order takes at most 3 fields, not 4"),
        ("limit: -1", "limit must be from 0 to 10,000, not -1"),
        ("limit: 10001", "limit must be from 0 to 10,000, not 10001"),
        ("offset: -1", "offset must be from 0 to 100,000, not -1"),
        ("offset: 100001", "offset must be from 0 to 100,000, not 100001"),
        ("where: 3", "where must be an object"),
        ("where: []", "where must be an object"),
        ('where: "type"', "where must be an object"),
        ("where: {nope: 1}", "where: there is no attribute 'nope'"),
        ('where: {tenant: "x"}', "where: there is no attribute 'tenant'"),
        ("where: {priority: 1}", "where: there is no attribute 'priority'"),
        ('where: {type: {regexp: "a"}}', "type: 'regexp' is not supported"),
        ('where: {type: {_in: ["a"]}}', "type: '_in' is not an operator"),
        ("where: {id: true}", "id: eq must be an integer"),
        ('where: {type: "a\\u0000"}', "must not hold a NUL character"),
    ],
)
def test_wrong_arguments_of_a_list(jobs, arguments, message):
    found, code = jobs.refuse(f"{{ job({arguments}) {{ id }} }}")
    assert message in found
    assert code in {"INVALID_INPUT", "INVALID_TEXT"} or "NUL" in found


@pytest.mark.parametrize("name", LISTS)
def test_every_list_takes_every_argument(api, name):
    arguments = '(id: 1, where: {id: {gt: 0}}, limit: 5, order: "reverse:id", offset: 0)'
    assert api.get(f"{{ {name}{arguments} {{ id createdAt updatedAt deletedAt }} }}") == []
    assert "at most 3 fields" in api.refuse(f'{{ {name}(order: "id,id,id,id") {{ id }} }}')[0]


@pytest.mark.parametrize("name", COUNTS)
def test_every_count_ignores_limit_offset_and_order(api, name):
    assert api.get(f'{{ {name}Count(id: 1, where: {{id: 1}}, limit: -1, order: "", offset: -9) }}') == 0


def test_counts_honour_id_and_where(jobs):
    assert jobs.get("{ jobCount }") == 4
    assert jobs.get('{ jobCount(where: {type: "mail"}, limit: 1) }') == 3
    assert jobs.get('{ jobCount(where: {type: "mail"}, id: 2) }') == 0
    assert jobs.get("{ jobCount(where: null, id: null) }") == 4
    assert "no attribute" in jobs.refuse("{ jobCount(where: {nope: 1}) }")[0]


def test_aliases_and_a_lone_typename_work_in_lists(jobs):
    """B17."""
    assert jobs.get('{ all: job(where: {type: "scan"}) { a: id b: id kind: type } }') == [
        {"a": 2, "b": 2, "kind": "scan"}
    ]
    assert jobs.get("{ job(limit: 2) { __typename } }") == [{"__typename": "job"}] * 2
    body = jobs.run("{ a: job(limit: 1) { id } b: job(offset: 3) { id } c: jobCount __typename }")
    assert body == {"data": {"a": [{"id": 1}], "b": [{"id": 4}], "c": 4, "__typename": "Query"}}


def test_soft_deleted_rows_are_never_listed(api):
    toggle = 'mutation { toggleHoldJobType(type: "mail") { id } }'
    assert api.get(toggle) == {"id": 1}
    assert api.get("{ jobHoldType { id type deletedAt } }") == [{"id": 1, "type": "mail", "deletedAt": None}]
    assert api.get(toggle) is None
    assert api.get("{ jobHoldType { id } }") == []


def test_a_list_without_limit_gives_at_most_a_thousand(api):
    many = "mutation($jobs: [jobInput!]!) { jobCreateMany(jobs: $jobs) { id } }"
    for _ in range(2):
        api.get(many, jobs=[{"type": "a"}] * 600)
    assert len(api.get("{ job { id } }")) == 1000
    assert len(api.get("{ job(limit: 1100) { id } }")) == 1100


def test_every_field_of_a_job_can_be_read(api, schema):
    api.create(
        input={"a": [1, "x", None, True, 1.5]},
        name="n",
        jobUniqueId="u",
        maxAttempts=3,
        maxStalled=2,
        backoff={"type": "linear", "delay": 1000},
        timeoutSeconds=1.5,
        onLost="hold",
        isHighFrequency=True,
        isRecoverable=True,
        priorityLevel=-2147483648,
        startAfter="2020-02-03T04:05:06.789Z",
    )
    plain = [name for name, field in schema.type_map["job"].fields.items() if not field.args]
    (job,) = api.get(f"{{ job {{ {' '.join(plain)} }} }}")
    moment = job.pop("createdAt")
    assert len(moment) == len("2020-01-01T00:00:00.000Z")
    assert job.pop("updatedAt") == moment
    assert {name: value for name, value in job.items() if value is not None} == {
        "id": 1,
        "type": "mail",
        "input": {"a": [1, "x", None, True, 1.5]},
        "name": "n",
        "jobUniqueId": "u",
        "status": "queued",
        "attempt": 0,
        "failures": 0,
        "stalledCount": 0,
        "maxAttempts": 3,
        "maxStalled": 2,
        "backoff": {"type": "linear", "delay": 1000},
        "timeoutSeconds": 1.5,
        "onLost": "hold",
        "isHighFrequency": True,
        "isRecoverable": True,
        "isUpdateAlreadyCalledWhileCancelRequested": False,
        "priorityLevel": -2147483648,
        "startAfter": "2020-02-03T04:05:06.789Z",
    }
    assert type(job["status"]) is str
