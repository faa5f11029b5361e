"""Environments, who writes to them, and what stays as it was."""

from __future__ import annotations

import secrets
from datetime import timedelta

import pytest

from gnj.content.filters import EVERYTHING, Condition
from gnj.content.model import Snapshot
from gnj.content.store import Busy, ContentStore, Holder, Reindex, Stale
from gnj.queue.errors import Duplicate, NotFound
from gnj.testing.contracts.content_support import (
    MOST_STEPS,
    ONE,
    OTHER,
    ContentContract,
    asset,
    at_once,
    entry,
    everything,
    ids,
    made,
    one,
    reads,
    scanned,
    writes,
    written,
)


class ContentEnvironments(ContentContract):
    """Environments."""

    def test_an_organisation_has_a_default_environment_once_it_is_ready(self, store: ContentStore) -> None:
        """And has not another one when it is made ready again."""
        tenant = f"org-{secrets.token_hex(6)}"
        assert list(store.environments(tenant)) == []
        assert store.environment(tenant, None) is None
        store.ready(tenant)
        (found,) = store.environments(tenant)
        assert (found.alias, found.is_default) == ("main", True)
        store.ready(tenant)
        assert list(store.environments(tenant)) == [found]

    def test_it_gets_one_only_whoever_asks_at_once(self, store: ContentStore) -> None:
        """Four threads make it ready."""
        tenant = f"org-{secrets.token_hex(6)}"
        at_once([lambda: store.ready(tenant)] * 4)
        assert len(store.environments(tenant)) == 1

    def test_environments_are_found_by_id_and_by_alias(self, store: ContentStore, tenant: str, main: str) -> None:
        """None: the default one."""
        found = store.environment(tenant, main)
        assert found is not None
        assert store.environment(tenant, "main") == found == store.environment(tenant, None)
        assert store.environment(tenant, "other") is None

    def test_a_reserved_one_is_seen_when_its_owner_publishes_it(
        self, store: ContentStore, tenant: str, main: str
    ) -> None:
        """Until then it is not there, and nobody else can."""
        made = store.reserve(tenant, "stage", "Stage", None)
        assert [each.id for each in store.environments(tenant)] == [main]
        assert store.environment(tenant, made) is None
        for read in reads(store, tenant, made):
            with pytest.raises(NotFound):
                read()
        with pytest.raises(Stale):
            store.publish(tenant, made, ONE)
        store.own(tenant, made, ONE.job)
        store.own(tenant, made, ONE.job)
        with pytest.raises(Stale):
            store.own(tenant, made, OTHER.job)
        with pytest.raises(Stale):
            store.publish(tenant, made, OTHER)
        store.publish(tenant, made, ONE)
        store.publish(tenant, made, ONE)
        found = store.environment(tenant, "stage")
        assert found is not None
        assert (found.id, found.name, found.is_default) == (made, "Stage", False)
        assert [each.id for each in store.environments(tenant)] == [main, made]

    def test_an_alias_is_taken_once_in_an_organisation(self, store: ContentStore, tenant: str) -> None:
        """Also by what is only reserved."""
        store.reserve(tenant, "stage", "Stage", 5)
        for alias in ("stage", "main"):
            with pytest.raises(Duplicate):
                store.reserve(tenant, alias, "Again", None)
        other = f"{tenant}-other"
        store.ready(other)
        store.reserve(other, "stage", "Stage", None)

    def test_what_was_not_made_in_time_is_told(self, store: ContentStore, tenant: str) -> None:
        """With its owner, until it is published."""
        made = store.reserve(tenant, "stage", "Stage", 7)
        assert (tenant, made, 7) in store.unmade(timedelta(seconds=-1), 1_000)
        assert (tenant, made, 7) not in store.unmade(timedelta(minutes=1), 1_000)
        assert len(store.unmade(timedelta(seconds=-1), 1)) == 1
        other = store.reserve(tenant, "stage-2", "Stage", None)
        first, second = sorted([made, other])
        assert second in [each[1] for each in store.unmade(timedelta(seconds=-1), 1_000, after=first)]
        assert first not in [each[1] for each in store.unmade(timedelta(seconds=-1), 1_000, after=first)]
        store.publish(tenant, made, Holder(7, 1, 1))
        assert (tenant, made, 7) not in store.unmade(timedelta(seconds=-1), 1_000)


