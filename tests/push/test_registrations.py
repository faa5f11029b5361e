"""Registrations in the table: what may stand there, what takes the place of what, and who holds one."""

from __future__ import annotations

import threading
from typing import Any

import pytest

import gnj
from gnj.queue import pushing
from gnj.queue.catalog import RECORDS
from gnj.queue.errors import InvalidInput, NotFound
from gnj.queue.pushing import MOST_FAILED
from gnj.queue.storage import Select
from tests.push.conftest import registration

URL = "https://app.example/jobs"


def rows(queue):
    return {name: queue.storage.find(kind, Select(deleted=True)) for name, kind in RECORDS.items()}


def test_a_registration(everywhere, queue):
    made = queue.register(registration(URL, endpoint={"method": "put", "headers": {"X-A": "1"}}), tenant="a")
    assert (made.tenant, made.type, made.url, made.method) == ("a", "mail", URL, "PUT")
    assert (made.headers, made.timeout_ms, made.options) == ({"X-A": "1"}, 5_000, {})
    assert (made.version, made.failed, made.disabled_at, made.holder) == (1, 0, None, None)
    assert len(made.secret) == 64
    assert "secret" not in repr(made)
    assert queue.registrations("a") == queue.registrations(None) == [made]
    assert queue.registrations("b") == []


def test_what_is_left_out(queue):
    values = {
        "queue": "mail",
        "endpoint": {"url": URL, "method": "POST", "headers": None, "timeout": None},
        "opts": None,
    }
    made = queue.register({**values, "secret": None}, tenant="")
    assert (made.headers, made.timeout_ms, made.options) == (None, 3_000, {})
    options = {
        "concurrency": None,
        "limiter": None,
        "maxStalledCount": 2,
        "removeOnComplete": {"age": 3600, "count": 5},
    }
    made = queue.register({**values, "opts": {**options, "removeOnFail": 7}}, tenant="")
    assert made.options == {"maxStalledCount": 2, "removeOnComplete": {"age": 3600, "count": 5}, "removeOnFail": 7}


def test_one_takes_the_place_of_another(everywhere, queue):
    first = queue.register(registration(URL, opts={"concurrency": 3}), tenant="a")
    other = queue.register(registration(URL), tenant="b")
    assert queue.take_holds([first.id], "me", 60.0) == {first.id}
    queue.note_failures(first.id, 1, MOST_FAILED)
    assert queue.registrations("a")[0].disabled_at is not None
    second = queue.register(registration(URL + "/2"), tenant="a")
    assert (second.id, second.version, second.url, second.options) == (first.id, 2, URL + "/2", {})
    assert (second.failed, second.disabled_at, second.secret) == (0, None, first.secret)
    third = queue.register(registration(URL, secret="s" * 16), tenant="a")
    assert (third.version, third.secret) == (3, "s" * 16)
    assert queue.registrations("b") == [other]


def test_what_is_deleted_is_gone_and_can_be_made_anew(everywhere, queue):
    first = queue.register(registration(URL), tenant="")
    for tenant, name in (("other", "mail"), ("", "nail")):
        before = rows(queue)
        with pytest.raises(NotFound, match=r"^Worker not found$"):
            queue.unregister(name, tenant=tenant)
        assert rows(queue) == before
    queue.unregister("mail", tenant="")
    assert queue.registrations(None) == []
    with pytest.raises(NotFound):
        queue.unregister("mail", tenant="")
    second = queue.register(registration(URL), tenant="")
    assert second.id != first.id
    assert (second.version, second.secret != first.secret) == (1, True)


def test_many_register_the_same_queue_at_once(everywhere, queue):
    gate = threading.Barrier(8)
    errors = []

    def register(number):
        gate.wait(10)
        try:
            queue.register(registration(f"{URL}/{number}"), tenant="")
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=register, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert errors == []
    (row,) = queue.registrations("")
    assert row.version == 8


