"""Whatever is put, deleted, published and abandoned: readers see what a dictionary of the published says, and no more."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gnj.content.filters import EVERYTHING
from gnj.content.model import NewEntry
from gnj.content.store import Holder
from gnj.storage.sql.content import SqlContentStore
from gnj.storage.sql.content.base import environment_row
from gnj.storage.sql.content.loading import make_room
from gnj.storage.sql.content.turns import locked
from gnj.storage.sql.storage import SqlStorage
from gnj.testing.contracts.content_support import page, scanned

IDS = st.sampled_from("abcde")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.lists(st.tuples(IDS, st.integers(0, 9)), min_size=1, max_size=4)),
        st.tuples(st.just("delete"), st.lists(IDS, min_size=1, max_size=3, unique=True)),
        st.sampled_from([("publish", None), ("abandon", None), ("again", None), ("pin", None)]),
    ),
    max_size=14,
)


@pytest.fixture(scope="module")
def stores(backend: str) -> Iterator[tuple[SqlContentStore, SqlContentStore]]:
    """Who writes, and who reads over connections of its own."""
    storages = SqlStorage(backend), SqlStorage(backend)
    storages[0].migrate()
    yield SqlContentStore(storages[0]), SqlContentStore(storages[1])
    for storage in storages:
        storage.close()


def delete(store, org, main, holder, ids):
    """As a step of a delete does it."""
    with store.begin(write=True) as rows:
        at = locked(store, rows, org, main, holder)
        make_room(rows, at, store.tables.entry, store._entries(rows, at, ids))


_NUMBERS = itertools.count()


@settings(max_examples=8, deadline=None)
@given(steps=STEPS)
def test_readers_see_what_was_published(stores, steps):
    writer, reader = stores
    org = f"versions-{next(_NUMBERS)}"
    writer.ready(org)
    main = reader.environment(org, None).id
    seen: dict[str, int] = {}
    draft: Any = None
    holder: Any = None
    pinned: list[Any] = []
    jobs = 0
    for what, told in steps:
        if draft is None and what in ("put", "delete"):
            jobs += 1
            holder, draft = Holder(jobs, jobs, 1), dict(seen)
            writer.open(org, main, holder)
        if what == "put":
            writer.put_entries(org, main, holder, [entry(id, number) for id, number in told])
            draft |= dict(told)
        elif what == "delete":
            delete(writer, org, main, holder, told)
            draft = {id: number for id, number in draft.items() if id not in told}
        elif what == "again" and draft is not None:
            holder = Holder(holder.job, holder.task, holder.fence + 1)
            writer.open(org, main, holder)
        elif what == "publish" and draft is not None:
            writer.publish(org, main, holder)
            seen, draft = draft, None
        elif what == "abandon" and draft is not None:
            writer.abandon(org, holder)
            draft = None
        elif what == "pin":
            pinned.append((reader.pin(org, main, Holder(1_000 + len(pinned), 1, 1)), seen))
        assert {each.id: each.content["n"] for each in page(reader, org, main)} == seen
        assert reader.entries(org, main, EVERYTHING, offset=0, limit=1).total == len(seen)
    for snapshot, then in pinned:
        assert {each.id: each.content["n"] for each in scanned(reader, org, snapshot, limit=2)} == then
    if draft is not None:
        writer.abandon(org, holder)
    with reader.begin(write=False) as rows:
        row = environment_row(reader, rows, org, main)
        left = "SELECT count(*) FROM gnj_content_entry WHERE environment = {} AND (since > {} OR until <= since)"
        assert rows.connection.exec_driver_sql(left.format(row.id, row.version)).scalar() == 0


def entry(id, number):
    return NewEntry(id=id, site_id="s", model_id="m", content={"n": number})
