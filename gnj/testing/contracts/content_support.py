"""What the parts of the contract of content stores share."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from gnj.content.filters import EVERYTHING, Condition, EntryFilter
from gnj.content.model import Asset, Entry, NewEntry, Snapshot
from gnj.content.store import ContentStore, Holder

ONE, OTHER = Holder(1, 10, 1), Holder(2, 20, 1)
MOST_STEPS = 500
"""Of an operation in the contract, in pieces of one row: who needs more does not end."""
THEN = datetime(2021, 2, 3, 4, 5, 6, 789000, UTC)
ODD = """O'Brien "50%" _ \\ ; -- :x %s {} [a-z] * ? # \t\n é😀"""
"""A text that holds whatever means something to somebody."""
VALUES: Sequence[Any] = [
    None,
    True,
    1,
    1.0,
    -0.5,
    2**63 - 1,
    1e300,
    "",
    ODD,
    [],
    {},
    [[{"a": [None]}]],
    {"b": {"": 1}, "a": 2},
]


def entry(id: str, site: str = "s1", model: str = "article", **values: Any) -> NewEntry:
    """A new entry."""
    return NewEntry(id=id, site_id=site, model_id=model, **values)


def asset(path: str, site: str = "s1", **values: Any) -> Asset:
    """An asset."""
    given = {"id": f"a-{path}", "name": path.rpartition("/")[2], "size": 3, "media_type": "text/plain", **values}
    return Asset(site_id=site, path=path, **{"sha256": "0" * 64, "key": f"assets/{path}", "created_at": THEN, **given})


class ContentContract:
    """A part of the contract. Each test has an organisation of its own."""

    @pytest.fixture
    def tenant(self, store: ContentStore) -> str:
        """An organisation that has its default environment."""
        tenant = f"org-{secrets.token_hex(6)}"
        store.ready(tenant)
        return tenant

    @pytest.fixture
    def main(self, store: ContentStore, tenant: str) -> str:
        """The id of the default environment."""
        found = store.environment(tenant, None)
        assert found is not None
        return found.id


def ids(store: ContentStore, tenant: str, environment_id: str, *conditions: Condition) -> list[str]:
    """The ids of all entries that meet the conditions, in order."""
    return [each.id for each in page(store, tenant, environment_id, *conditions)]


def page(store: ContentStore, tenant: str, environment_id: str, *conditions: Condition) -> list[Entry]:
    """The entries that meet the conditions, by id."""
    found = store.entries(tenant, environment_id, EntryFilter(conditions), offset=0, limit=1_000)
    assert len(found.items) == found.total
    return sorted(found.items, key=lambda each: each.id)


def one(store: ContentStore, tenant: str, environment_id: str, *conditions: Condition) -> Entry:
    """The only one."""
    (found,) = page(store, tenant, environment_id, *conditions)
    return found


def everything(store: ContentStore, tenant: str, environment_id: str) -> list[Any]:
    """All that readers see of an environment."""
    assets = store.assets(tenant, environment_id, site_id=None, offset=0, limit=1_000)
    environment = store.environment(tenant, environment_id)
    seen = store.sites(tenant, environment_id), store.models(tenant, environment_id), assets, environment
    return [page(store, tenant, environment_id), *seen]


def scanned(store: ContentStore, tenant: str, snapshot: Snapshot, limit: int = 100) -> list[Entry]:
    """All of a snapshot."""
    found: list[Entry] = []
    while True:
        after = found[-1].id if found else None
        part = store.scan(tenant, snapshot, EVERYTHING, after=after, limit=limit)
        found += part
        if not part:
            return found


def meets(value: Any, condition: Condition) -> bool:
    """Whether a value meets a condition, by what `Condition` says."""
    op, given = condition.op, condition.value
    if op == "Exists":
        return (value is not None) is given
    if value is None:
        return op in ("Ne", "NotIn")
    tests: dict[str, Callable[[], bool]] = {
        "Eq": lambda: value == given,
        "Ne": lambda: value != given,
        "In": lambda: value in given,
        "NotIn": lambda: value not in given,
        "StartsWith": lambda: value.startswith(given),
        "Contains": lambda: given in value,
        "Gt": lambda: value > given,
        "Gte": lambda: value >= given,
        "Lt": lambda: value < given,
        "Lte": lambda: value <= given,
    }
    return tests[op]()


def of_key(key: str, texts: Sequence[Any]) -> list[str]:
    """The ids of entries that have `texts` for a key."""
    return list(texts) if key == "Id" else [f"{n:02}" for n in range(len(texts))]


def having(key: str, text: Any, number: int) -> NewEntry:
    """An entry with a text for a key."""
    given: dict[str, Any] = {"id": f"{number:02}", "site_id": "s1", "model_id": "m1"}
    name = {"Id": "id", "SiteId": "site_id", "ModelId": "model_id", "Status": "status", "Slug": "slug"}[key]
    return NewEntry(**{**given, name: text})


def written(
    store: ContentStore, tenant: str, environment_id: str, entries: Sequence[NewEntry], assets: Sequence[Asset] = ()
) -> None:
    """Writes entries and assets, and publishes them."""
    store.open(tenant, environment_id, ONE)
    assert set(store.put_entries(tenant, environment_id, ONE, entries)) == {None}
    assert set(store.put_assets(tenant, environment_id, ONE, assets)) <= {None}
    store.publish(tenant, environment_id, ONE)


def made(store: ContentStore, tenant: str, alias: str) -> str:
    """A further environment."""
    made = store.reserve(tenant, alias, alias, ONE.job)
    store.publish(tenant, made, ONE)
    return made


def reads(store: ContentStore, tenant: str, environment_id: str) -> list[Callable[[], object]]:
    """Reads of an environment."""
    return [
        lambda: store.entries(tenant, environment_id, EVERYTHING, offset=0, limit=1),
        lambda: store.assets(tenant, environment_id, site_id=None, offset=0, limit=1),
        lambda: store.pin(tenant, environment_id, OTHER),
        lambda: store.scan(tenant, Snapshot(environment_id, 0), EVERYTHING, after=None, limit=1),
    ]


def writes(store: ContentStore, tenant: str, environment_id: str, holder: Holder) -> list[Callable[[], object]]:
    """Writes to an environment, the first of which opens it."""
    return [
        lambda: store.open(tenant, environment_id, holder),
        lambda: store.put_entries(tenant, environment_id, holder, [entry("never")]),
        lambda: store.put_assets(tenant, environment_id, holder, [asset("never")]),
        lambda: store.publish(tenant, environment_id, holder),
    ]


def at_once(calls: Sequence[Callable[[], object]]) -> None:
    """Makes all calls in threads of their own; none may fail."""
    start = threading.Barrier(len(calls))
    failed: list[BaseException] = []

    def run(call: Callable[[], object]) -> None:
        start.wait(30)
        try:
            call()
        except BaseException as error:  # noqa: BLE001 - told by the test's own thread
            failed.append(error)

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failed, failed