BAD: list[tuple[Any, str]] = [
    (None, "Body must be an object"),
    ([], "Body must be an object"),
    ({}, "queue is required"),
    ({"queue": "", "endpoint": {}}, "queue is required"),
    ({"queue": 5, "endpoint": {"url": URL, "method": "POST"}}, "queue must be a string, not 5"),
    ({"queue": "gnj:bulk", "endpoint": {"url": URL, "method": "POST"}}, "queue name is reserved: 'gnj:bulk'"),
    ({"queue": "hook:a", "endpoint": {"url": URL, "method": "POST"}}, "queue name is reserved: 'hook:a'"),
    ({"queue": "mail"}, "endpoint is required"),
    ({"queue": "mail", "endpoint": "x"}, "endpoint must be an object"),
    ({"queue": "mail", "endpoint": {}}, "url is required"),
    ({"queue": "mail", "endpoint": {"url": URL}}, "method is required"),
    ({**registration(URL), "extra": 1}, "Invalid field: extra"),
    (registration(URL, endpoint={"extra": 1}), "Invalid field: extra"),
    (registration(URL, opts={"extra": 1}), "Invalid field: extra"),
    (registration(URL, opts={"limiter": {"max": 1, "duration": 1, "extra": 1}}), "Unexpected field: limiter.extra"),
    (registration(URL, opts={"removeOnFail": {"extra": 1}}), "Unexpected field: opts.removeOnFail.extra"),
    (registration(5), "url must be a string, not 5"),
    (registration("x" * 2_001), "url must have at most 2,000 characters, not 2,001"),
    (registration(URL, endpoint={"method": "GET"}), "Invalid HTTP method 'GET': it must be POST, PUT, PATCH"),
    (registration(URL, endpoint={"method": 5}), "Invalid HTTP method 5: it must be POST, PUT, PATCH"),
    *[
        (
            registration(URL, endpoint={"timeout": bad}),
            f"Invalid timeout: it must be an integer from 1 to 600,000, not {bad!r}",
        )
        for bad in (0, -1, 1.5, True, "5", 600_001, 2**63 - 1)
    ],
    (registration(URL, endpoint={"headers": []}), "headers must be an object"),
    (registration(URL, endpoint={"headers": {f"x-{n}": "" for n in range(51)}}), "headers must be at most 50, not 51"),
    (registration(URL, endpoint={"headers": {"": "x"}}), "headers: '' is no name of a header"),
    (registration(URL, endpoint={"headers": {"a b": "x"}}), "headers: 'a b' is no name of a header"),
    (registration(URL, endpoint={"headers": {"a\r\nb": "x"}}), "headers: 'a\\r\\nb' is no name of a header"),
    *[
        (registration(URL, endpoint={"headers": {name: "x"}}), f"headers: {name} may not be given")
        for name in ("Host", "content-length", "Transfer-Encoding", "connection", "gnj-signature", "GNJ-anything", "TE")
    ],
    (registration(URL, endpoint={"headers": {"x": "1", "X": "2"}}), "headers: X is given twice"),
    *[
        (
            registration(URL, endpoint={"headers": {"x": bad}}),
            "headers: the value of x must be a text of at most 4,096 characters of Latin-1 without controls",
        )
        for bad in (5, None, "a\r\nhost: b", "a\nb", "\x7f", "\u0100", "x" * 4_097)
    ],
    (registration(URL, opts=[]), "opts must be an object"),
    *[
        (
            registration(URL, opts={"concurrency": bad}),
            f"Invalid concurrency: it must be an integer from 1 to 100, not {bad!r}",
        )
        for bad in (0, 101, 1.0, "1", True)
    ],
    (
        registration(URL, opts={"maxStalledCount": 0}),
        "Invalid maxStalledCount: it must be an integer from 1 to 2,147,483,647, not 0",
    ),
    (registration(URL, opts={"limiter": 5}), "limiter must be an object, not 5"),
    (registration(URL, opts={"limiter": {}}), "limiter.max is required"),
    (registration(URL, opts={"limiter": {"max": 1}}), "limiter.duration is required"),
    (
        registration(URL, opts={"limiter": {"max": 0, "duration": 1}}),
        "limiter.max must be from 1 to 100,000, not 0",
    ),
    (
        registration(URL, opts={"limiter": {"max": 1, "duration": 86_400_001}}),
        "limiter.duration must be from 1 to 86,400,000, not 86400001",
    ),
    (registration(URL, opts={"removeOnComplete": "x"}), "Invalid removeOnComplete 'x'"),
    (registration(URL, opts={"removeOnFail": {"age": -1}}), "Invalid removeOnFail age -1"),
    (registration(URL, opts={"removeOnFail": {"age": None}}), "Invalid removeOnFail age None"),
    (registration(URL, opts={"removeOnComplete": 2**53}), f"Invalid removeOnComplete {2**53}"),
    (registration(URL, secret=5), "secret must be a string, not 5"),
    (registration(URL, secret="s" * 15), "secret must have at least 16 characters"),
    (registration(URL, secret="s" * 257), "secret must have at most 256 characters, not 257"),
]


