"""What is stored comes back as it was: JSON, texts, numbers, times."""

from __future__ import annotations

import copy
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from gnj.queue.clock import After
from gnj.queue.model import Job, Kind, Pipeline, attributes
from gnj.queue.states import JobStatus
from gnj.queue.storage import Select, Settlement, Storage
from gnj.queue.where import EVERYTHING, equal
from gnj.testing.contracts.inserts import between
from gnj.testing.contracts.support import ODD, PAST, Clocked, Contract, claim, job_of, processing, put, put_many


def nested(depth: int) -> Any:
    """An object so many levels deep."""
    value: Any = "bottom"
    for level in range(depth):
        value = [value] if level % 2 else {"in": value}
    return value


JSON: list[Any] = [
    *(None, True, False, "", "text", [], {}, [[]], [{}], {"": {}}, [None], {"a": None}, [True, 1, 1.0, "1", None]),
    *(0, 1, -1, 2**31, 2**53 + 1, 2**63 - 1, -(2**63)),
    *(0.0, 1.0, -1.5, 0.1, 1 / 3, 100.0, 1e15, 1e16, 1e22, 1e23, -1e23, 123456789012345680.0, 1e100, 2.5e-7),
    *(5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, 9007199254740993.0),
    *(
        "null",
        "true",
        "1",
        '"',
        "\\",
        "\\u0000",
        "\u2028",
        "\ufeff",
        "\x7f\x01\t\r\n",
        "é",
        "😀",
        "\U0010ffff",
        ODD,
        "x" * 100_000,
    ),
    {"b": 1, "a": {"ü": [1, {"😀": "1e+23"}]}, ODD: ODD, "1": 1, "": ""},
    [10**18, 1e18, "1e18", [1.0, [2, {"x": -0.5}]]],
    nested(63),
]
TEXTS = [
    *(
        "",
        " ",
        "  two  ",
        "tab\tnew\nline\r\n",
        "O'Brien",
        '"quoted"',
        "`back`",
        "50%",
        "%s",
        "%(x)s",
        ":name",
        "$1",
        "?",
    ),
    *(
        "{a,b}",
        "[x]",
        "\\",
        "\\n",
        "NULL",
        "null",
        "--",
        ";",
        "/* */",
        "é",
        "e\u0301",
        "ß",
        "İ",
        "😀",
        "\U0010ffff",
        "\ufeff",
    ),
    *("\x01", "\x7f", "\u2028", "عربي", ODD, "x" * 10_000),
]