class ContentTurns(ContentContract):
    """Writers and their turns."""

    def test_there_is_one_writer(self, store: ContentStore, tenant: str, main: str) -> None:
        """Others are told who it is, and can do nothing."""
        store.open(tenant, main, ONE)
        store.open(tenant, main, ONE)
        with pytest.raises(Busy) as refused:
            store.open(tenant, main, OTHER)
        assert refused.value.holder == ONE
        for call in writes(store, tenant, main, OTHER)[1:]:
            with pytest.raises(Stale):
                call()
        store.abandon(tenant, OTHER)
        store.put_entries(tenant, main, ONE, [entry("a")])
        store.publish(tenant, main, ONE)
        store.open(tenant, main, OTHER)

    def test_nobody_writes_without_having_opened(self, store: ContentStore, tenant: str, main: str) -> None:
        """To publish or abandon nothing changes nothing."""
        for write in writes(store, tenant, main, ONE)[1:3]:
            with pytest.raises(Stale):
                write()
        store.publish(tenant, main, ONE)
        store.abandon(tenant, ONE)
        found = store.environment(tenant, main)
        assert found is not None
        assert found.version == 0

    @pytest.mark.parametrize("later", [Holder(1, 10, 2), Holder(1, 11, 1)], ids=["try", "task"])
    def test_a_later_holder_of_the_job_takes_over(
        self, store: ContentStore, tenant: str, main: str, later: Holder
    ) -> None:
        """With what was written; the earlier one is out."""
        store.open(tenant, main, ONE)
        store.put_entries(tenant, main, ONE, [entry("a")])
        store.open(tenant, main, later)
        for call in writes(store, tenant, main, ONE):
            with pytest.raises(Stale):
                call()
        store.abandon(tenant, ONE)
        store.put_entries(tenant, main, later, [entry("b")])
        store.publish(tenant, main, later)
        assert ids(store, tenant, main) == ["a", "b"]

    def test_what_is_abandoned_was_never_there(self, store: ContentStore, tenant: str, main: str) -> None:
        """Entries, assets, sites, models and their fields."""
        written(store, tenant, main, [entry("a", status="old", content={"x": 1}), entry("b", "s2")], [asset("x")])
        before = everything(store, tenant, main)
        store.open(tenant, main, ONE)
        store.put_entries(tenant, main, ONE, [entry("a", status="new", content={"y": 1}), entry("c", "s3", "other")])
        store.put_assets(tenant, main, ONE, [asset("x", size=9), asset("y", "s4")])
        assert everything(store, tenant, main) == before
        store.abandon(tenant, Holder(1, 12, 5))
        store.abandon(tenant, ONE)
        assert everything(store, tenant, main) == before
        with pytest.raises(Stale):
            store.put_entries(tenant, main, ONE, [entry("c")])
        store.open(tenant, main, OTHER)
        store.put_entries(tenant, main, OTHER, [entry("d")])
        store.publish(tenant, main, OTHER)
        assert ids(store, tenant, main) == ["a", "b", "d"]
        assert one(store, tenant, main, Condition("Id", "Eq", "a")).content == {"x": 1}
        assert [each["alias"] for each in store.models(tenant)[0].fields] == ["x"]

    def test_to_abandon_may_take_several_calls(self, store: ContentStore, tenant: str, main: str) -> None:
        """Each does as much as it has time for, and something; the last one says that it was all."""
        store.open(tenant, main, ONE)
        store.put_entries(tenant, main, ONE, [entry(f"e{number}") for number in range(5)])
        while not store.abandon(tenant, ONE, within=0.0):
            assert store.entries(tenant, main, EVERYTHING, offset=0, limit=1).total == 0
        store.open(tenant, main, OTHER)
        assert store.abandon(tenant, OTHER)

    def test_a_job_abandons_all_that_it_has_open(self, store: ContentStore, tenant: str, main: str) -> None:
        """In every environment."""
        other = made(store, tenant, "stage")
        for number, each in enumerate((main, other)):
            store.open(tenant, each, ONE)
            store.put_entries(tenant, each, ONE, [entry("a", f"s{number}")])
        store.abandon(tenant, ONE)
        for each in (main, other):
            store.open(tenant, each, OTHER)
            store.publish(tenant, each, OTHER)
            assert ids(store, tenant, each) == []

    def test_several_are_published_together_or_none_is(self, store: ContentStore, tenant: str, main: str) -> None:
        """Where somebody else writes to one of them, or it is not there, none is."""
        other, busy = (made(store, tenant, alias) for alias in ("stage", "busy"))
        for number, each in enumerate((main, other)):
            store.open(tenant, each, ONE)
            store.put_entries(tenant, each, ONE, [entry("a", f"s{number}")])
        store.open(tenant, busy, OTHER)
        for wrong, error in ((busy, Stale), ("nowhere", NotFound)):
            with pytest.raises(error):
                store.publish(tenant, main, ONE, also=[other, wrong])
            assert [ids(store, tenant, each) for each in (main, other)] == [[], []]
        for _ in range(2):
            store.publish(tenant, main, ONE, also=[other])
            assert [ids(store, tenant, each) for each in (main, other)] == [["a"], ["a"]]

    def test_jobs_that_write_or_have_pinned_are_told(self, store: ContentStore, tenant: str, main: str) -> None:
        """Until they publish, abandon or let go; the holder that is told may take back all of it."""

        def told(after: int = 0) -> list[Holder]:
            found: list[tuple[str, Holder]] = []
            while part := store.held(100, after=found[-1][1].job if found else after):
                found += part
            assert [each.job for _, each in found] == sorted(each.job for _, each in found)
            return [each for owner, each in found if owner == tenant]

        other = made(store, tenant, "stage")
        number = 10**12 + secrets.randbelow(10**9)  # of this test alone: other ones' tenants have open environments too
        one, later = Holder(number, 7, 3), Holder(number, 8, 1)
        store.open(tenant, main, one)
        store.put_entries(tenant, main, one, [entry("a")])
        store.open(tenant, other, later)
        store.pin(tenant, main, Holder(number + 1, 9, 1))
        writer, reader = told()
        assert (writer.job, writer.task) == (number, 8)
        assert reader.job == number + 1
        assert [each.job for each in told(number)] == [number + 1]
        store.abandon(tenant, writer)
        for each in (main, other):
            store.open(tenant, each, OTHER)
            store.abandon(tenant, OTHER)
        store.unpin(tenant, reader)
        assert told() == []

    def test_what_is_derived_is_not_behind_once_it_was_brought_up_to_date(
        self, store: ContentStore, tenant: str, main: str
    ) -> None:
        """By its tenant and its id."""
        written(store, tenant, main, [entry("a")])
        cursor = None
        for _ in range(MOST_STEPS):
            step = store.step(tenant, ONE, Reindex(environment_id=main, what="general"), cursor)
            if step.over:
                break
            cursor = step.cursor
        assert all(each[0] != tenant for each in store.behind(10_000))

    def test_of_several_who_open_at_once_one_is_let_in(self, store: ContentStore, tenant: str, main: str) -> None:
        """Four threads open."""
        let: list[int] = []

        def open(job: int) -> None:
            try:
                store.open(tenant, main, Holder(job, job, 1))
            except Busy:
                return
            let.append(job)

        at_once([lambda job=job: open(job) for job in range(1, 5)])  # type: ignore[misc]
        assert len(let) == 1


