"""What `{name, data, opts}` may say, and which row it becomes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gnj.api.queues.schemas import SCHEMAS
from gnj.queue import options
from gnj.queue.clock import After
from gnj.queue.errors import InvalidInput, InvalidText
from gnj.queue.jobs import FIRST
from gnj.queue.options import MAX_BACKOFF, MAX_DELAY, MAX_KEPT, MAX_PRIORITY
from gnj.queue.retry import from_wire

PLAIN = {"type": "mail", "name": "n", "input": 1, "tenant": "t"}

TAKEN = [
    ({"attempts": 0}, {"max_attempts": 1}),
    ({"attempts": 1}, {"max_attempts": 1}),
    ({"attempts": 5.0}, {"max_attempts": 5}),
    ({"attempts": 2**31 - 1}, {"max_attempts": 2**31 - 1}),
    ({"backoff": 500}, {"backoff": {"type": "fixed", "delay": 500}}),
    ({"backoff": {}}, {"backoff": {"type": "fixed", "delay": 0}}),
    ({"backoff": {"type": "linear", "delay": 2.0}}, {"backoff": {"type": "linear", "delay": 2}}),
    (
        {"backoff": {"type": "exponential", "delay": 10, "maxDelay": 70, "jitter": 0.5}},
        {"backoff": {"type": "exponential", "delay": 10, "maxDelay": 70, "jitter": 0.5}},
    ),
    ({"delay": 0}, {}),
    ({"delay": 1500}, {"start_after": After(1.5)}),
    ({"delay": MAX_DELAY}, {"start_after": After(1e9)}),
    ({"priority": 1}, {"priority": -1}),
    ({"priority": MAX_PRIORITY}, {"priority": -MAX_PRIORITY}),
    ({"lifo": True}, {"position": FIRST}),
    ({"lifo": True, "delay": 0}, {"position": FIRST}),
    ({"lifo": False}, {}),
    ({"lifo": True, "priority": 3}, {"priority": -3}),
    ({"lifo": True, "delay": 9}, {"start_after": After(0.009)}),
    ({"jobId": ""}, {}),
    ({"jobId": "1a"}, {"custom_id": "1a"}),
    ({"jobId": "-1"}, {"custom_id": "-1"}),
    ({"jobId": "..."}, {"custom_id": "..."}),
    ({"jobId": "a%2Fb"}, {"custom_id": "a%2Fb"}),
    ({"jobId": "é" * 500}, {"custom_id": "é" * 500}),
    ({"group": "k"}, {"limit_key": "k"}),
    ({"group": {"id": "k" * 200}}, {"limit_key": "k" * 200}),
    ({"removeOnComplete": True, "removeOnFail": 0}, {}),
    ({"removeOnComplete": {}, "removeOnFail": {"count": 1, "age": MAX_KEPT, "limit": 0}}, {}),
]
REFUSED = [
    ("attempts", -1, "Invalid attempts -1"),
    ("attempts", 1.5, "Invalid attempts 1.5"),
    ("attempts", "3", "Invalid attempts '3'"),
    ("attempts", True, "Invalid attempts True"),
    ("attempts", 2**31, "Invalid attempts 2147483648"),
    ("backoff", None, "Invalid backoff None"),
    ("backoff", "fixed", "Invalid backoff 'fixed'"),
    ("backoff", True, "Invalid backoff True"),
    ("backoff", -1, "Invalid backoff -1"),
    ("backoff", [], "Invalid backoff []"),
    (
        "backoff",
        {"type": "custom", "delay": 1},
        "Invalid backoff type 'custom', must be one of fixed, linear, exponential",
    ),
    ("backoff", {"type": None}, "Invalid backoff type None, must be one of fixed, linear, exponential"),
    ("backoff", {"type": []}, "Invalid backoff type [], must be one of fixed, linear, exponential"),
    ("backoff", {"delay": -1}, "Invalid backoff delay -1"),
    ("backoff", {"delay": "1"}, "Invalid backoff delay '1'"),
    ("backoff", {"delay": None}, "Invalid backoff delay None"),
    ("backoff", {"delay": MAX_BACKOFF + 1}, f"Invalid backoff delay {MAX_BACKOFF + 1}"),
    ("backoff", {"maxDelay": True}, "Invalid backoff maxDelay True"),
    ("backoff", {"jitter": 1.1}, "Invalid backoff jitter 1.1, must be from 0 to 1"),
    ("backoff", {"jitter": False}, "Invalid backoff jitter False, must be from 0 to 1"),
    ("backoff", {"max": 1}, "Unexpected field: opts.backoff.max"),
    ("delay", -1, "Invalid delay -1"),
    ("delay", 0.5, "Invalid delay 0.5"),
    ("delay", MAX_DELAY + 1, "Invalid delay 1000000000001"),
    ("priority", 0, "Invalid priority 0"),
    ("priority", None, "Invalid priority None"),
    ("priority", MAX_PRIORITY + 1, "Invalid priority 2097153"),
    ("lifo", 1, "Invalid lifo 1, must be a boolean"),
    ("lifo", None, "Invalid lifo None, must be a boolean"),
    ("jobId", 5, "Invalid jobId 5, must be a string"),
    ("jobId", None, "Invalid jobId None, must be a string"),
    ("jobId", "0057", "Invalid jobId '0057', digits only are automatic ids"),
    ("jobId", "x" * 501, "Invalid jobId must have at most 500 characters, not 501"),
    ("jobId", "a/b", "Invalid jobId 'a/b', must not hold a slash"),
    ("jobId", ".", "Invalid jobId '.', must not be a dot or two, which are steps in a path"),
    ("jobId", "..", "Invalid jobId '..', must not be a dot or two, which are steps in a path"),
    ("jobId", "a\ufffd", "Invalid jobId 'a\ufffd', must not hold what is not UTF-8"),
    ("jobId", "a\0", "Invalid jobId must not hold a NUL character"),
    ("deduplication", None, "Invalid deduplication None"),
    ("deduplication", "x", "Invalid deduplication 'x'"),
    ("deduplication", {}, "Invalid deduplication id None"),
    ("deduplication", {"id": ""}, "Invalid deduplication id ''"),
    ("deduplication", {"id": "x" * 201}, "Invalid deduplication id must have at most 200 characters, not 201"),
    ("deduplication", {"id": "x", "ttl": 0}, "Invalid deduplication ttl 0"),
    ("deduplication", {"id": "x", "ttl": None}, "Invalid deduplication ttl None"),
    ("deduplication", {"id": "x", "replace": True}, "Unexpected field: opts.deduplication.replace"),
    ("group", "", "Invalid group ''"),
    ("group", 5, "Invalid group 5"),
    ("group", {"id": None}, "Invalid group id None"),
    ("group", {"id": "x", "y": 1}, "Unexpected field: opts.group.y"),
    ("removeOnComplete", -1, "Invalid removeOnComplete -1"),
    ("removeOnComplete", None, "Invalid removeOnComplete None"),
    ("removeOnFail", "1", "Invalid removeOnFail '1'"),
    ("removeOnFail", {"age": -1}, "Invalid removeOnFail age -1"),
    ("removeOnFail", {"ages": 1}, "Unexpected field: opts.removeOnFail.ages"),
    ("repeat", {}, "Unexpected field: opts.repeat"),
    ("parent", None, "Unexpected field: opts.parent"),
]
NO_JOBS: list[tuple[Any, str]] = [
    (5, "a job must be an object, not 5"),
    (None, "a job must be an object, not None"),
    ([], "a job must be an object, not []"),
    ({"data": 1}, "name is required"),
    ({"name": None, "data": 1}, "name is required"),
    ({"name": "", "data": 1}, "name is required"),
    ({"name": 5, "data": 1}, "name must be a string, not 5"),
    ({"name": "x" * 501, "data": 1}, "name must have at most 500 characters, not 501"),
    ({"name": "a\0b", "data": 1}, "name must not hold a NUL character"),
    ({"name": "n"}, "data is required"),
    ({"name": "n", "data": "\ud800"}, "data must not hold a surrogate without its other half"),
    ({"name": "n", "data": float("nan")}, "data must not hold NaN or infinite numbers"),
    ({"name": "n", "data": 2**63}, "data must not hold integers beyond 64 bits"),
    ({"name": "n", "data": "x" * 5_000_000}, "data must have at most 4,194,304 bytes as JSON, not 5,000,002"),
    ({"name": "n", "data": 1, "opts": 5}, "Invalid opts 5"),
    ({"name": "n", "data": 1, "opts": []}, "Invalid opts []"),
    ({"name": "n", "data": 1, "opts": False}, "Invalid opts False"),
    ({"name": "n", "data": 1, "id": 5}, "Unexpected field: id"),
    ({"name": "n", "data": 1, "x" * 300: 5}, "Unexpected field: " + "x" * 58 + "…"),
]


def row(**opts: Any) -> dict[str, Any]:
    """What a job with these options is stored with, besides what any is."""
    (made,) = options.rows("mail", [{"name": "n", "data": 1, "opts": opts}], "t")
    assert made.items() >= PLAIN.items()
    return {name: value for name, value in made.items() if name not in PLAIN}


def refused(*given: Any, queue: str = "mail") -> str:
    with pytest.raises(InvalidInput) as caught:
        options.rows(queue, list(given), "")
    return str(caught.value)


def of(name: str, value: Any) -> dict[str, Any]:
    return {"name": "n", "data": 1, "opts": {name: value}}


@pytest.mark.parametrize("data", [None, 0, False, "", [], {}, {"a": [1.5, None]}, "x" * 100])
def test_data_is_any_json(data):
    assert options.rows("mail", [{"name": "n", "data": data}], "t") == [{**PLAIN, "input": data}]


@pytest.mark.parametrize("opts", [{}, {"opts": None}, {"opts": {}}, {"opts": {"attempts": None, "delay": None}}])
def test_none_are_kept_where_none_are_given(opts):
    assert options.rows("mail", [{"name": "n", "data": 1, **opts}], "t") == [PLAIN]


@pytest.mark.parametrize("given, made", TAKEN)
def test_options_and_the_row(given, made):
    """The options are kept as they were given."""
    assert row(**given) == {**made, "options": given}


def test_what_shares_a_deduplication():
    one, other = row(deduplication={"id": "a"}), row(deduplication={"id": "a", "ttl": 5})
    assert one["unique_id"] == other["unique_id"] != row(deduplication={"id": "b"})["unique_id"]
    assert len(one["unique_id"]) <= 60
    (elsewhere,) = options.rows("post", [of("deduplication", {"id": "a"})], "")
    assert elsewhere["unique_id"] != one["unique_id"]


@pytest.mark.parametrize(
    "type, waits",
    [
        ("fixed", [7_200_000] * 4),
        ("linear", [7_200_000] * 4),
        ("exponential", [7_200_000] * 4),
    ],
)
def test_a_delay_beyond_the_hour_is_not_cut_to_it(type, waits):
    """Nor does it grow any more."""
    backoff = from_wire(row(backoff={"type": type, "delay": 7_200_000})["backoff"])
    assert [backoff.wait(n, lambda: 0.0) * 1000 for n in (1, 2, 3, 60)] == waits


@pytest.mark.parametrize(
    "given, waits",
    [
        ({"type": "exponential", "delay": 1000}, [1_000, 2_000, 4_000, 3_600_000]),
        ({"type": "linear", "delay": 1000}, [1_000, 2_000, 3_000, 60_000]),
        ({"type": "fixed", "delay": 1000}, [1_000] * 4),
        (1000, [1_000] * 4),
        ({"type": "exponential", "delay": 1000, "maxDelay": 3_000}, [1_000, 2_000, 3_000, 3_000]),
        ({"type": "exponential", "delay": 1000, "maxDelay": MAX_BACKOFF}, [1_000, 2_000, 4_000, MAX_BACKOFF]),
    ],
)
def test_waits_between_tries(given, waits):
    backoff = from_wire(row(backoff=given)["backoff"])
    assert [backoff.wait(n, lambda: 0.0) * 1000 for n in (1, 2, 3, 60)] == waits


@pytest.mark.parametrize("name, value, told", REFUSED)
def test_options_that_are_none(name, value, told):
    assert refused(of(name, value)) == told


@pytest.mark.parametrize("job, told", NO_JOBS)
def test_jobs_that_are_none(job, told):
    assert refused(job) == told
    assert refused({"name": "n", "data": 1}, job, {}) == f"job 2: {told}"


def test_the_kind_of_error_stays():
    with pytest.raises(InvalidText, match=r"^job 1: name must not hold"):
        options.rows("mail", [{"name": "\0", "data": 1}, {}], "")


@pytest.mark.parametrize("given", [{}, None, "[]", 5])
def test_arrays_that_are_none(given):
    with pytest.raises(InvalidInput, match=r"^Body must be an array$"):
        options.rows("mail", given, "")


def test_too_many():
    assert options.rows("mail", [], "") == []
    assert len(options.rows("mail", [{"name": "n", "data": 1}] * 10_000, "")) == 10_000
    assert refused(*[{}] * 10_001) == "Body must have at most 10,000 jobs, not 10,001"


@pytest.mark.parametrize("queue", ["gnj:bulk", "gnj:", "hook:x", "all"])
def test_queues_that_are_gnjs_own(queue):
    assert refused(queue=queue) == f"queue name is reserved: '{queue}'"


def test_every_option_is_described():
    described = SCHEMAS["JobOptions"]["properties"]
    assert described.keys() == options._OPTIONS.keys()
    assert json.dumps(dict(SCHEMAS))


def described(job: Any) -> bool:
    """Whether the schema takes a job."""
    jsonschema = pytest.importorskip("jsonschema")
    schema = {"components": {"schemas": dict(SCHEMAS)}, "$ref": "#/components/schemas/NewJob"}
    return bool(jsonschema.Draft202012Validator(schema).is_valid(job))


@pytest.mark.parametrize("given", [given for given, _ in TAKEN])
def test_the_schema_takes_what_is_taken(given):
    assert described({"name": "n", "data": 1, "opts": given})


@pytest.mark.parametrize("job", [of(name, value) for name, value, _ in REFUSED] + [job for job, _ in NO_JOBS])
def test_the_schema_takes_nothing_else(job):
    """But for what a schema cannot say: of how many bytes data may be, what is no JSON in UTF-8, and that 2**63 is refused where
    9.3e18 is not.
    """
    data = job.get("data") if isinstance(job, dict) else None
    unsaid = (isinstance(data, str) and (len(data) > 100 or data == "\ud800")) or data == 2**63 or data != data  # noqa: PLR0124 - NaN
    assert described(job) == unsaid


@pytest.mark.parametrize(
    "queue, message",
    [
        ("ma", "queue name must be at least 3 characters long"),
        ("m" * 101, "queue name must be at most 100 characters long"),
        ("a/b", "queue name must not hold a slash"),
        ("a\nb", "queue name must not hold control characters, nor what is not UTF-8"),
    ],
)
def test_names_that_no_queue_has(queue, message):
    assert refused(queue=queue) == message