@pytest.mark.parametrize("values, told", BAD, ids=range(len(BAD)))
def test_what_cannot_be_registered(queue, values, told):
    queue.register(registration(URL), tenant="")
    before = rows(queue)
    with pytest.raises(InvalidInput) as refused:
        queue.register(values, tenant="")
    assert str(refused.value) == told
    assert rows(queue) == before


def test_one_holds_it_and_others_when_its_time_is_over(everywhere, queue):
    a = queue.register(registration(URL, "aaa"), tenant="x")
    b = queue.register(registration(URL, "bbb"), tenant="y")
    both = {a.id, b.id}
    assert queue.take_holds([], "one", 60.0) == frozenset()
    assert queue.take_holds([a.id], "one", 60.0) == {a.id}
    assert queue.take_holds(both, "two", 60.0) == {b.id}
    assert queue.take_holds([a.id, 10**6], "one", 0.05) == {a.id}
    one, two = queue.standing("one", 60.0), queue.standing("two", 60.0)
    assert {row.id for row in one.registrations} == both
    assert (one.held <= {a.id}, two.held) == (True, {b.id})
    threading.Event().wait(0.1)
    two = queue.standing("two", 60.0)
    assert (two.held, two.free) == ({b.id}, {a.id})
    assert queue.take_holds([a.id], "two", 60.0) == {a.id}
    assert queue.take_holds([a.id], "one", 60.0) == frozenset()
    queue.let_go("one")
    assert {row.holder for row in queue.registrations(None)} == {"two"}
    queue.let_go("two")
    assert {row.holder for row in queue.registrations(None)} == {None}
    queue.unregister("aaa", tenant="x")
    assert queue.take_holds(both, "one", 60.0) == {b.id}


def test_nobody_holds_it_for_longer_than_that_can_be(everywhere, queue):
    """Such as when the database's clock was put back."""
    made = queue.register(registration(URL), tenant="")
    queue.take_holds([made.id], "one", 3_600.0)
    assert queue.standing("one", 5.0).free == {made.id}
    assert queue.take_holds([made.id], "two", 5.0) == {made.id}
    assert queue.standing("two", 5.0).held == {made.id}


def test_so_many_queues_and_no_more(queue, monkeypatch):
    monkeypatch.setattr(pushing, "MOST", 2)
    queue.register(registration(URL, "aaa"), tenant="a")
    queue.register(registration(URL, "bbb"), tenant="a")
    before = rows(queue)
    with pytest.raises(InvalidInput, match=r"^at most 2 queues can have a push worker: delete another one first$"):
        queue.register(registration(URL, "ccc"), tenant="a")
    assert rows(queue) == before
    queue.register(registration(URL, "bbb"), tenant="a")
    queue.register(registration(URL, "ccc"), tenant="b")
    queue.unregister("aaa", tenant="a")
    queue.register(registration(URL, "ccc"), tenant="a")


def test_registering_anew_keeps_the_holder(queue):
    made = queue.register(registration(URL), tenant="")
    queue.take_holds([made.id], "one", 60.0)
    assert queue.register(registration(URL), tenant="").holder == "one"


def test_one_of_many_takes_it(everywhere, queue):
    made = queue.register(registration(URL), tenant="")
    gate, taken = threading.Barrier(8), []

    def take(number):
        gate.wait(10)
        if queue.take_holds([made.id], f"server {number}", 60.0):
            taken.append(number)

    threads = [threading.Thread(target=take, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(taken) == 1
    assert queue.registrations(None)[0].holder == f"server {taken[0]}"


def test_failures_are_counted_for_the_registration_that_they_are_of(everywhere, queue):
    made = queue.register(registration(URL), tenant="")
    queue.take_holds([made.id], "one", 60.0)
    queue.note_failures(made.id, 1, MOST_FAILED - 1)
    row = queue.registrations(None)[0]
    assert (row.failed, row.disabled_at, row.holder) == (MOST_FAILED - 1, None, "one")
    before = rows(queue)
    queue.note_failures(made.id, 2, 3)
    queue.note_failures(made.id + 1, 1, 3)
    assert rows(queue) == before
    queue.note_failures(made.id, 1, MOST_FAILED)
    row = queue.registrations(None)[0]
    assert (row.failed, row.disabled_at is not None, row.holder) == (MOST_FAILED, True, None)
    before = rows(queue)
    queue.note_failures(made.id, 1, 0)
    assert rows(queue) == before


def test_the_graphql_face_does_not_know_them():
    assert [name for name in gnj.GNJ("memory://").schema.type_map if "push" in name.lower()] == []