def exact(value: Any) -> str:
    """A text that tells 1 from 1.0 and from true, and does not tell the order of keys."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{key!r}:{exact(item)}" for key, item in sorted(value.items())) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(exact, value)) + "]"
    return repr(value)


class ValueContract(Contract):
    """Round trips."""

    def test_json_comes_back_as_it_was(self, storage: Storage) -> None:
        """Whatever its type, down to whether a number is an int; stored many at once, one by one, or by an edit."""
        expected = [exact(value) for value in JSON]
        jobs = put_many(storage, [{"input": value, "output": [value]} for value in JSON])
        assert [exact(job.input) for job in jobs] == expected
        found = storage.find(Job)
        assert [exact(job.input) for job in found] == expected
        assert [exact(job.output) for job in found] == [f"[{text}]" for text in expected]
        assert [exact(put(storage, input=value).input) for value in JSON] == expected
        edited = [storage.edit(Job, [job.id], {"progress": value})[0] for job, value in zip(jobs, JSON, strict=True)]
        assert [exact(job.progress) for job in edited] == expected
        assert [exact(job.progress) for job in storage.find(Job, Select(limit=len(JSON)))] == expected

    def test_json_comes_back_from_settlements(self, storage: Storage) -> None:
        """One by one and many at once."""
        jobs = [processing(storage) for _ in JSON]
        ends = [
            Settlement(job.id, 1, {"processing"}, {"status": JobStatus.SUCCESSFUL, "output": value})
            for job, value in zip(jobs, JSON, strict=True)
        ]
        settled = storage.settle(ends)
        assert [exact(job.output) for job in settled if job] == [exact(value) for value in JSON]
        assert storage.find(Job) == settled
        for value in JSON:
            end = Settlement(jobs[0].id, None, {"successful"}, {"status": JobStatus.SUCCESSFUL, "output": value})
            (job,) = storage.settle([end])
            assert job is not None
            assert exact(job.output) == exact(value) == exact(job_of(storage, job.id).output)

    def test_none_is_null(self, storage: Storage) -> None:
        """SQL's null, also where the attribute is JSON, and also when it takes the place of a value."""
        names = [name for name, a in attributes(Job).items() if a.nullable and name != "deleted_at"]
        job = put(storage, **{**dict.fromkeys(names), "input": {"a": None}})
        for name in names:
            if name != "input":
                assert storage.count(Job, equal(Job, **{name: None})) == 1, name
        assert storage.count(Job, equal(Job, input=None)) == 0
        (job,) = storage.edit(Job, [job.id], {"input": None})
        assert job.input is None
        assert storage.count(Job, equal(Job, input=None)) == 1
        (settled,) = storage.settle(
            [Settlement(job.id, None, {"queued"}, {"status": JobStatus.FAILED, "output": None})]
        )
        assert settled is not None
        assert storage.count(Job, equal(Job, output=None)) == 1

    def test_what_was_handed_over_stays_the_callers(self, storage: Storage) -> None:
        """A caller who goes on changing its JSON changes no row."""
        mine: dict[str, Any] = {"list": [1], "object": {}}
        put(storage, input=mine)
        changed = put(storage)
        storage.edit(Job, [changed.id], {"output": mine})
        held = processing(storage)
        storage.settle([Settlement(held.id, 1, {"processing"}, {"status": JobStatus.FAILED, "output": mine})])
        before = copy.deepcopy(mine)
        mine["list"].append(2)
        mine["object"]["new"] = mine["more"] = 3
        assert [job.input or job.output for job in storage.find(Job)] == [before] * 3

    def test_what_is_returned_is_the_callers(self, storage: Storage) -> None:
        """Changing it changes neither the row nor what others were given."""
        job = put(storage, input={"list": [1]}, unique_id="u")
        ways = [
            job,
            storage.insert_jobs([{"type": "mail", "unique_id": "u"}])[0][0],
            job_of(storage, job.id),
            storage.find(Job)[0],
            storage.edit(Job, [job.id], {"name": "x"})[0],
            storage.move(Job, [job.id], {"queued"}, {"status": JobStatus.QUEUED})[0],
            storage.settle([Settlement(job.id, None, {"queued"}, {"status": JobStatus.QUEUED})])[0],
            claim(storage)[0],
            storage.renew([(job.id, 1)], -1.0)[0],
            storage.lost(1)[0],
        ]
        for given in ways:
            assert given is not None
            assert given.input == {"list": [1]}
            given.input["list"].append("spoilt")
            given.input["new"] = 1
        assert job_of(storage, job.id).input == {"list": [1]}

    def test_texts_come_back_as_they_were(self, storage: Storage) -> None:
        """Nothing is trimmed, folded, composed or taken for a part of a statement."""
        jobs = put_many(
            storage, [{"type": text or "-", "name": text, "tenant": text, "unique_id": text} for text in TEXTS]
        )
        assert [job.name for job in jobs] == [job.name for job in storage.find(Job)] == TEXTS
        for job, text in zip(jobs, TEXTS, strict=True):
            assert storage.find(Job, Select(equal(Job, name=text))) == [job]
            assert storage.find(Job, tenant=text) == [job]
            assert storage.insert_jobs([{"type": "t", "tenant": text, "unique_id": text}]) == [(job, False)]
            assert storage.get(Job, job.id, tenant=text) == job

    def test_types_and_tenants_of_any_text(self, storage: Storage) -> None:
        """A claim and a hold find them by code point."""
        texts = [text for text in TEXTS if text]
        put_many(storage, [{"type": text, "tenant": text} for text in texts])
        for text in texts:
            assert [job.type for job in claim(storage, [text], tenants=[text])] == [text]
            assert (
                storage.move_all(Job, equal(Job, type=text, tenant=text), {"processing"}, {"status": JobStatus.QUEUED})
                == 1
            )
        assert {job.type for job in claim(storage, texts, tenants=texts)} == set(texts)

    @pytest.mark.parametrize(
        "name", [name for name, a in attributes(Job).items() if a.kind is Kind.ID and name != "id"]
    )
    def test_ids_have_64_bits(self, storage: Storage, name: str) -> None:
        """From end to end, compared and ordered as numbers."""
        values = [-(2**63), -1, 0, 1, 2**31, 2**53 + 1, 2**63 - 1]
        jobs = put_many(storage, [{name: value} for value in reversed(values)])
        found = storage.find(Job, Select(order=((name, False),)))
        assert [getattr(job, name) for job in found] == values
        assert storage.find(Job, Select(equal(Job, **{name: 2**63 - 1}))) == jobs[:1]
        assert storage.find(Job, Select(equal(Job, **{name: (2**53 + 1, -(2**63))}))) == [jobs[1], jobs[-1]]

    def test_numbers_come_back_as_they_were(self, storage: Storage) -> None:
        """32-bit integers; floats to the last bit, and as floats also where they are whole."""
        floats = [0.0, 0.1, 1 / 3, 1e-300, 1.7976931348623157e308, 5e-324, 86400.0]
        jobs = [put(storage, timeout=value) for value in floats] + put_many(storage, [{"timeout": v} for v in floats])
        jobs += [storage.edit(Job, [job.id], {"name": "x"})[0] for job in jobs] + storage.find(Job)
        assert [repr(job.timeout) for job in jobs] == [repr(value) for value in floats] * 6
        numbers = [-(2**31), -1, 0, 2**31 - 1]
        assert [put(storage, priority=value).priority for value in numbers] == numbers

    def test_times_come_back_in_utc(self, storage: Storage) -> None:
        """Aware, to the millisecond, over the whole range a caller may give."""
        times = [
            datetime(1970, 1, 1, tzinfo=UTC),
            datetime(1999, 12, 31, 23, 59, 59, 999000, UTC),
            datetime(2024, 2, 29, 0, 0, 0, 1000, UTC),
            datetime(2030, 3, 31, 1, 30, tzinfo=UTC),
            datetime(9999, 12, 31, 23, 59, 59, 999000, UTC),
        ]
        jobs = put_many(storage, [{"start_after": moment} for moment in times])
        jobs += [put(storage, start_after=moment) for moment in times]
        jobs += storage.find(Job)
        assert [job.start_after for job in jobs] == times * 4
        assert {job.start_after.utcoffset() for job in jobs if job.start_after} == {timedelta(0)}
        east = timezone(timedelta(hours=5, minutes=45))
        job = put(storage, start_after=times[1].astimezone(east))
        assert job.start_after == times[1] == job_of(storage, job.id).start_after

    def test_the_present(self, storage: Storage) -> None:
        """Is aware UTC in whole milliseconds, and does not go back, in a transaction or out of it."""
        seen = [storage.now()]
        with storage.begin() as tx:
            seen += [tx.now(), tx.now()]
        with storage.begin(write=False) as tx:
            seen.append(tx.now())
        seen.append(storage.now())
        assert seen == sorted(seen)
        assert all(between(seen[0], moment, seen[-1]) for moment in seen)

    def test_every_time_comes_from_the_storages_clock(self, clocked: Clocked) -> None:
        """The one that was put in its place: made, changed, claimed, renewed, settled, due and lost by it."""
        storage, clock = clocked
        start = clock()
        second = timedelta(seconds=1)
        assert storage.now() == start
        job = put(storage, due_at=After(10))
        assert (job.created_at, job.updated_at, job.due_at) == (start, start, start + 10 * second)
        assert claim(storage) == []
        assert storage.promote(10) == 0
        clock.tick(9.999)
        assert claim(storage) == []
        clock.tick(0.001)
        (held,) = claim(storage, lease=5.0)
        assert held.updated_at == held.started_at == start + 10 * second
        assert held.lease_expires_at == start + 15 * second
        clock.tick(4.999)
        assert storage.lost(10) == []
        (renewed,) = storage.renew([(held.id, 1)], 5.0)
        assert renewed is not None
        assert renewed.lease_expires_at == clock() + 5 * second
        assert renewed.updated_at == held.updated_at
        clock.tick(5)
        assert storage.lost(10) == [renewed]
        ended = {"status": JobStatus.SUCCESSFUL, "ended_at": After(0)}
        (done,) = storage.settle([Settlement(held.id, 1, {"processing"}, ended, expired=True)])
        assert done is not None
        assert done.ended_at == done.updated_at == clock()
        assert storage.insert(Pipeline, [{}])[0].created_at == clock()
        clock.set(PAST)
        assert storage.now() == PAST
        assert storage.edit(Job, [job.id], {})[0].updated_at == PAST
        assert storage.move_all(Job, EVERYTHING, {"successful"}, {"status": JobStatus.SUCCESSFUL}) == 1
        assert job_of(storage, job.id).updated_at == PAST
