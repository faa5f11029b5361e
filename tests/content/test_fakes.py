"""The fakes keep what the protocols say, as far as other tests lean on it."""

from __future__ import annotations

import pytest

from gnj.content.filters import EVERYTHING, Condition, EntryFilter
from gnj.content.model import NewEntry
from gnj.content.store import Busy, Delete, Holder, Stale
from gnj.queue.errors import Duplicate, InvalidInput, NotFound
from tests.content.fakes import FakeFiles, FakeStore

ONE, OTHER = Holder(1, 10, 1), Holder(2, 20, 1)


@pytest.fixture
def store():
    made = FakeStore()
    made.ready("acme")
    return made


@pytest.fixture
def main(store):
    return store.environment("acme", None).id


def entry(id, site="s1", **values):
    return NewEntry(id=id, site_id=site, model_id="article", **values)


def ids(store, main, filter=EVERYTHING):
    return {each.id for each in store.entries("acme", main, filter, offset=0, limit=100).items}


def test_what_is_written_is_seen_when_it_is_published(store, main):
    store.ready("acme")
    store.open("acme", main, ONE)
    told = store.put_entries("acme", main, ONE, [entry("a", content={"title": "A"}), entry("b"), entry("a", "s2")])
    assert told == [None, None, "the id stands in the site s1"]
    assert ids(store, main) == set()
    store.publish("acme", main, ONE)
    store.publish("acme", main, ONE)
    assert ids(store, main) == {"a", "b"}
    assert [site.alias for site in store.sites("acme")] == ["s1"]
    assert [list(model.fields) for model in store.models("acme")] == [[{"alias": "title"}]]
    assert store.environments("other") == []
    with pytest.raises(NotFound):
        store.open("other", main, ONE)


def test_there_is_one_writer(store, main):
    store.open("acme", main, ONE)
    with pytest.raises(Busy) as refused:
        store.open("acme", main, OTHER)
    assert refused.value.holder == ONE
    later = Holder(1, 10, 2)
    store.put_entries("acme", main, ONE, [entry("a")])
    store.open("acme", main, later)
    for late in (
        lambda: store.open("acme", main, ONE),
        lambda: store.put_entries("acme", main, ONE, [entry("b")]),
        lambda: store.publish("acme", main, ONE),
    ):
        with pytest.raises(Stale):
            late()
    store.abandon("acme", ONE)
    store.publish("acme", main, later)
    assert ids(store, main) == {"a"}
    store.open("acme", main, OTHER)
    store.put_entries("acme", main, OTHER, [entry("c")])
    store.abandon("acme", OTHER)
    store.open("acme", main, ONE)
    assert ids(store, main) == {"a"}


def test_a_snapshot_stays(store, main):
    store.open("acme", main, ONE)
    store.put_entries("acme", main, ONE, [entry(id, status=id.upper()) for id in "abc"])
    store.publish("acme", main, ONE)
    snapshot = store.pin("acme", main, OTHER)
    store.open("acme", main, ONE)
    gone = Delete(environment_id=main, filter=EntryFilter((Condition("Status", "In", ("A", "B")),)), entries=True)
    step = store.step("acme", ONE, gone, None)
    assert (step.done, step.over) == (2, True)
    store.publish("acme", main, ONE)
    assert ids(store, main) == {"c"}
    assert [each.id for each in store.scan("acme", snapshot, EVERYTHING, after="a", limit=1)] == ["b"]
    assert store.pin("acme", main, OTHER) == snapshot
    store.unpin("acme", OTHER)
    assert store.pin("acme", main, OTHER).version == snapshot.version + 1


def test_a_reserved_environment_is_seen_when_its_owner_publishes_it(store):
    made = store.reserve("acme", "stage", "Stage", None)
    with pytest.raises(Duplicate):
        store.reserve("acme", "stage", "Again", None)
    store.own("acme", made, 1)
    assert store.environment("acme", "stage") is None
    with pytest.raises(Stale):
        store.publish("acme", made, OTHER)
    store.publish("acme", made, ONE)
    assert store.environment("acme", "stage").id == made


def test_files_appear_whole_or_not_at_all():
    files = FakeFiles()
    backend = files.begin("acme", "k", 3, 2)
    first, second = files.part("acme", "k", backend, 1, 0, 2), files.part("acme", "k", backend, 2, 2, 1)
    first.write(b"ab")
    with pytest.raises(InvalidInput):
        first.write(b"c")
    second.write(b"c")
    etags = [first.finish(), second.finish()]
    with pytest.raises(InvalidInput):
        files.complete("acme", "k", backend, [2, 1], [etags[1], etags[1]])
    assert files.stat("acme", "k") is None
    done = files.complete("acme", "k", backend, [2, 1], [f'"{etag.upper()}"' for etag in etags])
    assert files.complete("acme", "k", backend, [2, 1], etags) == done
    assert files.open("acme", "k").read() == b"abc"
    with pytest.raises(NotFound):
        files.open("other", "k")
