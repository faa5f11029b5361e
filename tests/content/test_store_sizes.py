"""Pages of the SQL store end by bytes as well: an entry may be as large as thousands of others."""

from __future__ import annotations

import pytest

from gnj.content.filters import EVERYTHING, Condition, EntryFilter
from gnj.content.store import CloneSite, Delete, DeleteField, Reindex, SyncEnvironment
from gnj.queue.errors import InvalidInput
from gnj.storage.sql.content import SqlContentStore, derived, sizes
from tests.content.operating import Desk, entry

LARGE = "é" * 1_000


@pytest.fixture
def desk(store: SqlContentStore, org: str, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """Six small entries, then four large ones, of which two fit on a page."""
    monkeypatch.setattr(sizes, "PAGE_BYTES", 5_000)
    desk = Desk(store, org)
    small = [entry(f"a{n}", model="small", x=n) for n in range(6)]
    large = [entry(f"b{n}", model="large", body=LARGE, x=n) for n in range(4)]
    desk.write(desk.main, [*small, *large])
    return desk


def pages(desk: Desk, limit: int = 100) -> list[list[str]]:
    snapshot = desk.store.pin(desk.tenant, desk.main, desk.holder())
    found: list[list[str]] = []
    while page := desk.store.scan(
        desk.tenant, snapshot, EVERYTHING, after=found[-1][-1] if found else None, limit=limit
    ):
        found.append([each.id for each in page])
    return found


def test_a_scan_tells_what_fits(desk: Desk) -> None:
    assert pages(desk) == [[*(f"a{n}" for n in range(6)), "b0", "b1"], ["b2", "b3"]]
    assert [len(page) for page in pages(desk, 4)] == [4, 4, 2]


def test_one_that_does_not_fit_is_told_by_itself(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizes, "PAGE_BYTES", 100)
    assert pages(desk)[-4:] == [["b0"], ["b1"], ["b2"], ["b3"]]


def test_entries_that_do_not_fit_are_not_read(desk: Desk) -> None:
    large = EntryFilter((Condition("ModelId", "Eq", "large"),))
    with pytest.raises(InvalidInput, match="these 4 entries have more than 5,000 bytes together"):
        desk.store.entries(desk.tenant, desk.main, large, offset=0, limit=20)
    assert len(desk.store.entries(desk.tenant, desk.main, large, offset=0, limit=2).items) == 2
    found = desk.store.entries(desk.tenant, desk.main, large, offset=0, limit=0)
    assert (list(found.items), found.total) == ([], 4)


def by_pages(desk: Desk, steps: list[object]) -> list[int]:
    """How many rows each step was about, but for those that were about none."""
    return [done for step in steps if (done := step.done)]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "operation, expected",
    [
        ({"entries": True}, [8, 2]),
        ({"entries": True, "model": "large"}, [2, 2]),
        ({"labels": True, "site_id": "s1"}, []),
    ],
)
def test_a_delete_goes_by_pages_that_fit(desk: Desk, operation: dict[str, object], expected: list[int]) -> None:
    steps = desk.change(desk.main, Delete(environment_id=desk.main, **operation), twice=True)  # type: ignore[arg-type]
    assert by_pages(desk, [*steps]) == expected
    assert len(steps) >= 3


def test_so_does_what_takes_a_field_away(desk: Desk) -> None:
    steps = desk.change(desk.main, DeleteField(environment_id=desk.main, model="large", field="x"), twice=True)
    assert by_pages(desk, [*steps]) == [2, 2]


def test_so_do_copies_and_what_makes_equal(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    made = desk.copy(desk.main, "copy", twice=True)
    desk.write(desk.main, [entry("b1", model="large", body=LARGE, x="other")])
    steps = desk.change(made, SyncEnvironment(base=desk.main, target=made), twice=True)
    assert by_pages(desk, [*steps]) == [8, 2]
    monkeypatch.undo()
    assert desk.shape(made) == desk.shape(desk.main)


@pytest.mark.parametrize("pages", [1, 8])
def test_so_does_what_is_derived(desk: Desk, monkeypatch: pytest.MonkeyPatch, pages: int) -> None:
    monkeypatch.setattr(derived, "_PAGES", pages)
    steps = desk.run(Reindex(environment_id=desk.main, what="entries"), desk.holder())
    assert by_pages(desk, [*steps]) == ([8, 2] if pages == 1 else [10])
    assert len(desk.stored(desk.main)["gnj_content_text"]) == 10


def test_so_does_a_clone(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    new = CloneSite(site_id="s1", new_id=f"{desk.tenant}-s2", alias="s2", name="S", logo="")
    assert by_pages(desk, [*desk.change(desk.main, new, twice=True)]) == [8, 2]
    monkeypatch.undo()
    assert len(desk.ids(desk.main)) == 20
