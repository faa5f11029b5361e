"""What is derived from entries follows what readers see: few changes in one step, many part after part."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

import pytest
from sqlalchemy import select, update

from gnj.content.filters import EVERYTHING
from gnj.content.model import NewEntry
from gnj.content.store import Holder, Reindex, Step
from gnj.queue.errors import NotFound
from gnj.storage.sql.content import SqlContentStore, derived
from gnj.storage.sql.schema_content import CURRENT
from gnj.storage.sql.storage import SqlStorage

ONE = Holder(1, 10, 1)


@pytest.fixture(scope="module")
def store(backend: str) -> Iterator[SqlContentStore]:
    storage = SqlStorage(backend)
    storage.migrate()
    yield SqlContentStore(storage)
    storage.close()


@pytest.fixture
def main(store, org):
    store.ready(org)
    return store.environment(org, None).id


@pytest.fixture
def small(monkeypatch):
    """Steps of three entries."""
    monkeypatch.setattr(derived, "_KINDS", {name: replace(kind, most=3) for name, kind in derived._KINDS.items()})


def entry(id, site="s1", **values):
    return NewEntry(id=id, site_id=site, model_id="m", **values)


def write(store, org, main, *entries, gone=()):
    """Puts entries and ends others, as a delete does it, in one version."""
    environment, table = store.tables.environment, store.tables.entry
    store.open(org, main, ONE)
    store.put_entries(org, main, ONE, entries)
    with store.begin(write=True) as rows:
        row = rows.run(select(environment).where(environment.c.environment_id == main)).one()
        of = (table.c.environment == row.id, table.c.until == CURRENT, table.c.entry_id.in_(list(gone)))
        rows.run(update(table).where(*of).values(until=row.version + 1))
    store.publish(org, main, ONE)


def run(store, org, main, what, times=1):
    """Does all steps, each as often; how many there were."""
    cursor = None
    for count in range(1, 1_000):
        first, *_ = [store.step(org, ONE, Reindex(environment_id=main, what=what), cursor) for _ in range(times)]
        if first.over:
            return count
        cursor = first.cursor
    raise AssertionError("it does not come to an end")


def found(store, main):
    """The derived rows of an environment."""
    environment = store.tables.environment
    with store.begin(write=False) as rows:
        id = rows.run(select(environment.c.id).where(environment.c.environment_id == main)).scalar_one()

        def all(table, *columns):
            chosen = select(*(table.c[name] for name in columns)).where(table.c.environment == id)
            return sorted(tuple(row) for row in rows.run(chosen))

        tables = store.tables
        return (
            all(tables.url, "site_id", "slug", "entry_id"),
            all(tables.tag, "tag", "entry_id"),
            [(id, sorted(body.split())) for id, body in all(tables.text, "entry_id", "body")],
        )


def expected(store, org, main):
    """What they are to be, of what readers see."""
    entries = store.entries(org, main, EVERYTHING, offset=0, limit=10_000).items
    urls = [(each.site_id, each.slug, each.id) for each in entries if each.slug]
    tags = {(label, each.id) for each in entries for label in each.labels}
    bodies = [(each.id, sorted(" ".join(texts(each.content)).split())) for each in entries]
    return sorted(urls), sorted(tags), sorted((id, body) for id, body in bodies if body)


def texts(value):
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for each in inner for text in texts(each)]


CONTENT = {"title": "One  two", "deep": [["three", {"x": "four"}], "five"], "n": 6, "no": None, "yes": True, "": "é😀"}


def test_what_is_published_is_derived(store, org, main):
    write(
        store,
        org,
        main,
        entry("a", slug="x", labels=["t", "t", "u"], content=CONTENT),
        entry("b", slug="", content={"n": 1}),
    )
    assert found(store, main) == ([], [], [])
    for what in ("urls", "tags", "entries"):
        assert run(store, org, main, what) == 1
    assert found(store, main) == expected(store, org, main)
    assert found(store, main)[2] == [("a", sorted(["One", "two", "three", "four", "five", "é😀"]))]


def test_what_is_being_written_is_not(store, org, main):
    write(store, org, main, entry("a", slug="x"))
    store.open(org, main, ONE)
    store.put_entries(org, main, ONE, [entry("a", slug="y"), entry("b", slug="z")])
    run(store, org, main, "urls")
    assert found(store, main)[0] == [("s1", "x", "a")]
    store.publish(org, main, ONE)
    run(store, org, main, "urls")
    assert found(store, main)[0] == [("s1", "y", "a"), ("s1", "z", "b")]


def test_a_text_is_cut_where_an_index_has_its_end(store, org, main):
    words = " ".join(f"{n:08x}" for n in range(40_000))
    write(store, org, main, entry("a", content={"x": words}))
    run(store, org, main, "entries")
    with store.begin(write=False) as rows:
        bodies = rows.run(select(store.tables.text.c.body).where(store.tables.text.c.entry_id == "a")).scalars()
        assert words[: derived.LONGEST_TEXT] in list(bodies)


@pytest.mark.parametrize("seed", range(3))
def test_it_follows_whatever_is_changed(store, org, main, small, seed):
    chance = random.Random(seed)
    other = f"{org}-other"
    store.ready(other)
    apart = store.environment(other, None).id
    write(store, other, apart, *(entry(id, slug="s", labels=["t"], content={"x": "y"}) for id in "abcdefgh"))
    run(store, other, apart, "urls")
    before = found(store, apart)
    for _ in range(12):
        ids = chance.sample("abcdefghij", chance.randint(0, 10))
        gone = chance.sample("abcdefghij", chance.randint(0, 5))
        made = [
            entry(
                id,
                slug=chance.choice([None, "x", f"slug-{id}"]),
                labels=chance.sample(["t", "u", "v"], chance.randint(0, 3)),
                content=chance.choice([{}, CONTENT, {"x": id}]),
            )
            for id in ids
        ]
        write(store, org, main, *made, gone=set(gone) - set(ids))
        if chance.random() < 0.6:
            for what in ("urls", "tags", "entries"):
                run(store, org, main, what, times=2)
            assert found(store, main) == expected(store, org, main)
    assert found(store, apart) == before


def test_many_changes_are_dealt_with_part_after_part(store, org, main, small):
    write(store, org, main, *(entry(f"{n:02}", slug=f"{n}") for n in range(10)))
    first = store.step(org, ONE, Reindex(environment_id=main, what="urls"), None)
    assert (first.over, first.done, first.total) == (False, 3, 10)
    assert len(found(store, main)[0]) == 3
    write(store, org, main, entry("00", slug="changed"))
    cursor = first.cursor
    done = first.done
    while not (step := store.step(org, ONE, Reindex(environment_id=main, what="urls"), cursor)).over:
        cursor = step.cursor
        done += step.done
    assert done + step.done >= 10
    assert run(store, org, main, "urls") == 1
    assert found(store, main) == expected(store, org, main)
    assert run(store, org, main, "urls") == 1


def test_all_of_it_is_told_as_one_whole(store, org, main, small):
    """Urls, tags and texts: not one third, and then beyond it. What is purged is no part of it."""
    for _ in range(2):
        write(store, org, main, *(entry(f"e{n}", slug=f"s{n}", labels=("t",)) for n in range(7)))
        steps: list[Step] = []
        cursor = None
        while not steps or not steps[-1].over:
            steps.append(store.step(org, ONE, Reindex(environment_id=main, what="general"), cursor))
            cursor = steps[-1].cursor
        (total,) = {step.total or 0 for step in steps}
        assert 21 <= sum(step.done for step in steps) <= total


def test_what_is_published_meanwhile_is_purged_when_it_was_seen(store, org, main):
    write(store, org, main, entry("a", slug="x", labels=["t"], content={"x": "y"}), entry("b", slug="x"))
    run(store, org, main, "general")
    write(store, org, main, gone=["a"])
    general = Reindex(environment_id=main, what="general")
    cursor = store.step(org, ONE, general, None).cursor
    write(store, org, main, gone=["b"])  # after the URLs were looked at
    while not (step := store.step(org, ONE, general, cursor)).over:
        cursor = step.cursor
    assert found(store, main)[0] == [("s1", "x", "b")]
    run(store, org, main, "general")
    assert found(store, main) == ([], [], [])
    table, environment = store.tables.entry, store.tables.environment
    own = select(environment.c.id).where(environment.c.environment_id == main).scalar_subquery()
    with store.begin(write=False) as rows:
        assert rows.run(select(table.c.id).where(table.c.environment == own)).all() == []


def test_environments_whose_derived_rows_are_older_are_told(store, org, main):
    def behind(**after):
        return [environment for tenant, environment in store.behind(10_000, **after) if tenant == org]

    other = store.reserve(org, "other", "Other", 1)
    write(store, org, main, entry("a"))
    assert behind() == [main]
    store.publish(org, other, ONE)
    first, second = sorted([main, other])
    assert behind() == [first, second]
    assert behind(after=first) == [second]
    for what in ("urls", "tags", "entries"):
        assert main in behind()
        run(store, org, main, what)
    assert behind() == [other]
    run(store, org, other, "general")
    assert behind() == []
    assert store.behind(0) == []


def test_an_environment_that_is_gone_is_not_found(store, org, main):
    with pytest.raises(NotFound):
        store.step(org, ONE, Reindex(environment_id="env_none", what="urls"), None)
    with pytest.raises(NotFound):
        store.step(f"{org}-other", ONE, Reindex(environment_id=main, what="urls"), None)
