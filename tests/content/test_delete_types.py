"""What `createDeleteJob` takes away, from the request to the end: for each of DeleteContentTaskTypes that, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gnj import GNJ, background_content
from gnj.queue.model import Job
from gnj.queue.model_content import ContentStatus
from gnj.storage.sql.content import SqlContentStore
from tests.content.conftest import Ask
from tests.content.operating import Desk, asset, entry

pytestmark = pytest.mark.parametrize("client", ["asgi"], indirect=True)
DELETE = """mutation($input: CreateDeleteJobInput!) { createDeleteJob(createJobInput: $input) { id type } }"""


@pytest.fixture(autouse=True)
def _unswept(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the fixture below writes is of no content job, and so would be taken back."""
    monkeypatch.setattr(background_content.ContentSweep, "tick", lambda _: None)


@pytest.fixture
def desk(jobs: GNJ, org: str) -> Desk:
    """Two sites with an entry, which has a label, and an asset each."""
    store = jobs.content.store
    assert isinstance(store, SqlContentStore)
    desk = Desk(store, org)
    entries = [entry(f"e-{site}", site, body="b", labels=["x"]) for site in ("s1", "s2")]
    desk.write(desk.main, entries, [asset("a.txt", site) for site in ("s1", "s2")])
    return desk


def seen(desk: Desk) -> tuple[list[str], list[str], dict[str, list[str]], dict[str, list[str]]]:
    """The entries and the sites of the assets; labels and fields of each entry."""
    entries = desk.entries(desk.main)
    return (
        sorted(entries),
        [site for site, _ in desk.assets(desk.main)],
        {id: sorted(each.labels) for id, each in entries.items()},
        {id: sorted(each.content) for id, each in entries.items()},
    )


BOTH, SITES = ["e-s1", "e-s2"], ["s1", "s2"]
LABELS = {"e-s1": ["x"], "e-s2": ["x"]}
FIELDS = {"e-s1": ["body", "title"], "e-s2": ["body", "title"]}
REST = {"e-s2": ["x"]}, {"e-s2": ["body", "title"]}


@pytest.mark.parametrize(
    "input, left",
    [
        ({}, (["e-s2"], ["s2"], *REST)),
        ({"deleteContentTaskTypes": None}, (["e-s2"], ["s2"], *REST)),
        ({"deleteContentTaskTypes": ["DELETE_ENTRIES"]}, (["e-s2"], SITES, *REST)),
        ({"deleteContentTaskTypes": ["DELETE_ASSETS"]}, (BOTH, ["s2"], LABELS, FIELDS)),
        ({"deleteContentTaskTypes": ["DELETE_TAGS"]}, (BOTH, SITES, {**LABELS, "e-s1": []}, FIELDS)),
        ({"deleteContentTaskTypes": ["DELETE_TAGS", "DELETE_ASSETS"]}, (BOTH, ["s2"], {**LABELS, "e-s1": []}, FIELDS)),
        (
            {"isDeleteFieldJob": True, "model": "article", "fieldAlias": "body"},
            (BOTH, SITES, LABELS, {**FIELDS, "e-s1": ["title"]}),
        ),
    ],
)
def test_what_is_asked_for_goes_and_nothing_else(
    jobs: GNJ, org: str, ask: Ask, work: Callable[[], list[Job]], desk: Desk, input: dict[str, Any], left: Any
) -> None:
    assert seen(desk) == (BOTH, SITES, LABELS, FIELDS)
    made = ask(DELETE, {"input": {"jobName": "d", "siteId": "s1", **input}}).data["createDeleteJob"]
    assert made["type"] == ("DELETE_FIELD" if "fieldAlias" in input else "DELETE_CONTENT")
    work()
    row = jobs.queue.content_job(org, int(made["id"]))
    assert row is not None
    assert row.status is ContentStatus.COMPLETED
    assert seen(desk) == left
