"""A process that writes content and is killed has written whole batches, and who does its work again comes to the same."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from gnj.content.filters import EVERYTHING
from gnj.content.model import NewEntry
from gnj.content.store import Busy, Holder, Stale
from gnj.queue.errors import NotFound
from gnj.storage.sql.content import SqlContentStore, writing
from gnj.storage.sql.content.base import environment_row
from gnj.storage.sql.storage import SqlStorage
from gnj.testing.contracts.content_support import everything

BATCHES, SIZE = 20, 50
WRITER = """
import sys
from gnj.storage.sql.storage import SqlStorage
from gnj.storage.sql.content import SqlContentStore
from tests.content.test_store_kills import work

url, org, fence = sys.argv[1:]
print("ready", flush=True)
sys.stdin.readline()
work(SqlContentStore(SqlStorage(url)), org, int(fence))
"""


def batch(number: int) -> list[NewEntry]:
    """Entries of which those of other batches, and of before, have some as well."""
    return [
        NewEntry(
            id=f"{n % 700}", site_id=f"s{n % 7}", model_id=f"m{n % 3}", status=f"{number}", content={f"f{n % 9}": n}
        )
        for n in range(number * SIZE, (number + 1) * SIZE + 20)
    ]


def work(store: SqlContentStore, org: str, fence: int) -> None:
    """All of it, from the beginning."""
    holder = Holder(5, 50, fence)
    main = store.environment(org, None)
    assert main is not None
    if main.version == 2:
        return
    store.open(org, main.id, holder)
    for number in range(BATCHES):
        store.put_entries(org, main.id, holder, batch(number))
    store.publish(org, main.id, holder)


@pytest.fixture
def store(backend: str) -> Iterator[SqlContentStore]:
    storage = SqlStorage(backend)
    storage.migrate()
    yield SqlContentStore(storage)
    storage.close()


def begun(store, org):
    """An environment that has something already."""
    store.ready(org)
    main = store.environment(org, None).id
    store.open(org, main, Holder(1, 1, 1))
    store.put_entries(org, main, Holder(1, 1, 1), batch(3)[:30])
    store.publish(org, main, Holder(1, 1, 1))
    return main


def told(store, org):
    """What there is, without the times of its making."""
    main = store.environment(org, None).id
    entries, sites, models, *_ = everything(store, org, main)
    rows = [(each.id, each.site_id, each.model_id, each.status, each.content) for each in entries]
    named = [[(each.id, each.alias) for each in found] for found in (sites, models)]
    return [rows, *named, [sorted(field["alias"] for field in each.fields) for each in models]]


@pytest.mark.slow_on("sqlite")
def test_a_killed_import_is_done_again_to_the_same_end(store, backend, org):
    plain = f"{org}-plain"
    begun(store, plain)
    work(store, plain, 1)
    main = begun(store, org)
    before = told(store, org)
    chance = random.Random(4)
    command = [sys.executable, "-c", WRITER, backend, org]
    for fence in range(1, 4):
        process = subprocess.Popen([*command, str(fence)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        with process:
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            process.stdin.write(b"\n")
            process.stdin.flush()
            time.sleep(chance.uniform(0.0, 0.4))
            process.send_signal(signal.SIGKILL)
        if store.environment(org, main).version == 1:
            assert told(store, org) == before
    work(store, org, 9)
    assert told(store, org) == told(store, plain)
    with store.begin(write=False) as rows:
        assert not rows.connection.exec_driver_sql("SELECT 1 FROM gnj_content_entry WHERE until <= since").all()


def test_an_abandon_takes_no_longer_than_it_may(store, org, monkeypatch):
    """It goes on when it is called again, by somebody else as well; readers see nothing of it."""
    main, holder = begun(store, org), Holder(5, 50, 1)
    before = everything(store, org, main)
    monkeypatch.setattr(writing, "UNDONE", 20)
    store.open(org, main, holder)
    for number in range(3):
        store.put_entries(org, main, holder, batch(number))
    assert store.abandon(org, holder, within=0.0) is False
    assert everything(store, org, main) == before
    with pytest.raises(Stale):
        store.publish(org, main, holder)
    with pytest.raises(Busy) as busy:
        store.open(org, main, Holder(6, 60, 1))
    assert [each for tenant, each in store.held(99) if tenant == org] == [busy.value.holder]
    calls = 1
    while not store.abandon(org, busy.value.holder, within=0.0):
        calls += 1
    assert calls > 1
    assert everything(store, org, main) == before
    assert store.abandon(org, holder, within=0.0) is True
    store.open(org, main, Holder(6, 60, 1))
    store.abandon(org, Holder(6, 60, 1))


def test_an_abandon_that_is_cut_short_is_brought_to_its_end(store, org, monkeypatch):
    """By whoever opens next: until then nobody goes on with a part of what was written."""
    main, holder = begun(store, org), Holder(5, 50, 1)
    before = everything(store, org, main)
    monkeypatch.setattr(writing, "UNDONE", 20)
    for opens in (holder, Holder(6, 60, 1)):
        store.open(org, main, holder)
        for number in range(3):
            store.put_entries(org, main, holder, batch(number))
        undo, turns = SqlContentStore._undo, iter((True, True, False))

        def dies(self, rows, row, undo=undo, turns=turns):
            if not next(turns):
                raise KeyboardInterrupt
            return undo(self, rows, row)

        with monkeypatch.context() as patch:
            patch.setattr(SqlContentStore, "_undo", dies)
            with pytest.raises(KeyboardInterrupt):
                store.abandon(org, holder)
        assert everything(store, org, main) == before
        for write in (
            lambda: store.put_entries(org, main, holder, batch(0)),
            lambda: store.publish(org, main, holder),
        ):
            with pytest.raises(Stale):
                write()
        if opens.job != holder.job:
            with pytest.raises(Busy) as busy:
                store.open(org, main, opens)
            store.abandon(org, busy.value.holder)
        store.open(org, main, opens)
        store.put_entries(org, main, opens, [])
        store.abandon(org, opens)
        assert everything(store, org, main) == before
        assert len(store.entries(org, main, EVERYTHING, offset=0, limit=99).items) == 30


def test_an_environment_that_is_removed_meanwhile_keeps_no_other_from_being_abandoned(store, org, monkeypatch):
    main, holder = begun(store, org), Holder(5, 50, 1)
    stage = store.reserve(org, "stage", "Stage", 4)
    store.publish(org, stage, Holder(4, 4, 1))
    for each in (main, stage):
        store.open(org, each, holder)

    def removed(base, rows, tenant, environment_id, **options):
        if environment_id == stage:
            raise NotFound
        return environment_row(base, rows, tenant, environment_id, **options)

    monkeypatch.setattr("gnj.storage.sql.content.writing.environment_row", removed)
    store.abandon(org, holder)
    store.open(org, main, Holder(6, 60, 1))
