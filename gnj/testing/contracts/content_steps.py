"""Long operations: what they come to, however often their steps are done, and by whom."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import TypeVar

import pytest

from gnj.content.filters import EVERYTHING, Condition, EntryFilter
from gnj.content.store import (
    CloneSite,
    ContentStore,
    CopyEnvironment,
    Delete,
    DeleteField,
    DropEnvironment,
    Holder,
    Operation,
    Reindex,
    Stale,
    SyncEnvironment,
)
from gnj.queue.errors import Conflict, Duplicate, InvalidInput, NotFound, StorageUnavailable
from gnj.testing.contracts.content_operations import CLONE, OPERATIONS, SORTS, WRITING, Begun, Scene
from gnj.testing.contracts.content_support import (
    MOST_STEPS,
    ONE,
    OTHER,
    ContentContract,
    asset,
    at_once,
    entry,
    written,
)

T = TypeVar("T")
LATER = replace(ONE, fence=2)
WEEK = timedelta(days=7)
each_sort = pytest.mark.parametrize("kind", SORTS)


def scene(store: ContentStore) -> Scene:
    """A scene of its own."""
    return Scene(store, f"org-{secrets.token_hex(6)}")


def retried(call: Callable[[], T]) -> T:
    """What a call comes to that may be refused while another one is at it."""
    for _ in range(1_000):
        try:
            return call()
        except (Conflict, StorageUnavailable):
            continue
    raise AssertionError("it is refused each time")


def worked(at: Scene, begun: Begun, holder: Holder, *, may_be_stale: bool = False) -> None:
    """Does an operation to its end, as somebody who does not know of others."""
    cursor = None
    try:
        retried(lambda: at.begin(begun, holder))
        for _ in range(MOST_STEPS):
            step = retried(partial(at.store.step, at.tenant, holder, begun.operation, cursor))
            if step.over:
                return
            cursor = step.cursor
        raise AssertionError("the operation does not end")
    except Stale:
        assert may_be_stale


class ContentSteps(ContentContract):
    """`ContentStore.step`."""

    @pytest.fixture
    def pieces(self) -> Callable[[int], None]:
        """Has the store deal with so many rows in a step, more or less. A subclass overrides it, if its store can be told:
        otherwise it is tested with whole operations, in which no interruption can be.
        """
        return lambda _: None

    @pytest.mark.parametrize("kind", OPERATIONS)
    def test_each_step_can_be_done_twice(self, store: ContentStore, pieces: Callable[[int], None], kind: str) -> None:
        """The second time comes to the same, and tells the same; nothing is seen of either."""
        pieces(1)
        at = scene(store)
        begun = OPERATIONS[kind](at)
        at.begin(begun, ONE)
        for cursor, step in at.steps(begun.operation, ONE):
            again = store.step(at.tenant, ONE, begun.operation, cursor)
            assert step.done >= 0
            if begun.publishes:
                assert again == step
        at.end(begun, ONE)

    @each_sort
    def test_a_later_try_goes_on_wherever_an_earlier_one_was_killed(
        self, store: ContentStore, pieces: Callable[[int], None], kind: str
    ) -> None:
        """Each step is done by a try that is killed before it notes it, and again by the next one, which has its cursor."""
        pieces(2)
        at = scene(store)
        begun = OPERATIONS[kind](at)
        holder, cursor = ONE, None
        for fence in range(2, MOST_STEPS):
            at.begin(begun, holder)
            lost = store.step(at.tenant, holder, begun.operation, cursor)
            killed, holder = holder, replace(ONE, fence=fence)
            at.begin(begun, holder)
            if begun.opens:
                with pytest.raises(Stale):
                    store.step(at.tenant, killed, begun.operation, cursor)
            step = store.step(at.tenant, holder, begun.operation, cursor)
            assert step == lost or not begun.publishes
            if step.over:
                break
            cursor = step.cursor
        at.end(begun, holder)

    @pytest.mark.parametrize("kind", WRITING)
    def test_what_was_begun_can_be_taken_back(
        self, store: ContentStore, pieces: Callable[[int], None], kind: str
    ) -> None:
        """Then another job does it as if nothing had been."""
        pieces(3)
        at = scene(store)
        begun = OPERATIONS[kind](at)
        at.begin(begun, ONE)
        for number, _ in enumerate(at.steps(begun.operation, ONE)):
            if number == 2:
                break
        store.abandon(at.tenant, ONE)
        store.unpin(at.tenant, ONE)
        assert at.shape(begun.target) == begun.seen
        with pytest.raises(Stale):
            store.step(at.tenant, ONE, begun.operation, None)
        at.begin(begun, OTHER)
        for _ in at.steps(begun.operation, OTHER):
            pass
        at.end(begun, OTHER)

    @each_sort
    def test_two_may_be_at_it_at_once(self, store: ContentStore, pieces: Callable[[int], None], kind: str) -> None:
        """A try that was given up and does not know it, and the one that follows; and two who take themselves for one."""
        for second in (ONE, LATER) if kind in WRITING else (ONE,):
            pieces(3)
            at = scene(store)
            begun = OPERATIONS[kind](at)
            at.begin(begun, ONE)

            calls = [partial(worked, at, begun, ONE, may_be_stale=second is LATER), partial(worked, at, begun, second)]
            at_once(calls)
            at.end(begun, second)

    def test_only_the_writer_does_what_needs_one(self, store: ContentStore) -> None:
        """And only the owner fills what is being made, until it can be seen."""
        at = scene(store)
        for prepare in OPERATIONS.values():
            begun = prepare(at)
            for holder in [OTHER] * begun.publishes + [ONE] * begun.opens:
                with pytest.raises(Stale):
                    store.step(at.tenant, holder, begun.operation, None)
            if begun.publishes and not begun.opens:
                for _ in at.steps(begun.operation, ONE):
                    pass
                at.end(begun, ONE)
                with pytest.raises(Stale):
                    store.step(at.tenant, ONE, begun.operation, None)
                assert at.shape(begun.target) == begun.wanted

    def test_operations_of_another_organisation_find_nothing(self, store: ContentStore) -> None:
        """And change nothing. To drop what is not there is over at once."""
        at, other = scene(store), scene(store)
        for kind, prepare in OPERATIONS.items():
            begun = prepare(at)
            at.begin(begun, ONE)
            seen = at.shape(begun.target)
            if kind == "drop":
                assert store.step(other.tenant, ONE, begun.operation, None).over
            else:
                # the sites of both have the same ids
                with pytest.raises(Stale if kind == "clone" else NotFound):
                    store.step(other.tenant, ONE, begun.operation, None)
            assert at.shape(begun.target) == seen
            store.abandon(at.tenant, ONE)
        assert other.shape(other.main) == other.before

    @pytest.mark.parametrize(
        "given", [{"site_id": "none"}, {"model": "none"}, {"site_id": "none", "labels": True, "entries": False}]
    )
    def test_a_delete_of_what_is_not_there_deletes_nothing(self, store: ContentStore, given: dict[str, object]) -> None:
        """And warns."""
        at = scene(store)
        operation = Delete(**{"environment_id": at.main, "entries": True, "assets": True, **given})  # type: ignore[arg-type]
        assert self.warned(at, operation)
        assert at.shape(at.main) == at.before

    @pytest.mark.parametrize("given", [{"model": "none"}, {"model": "article", "site_id": "none"}])
    def test_so_does_one_of_a_field(self, store: ContentStore, given: dict[str, str]) -> None:
        """Of a model or a site that is not there."""
        at = scene(store)
        assert self.warned(at, DeleteField(environment_id=at.main, field="extra", **given))
        assert at.shape(at.main) == at.before

    def test_a_copy_is_of_what_there_was_when_it_began(
        self, store: ContentStore, pieces: Callable[[int], None]
    ) -> None:
        """So is a sync, whatever becomes of the base meanwhile."""
        for kind in ("copy", "sync"):
            pieces(2)
            at = scene(store)
            begun = OPERATIONS[kind](at)
            at.begin(begun, ONE)
            for number, _ in enumerate(at.steps(begun.operation, ONE)):
                if number not in (0, 2):
                    continue
                store.open(at.tenant, at.main, OTHER)
                store.put_entries(at.tenant, at.main, OTHER, [entry(f"new-{number}", "s1"), entry("s1-0", "s1")])
                store.put_assets(at.tenant, at.main, OTHER, [asset("x", "s1", size=number)])
                store.publish(at.tenant, at.main, OTHER)
                pieces(100)
                for _ in at.steps(Reindex(environment_id=at.main, what="general"), OTHER):
                    pass  # whatever a store removes then, what is pinned stays
                pieces(2)
            at.end(begun, ONE)

    def test_a_sync_keeps_what_the_target_is_called_and_its_sites_are(self, store: ContentStore) -> None:
        """Sites correspond by their aliases."""
        at = scene(store)
        begun = OPERATIONS["sync"](at)
        before = store.environment(at.tenant, begun.target)
        assert before is not None
        at.begin(begun, ONE)
        for _ in at.steps(begun.operation, ONE):
            pass
        at.end(begun, ONE)
        assert store.environment(at.tenant, begun.target) == replace(before, version=before.version + 1)
        sites = {each.alias: each.id for each in store.sites(at.tenant, begun.target)}
        assert sites["blog"] == "mine"
        assert sites["shop"] != "s2"
        assert store.site(at.tenant, "gone") is None

    def test_a_copy_is_told_among_what_was_not_made_until_it_is_published(self, store: ContentStore) -> None:
        """Its sites are in it from then on, under new ids."""
        at = scene(store)
        begun = OPERATIONS["copy"](at)
        for _ in at.steps(begun.operation, ONE):
            pass
        for _ in at.steps(Reindex(environment_id=begun.target, what="general"), ONE):
            pass
        assert list(store.sites(at.tenant, begun.target)) == []
        at.end(begun, ONE)
        assert (at.tenant, begun.target) not in list(store.behind(10_000))
        for each in store.sites(at.tenant, begun.target):
            assert each.id not in ("s1", "s2")
            assert store.site(at.tenant, each.id) == each

    def test_the_first_step_of_a_drop_hides_the_environment(
        self, store: ContentStore, pieces: Callable[[int], None]
    ) -> None:
        """Its alias is free, its writer is out, and it is told until nothing is left to do."""
        pieces(1)
        at = scene(store)
        begun = OPERATIONS["drop"](at)
        step = store.step(at.tenant, ONE, begun.operation, None)
        assert at.shape(begun.target) is None
        assert [each.alias for each in store.environments(at.tenant)] == ["main"]
        with pytest.raises((Stale, NotFound)):
            store.put_entries(at.tenant, begun.target, OTHER, [entry("late")])
        with pytest.raises((Stale, NotFound)):
            store.publish(at.tenant, begun.target, OTHER)
        told = [each[1] for each in store.unmade(-WEEK, 10_000) if each[0] == at.tenant]
        assert told == ([] if step.over else [begun.target])
        store.reserve(at.tenant, "stage", "Stage", None)
        for _ in at.steps(begun.operation, ONE, step.cursor):
            pass
        assert store.step(at.tenant, ONE, begun.operation, None).over
        assert begun.target not in [each[1] for each in store.unmade(-WEEK, 10_000)]
        # and so are its sites
        written(store, at.tenant, at.main, [entry("again", "gone")])

    def test_what_is_being_made_can_be_dropped(self, store: ContentStore, pieces: Callable[[int], None]) -> None:
        """Whoever fills it is told."""
        pieces(2)
        at = scene(store)
        begun = OPERATIONS["copy"](at)
        steps = at.steps(begun.operation, ONE)
        next(steps)
        for _ in at.steps(DropEnvironment(environment_id=begun.target), OTHER):
            pass
        with pytest.raises((Stale, NotFound)):
            store.step(at.tenant, ONE, begun.operation, None)
        store.unpin(at.tenant, ONE)
        assert at.shape(at.main) == at.before

    def test_the_default_environment_is_not_dropped(self, store: ContentStore) -> None:
        """`InvalidInput`."""
        at = scene(store)
        with pytest.raises(InvalidInput):
            store.step(at.tenant, ONE, DropEnvironment(environment_id=at.main), None)
        assert at.shape(at.main) == at.before

    def test_a_clone_needs_an_alias_and_an_id_that_are_free(self, store: ContentStore) -> None:
        """And its base."""
        at = scene(store)
        store.open(at.tenant, at.main, ONE)
        clone = CloneSite(site_id="s1", new_id="new", alias=CLONE, name="", logo="")
        for given, error in (
            ({"alias": "shop"}, Duplicate),
            ({"new_id": "s2"}, Duplicate),
            ({"site_id": "no"}, NotFound),
        ):
            with pytest.raises(error):
                store.step(at.tenant, ONE, replace(clone, **given), None)
        store.publish(at.tenant, at.main, ONE)
        assert at.shape(at.main) == at.before

    def test_what_an_operation_is_about_has_to_be_there(self, store: ContentStore) -> None:
        """`NotFound` for environments that are not."""
        at = scene(store)
        store.open(at.tenant, at.main, ONE)
        made = store.reserve(at.tenant, "copy", "Copy", ONE.job)
        none = "env_none"
        operations: list[Operation] = [
            Delete(environment_id=none, entries=True, filter=EntryFilter((Condition("Id", "Eq", "a"),))),
            Delete(environment_id=none, entries=True, filter=EVERYTHING),
            DeleteField(environment_id=none, model="article", field="title"),
            CopyEnvironment(base=none, environment_id=made),
            CopyEnvironment(base=made, environment_id=made),
            CopyEnvironment(base=at.main, environment_id=none),
            SyncEnvironment(base=none, target=at.main),
            SyncEnvironment(base=made, target=at.main),
            SyncEnvironment(base=at.main, target=none),
            Reindex(environment_id=none, what="urls"),
        ]
        for operation in operations:
            with pytest.raises(NotFound):
                store.step(at.tenant, ONE, operation, None)
        with pytest.raises(Stale):  # what can be seen is synced, not copied into
            store.step(at.tenant, ONE, CopyEnvironment(base=at.main, environment_id=at.main), None)
        store.abandon(at.tenant, ONE)
        assert at.shape(at.main) == at.before

    def warned(self, at: Scene, operation: Operation) -> bool:
        """Whether an operation that is done and published has warned."""
        at.store.open(at.tenant, at.main, ONE)
        notes = [note for _, step in at.steps(operation, ONE) for note in step.notes]
        at.store.publish(at.tenant, at.main, ONE)
        return any(note.level == "WARNING" for note in notes)