class ContentSnapshots(ContentContract):
    """Pins and scans."""

    def test_a_snapshot_stays_as_it_was(self, store: ContentStore, tenant: str, main: str) -> None:
        """For the job that pinned it, until it lets go."""
        written(store, tenant, main, [entry(id, status="old") for id in "abcd"])
        snapshot = store.pin(tenant, main, OTHER)
        for status in ("new", "newer"):
            written(store, tenant, main, [entry(id, status=status) for id in "abx"])
        assert store.pin(tenant, main, Holder(OTHER.job, 99, 9)) == snapshot
        found = [*scanned(store, tenant, snapshot, limit=2)]
        assert [(each.id, each.status) for each in found] == [(id, "old") for id in "abcd"]
        assert [each.id for each in store.scan(tenant, snapshot, EVERYTHING, after="b", limit=1)] == ["c"]
        store.unpin(tenant, ONE)
        assert store.pin(tenant, main, OTHER) == snapshot
        store.unpin(tenant, OTHER)
        store.unpin(tenant, OTHER)
        assert store.pin(tenant, main, OTHER) == Snapshot(main, snapshot.version + 2)

    def test_a_scan_does_not_see_what_is_being_written(self, store: ContentStore, tenant: str, main: str) -> None:
        """Nor what was published since."""
        written(store, tenant, main, [entry("a", status="old")])
        store.open(tenant, main, ONE)
        store.put_entries(tenant, main, ONE, [entry("a", status="new"), entry("b")])
        snapshot = store.pin(tenant, main, OTHER)
        assert [each.status for each in scanned(store, tenant, snapshot)] == ["old"]
        store.publish(tenant, main, ONE)
        assert [each.status for each in scanned(store, tenant, snapshot)] == ["old"]

    def test_ids_are_ordered_by_code_point(self, store: ContentStore, tenant: str, main: str) -> None:
        """As a scan goes through them."""
        names = ["10", "9", "A", "B", "a", "a b", "a-b", "ab", "é", "￿", "😀"]
        written(store, tenant, main, [entry(id) for id in reversed(names)])
        found = scanned(store, tenant, store.pin(tenant, main, OTHER), limit=3)
        assert [each.id for each in found] == sorted(names)
