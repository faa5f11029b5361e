"""A process that is killed in the middle of an operation leaves a step that can be done again, and the result of one run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gnj.content.store import CloneSite, CopyEnvironment, Delete, Holder, Operation, SyncEnvironment
from gnj.storage.sql.content import SqlContentStore, cloning, copying, deleting, syncing
from tests.content.operating import Desk, asset, entry

PAGE = 40
_WORKER = """
import json, sys
from gnj.content.store import *
from gnj.storage.sql.content import SqlContentStore, cloning, copying, deleting, syncing
from gnj.storage.sql.storage import SqlStorage

url, tenant, job, fence, operation, arguments, cursor, page = sys.argv[1:]
for module in (cloning, copying, deleting, syncing):
    module.PAGE = int(page)
store = SqlContentStore(SqlStorage(url))
holder, cursor, over = Holder(int(job), int(job), int(fence)), json.loads(cursor), False
done = globals()[operation](**json.loads(arguments))
while not over:
    step = store.step(tenant, holder, done, cursor)
    cursor, over = step.cursor, step.over
    print(json.dumps([cursor, over]), flush=True)
"""


def filled(store: SqlContentStore, tenant: str) -> Desk:
    desk = Desk(store, tenant)
    entries = [entry(f"e{n:03}", f"s{n % 2}", of=[f"s{n % 2}", f"e{n - 2:03}"]) for n in range(200)]
    desk.write(desk.main, entries, [asset(f"{n}", f"s{n % 2}") for n in range(100)])
    return desk


def killed_once(
    url: str, desk: Desk, holder: Holder, operation: Operation, arguments: dict[str, str], after: int
) -> Any:
    """The cursor that was noted last, of a process that was killed while it was at a later step."""
    command = [url, desk.tenant, str(holder.job), str(holder.fence), type(operation).__name__, json.dumps(arguments)]
    noted, over = None, False
    with subprocess.Popen(
        [sys.executable, "-c", _WORKER, *command, "null", str(PAGE)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    ) as process:
        assert process.stdout is not None
        for _ in range(after):
            noted, over = json.loads(process.stdout.readline())
            assert not over, "too few steps to be killed between"
        process.kill()
    return noted


@pytest.mark.parametrize("after", [1, pytest.param(4, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "kind", ["copy", *(pytest.param(k, marks=pytest.mark.slow) for k in ("sync", "delete", "clone"))]
)
def test_what_a_killed_process_has_begun_ends_as_if_it_had_not_been_killed(
    store: SqlContentStore, backend: str, org: str, kind: str, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (cloning, copying, deleting, syncing):
        monkeypatch.setattr(module, "PAGE", PAGE)
    shapes = []
    for killed in (True, False):
        desk = filled(store, f"{org}-{killed}")
        holder = desk.holder()
        target, arguments = desk.main, {}
        operation: Operation
        if kind == "copy":
            target = store.reserve(desk.tenant, "copy", "Copy", holder.job)
            arguments = {"base": desk.main, "environment_id": target}
            operation = CopyEnvironment(**arguments)
        elif kind == "sync":
            target = desk.copy(desk.main, "copy")
            changed = [entry(f"e{n:03}", f"s{n % 2}", of=[f"s{n % 2}", n]) for n in range(0, 220, 3)]
            desk.write(desk.main, changed)
            arguments = {"base": desk.main, "target": target}
            operation = SyncEnvironment(**arguments)
        elif kind == "delete":
            operation = Delete(environment_id=desk.main, entries=True, assets=True)
            arguments = {"environment_id": desk.main, "entries": True, "assets": True}  # type: ignore[dict-item]
        else:
            site = {"site_id": "s1", "new_id": "the clone", "alias": "new", "name": "New", "logo": ""}
            arguments, operation = site, CloneSite(**site)
        if kind != "copy":
            store.open(desk.tenant, target, holder)
        before = None if kind == "copy" else desk.shape(target)
        cursor = None
        if killed:
            cursor = killed_once(backend, desk, holder, operation, arguments, after)
            holder = Holder(holder.job, holder.task, holder.fence + 1)
            if kind != "copy":
                assert desk.shape(target) == before
                store.open(desk.tenant, target, holder)
        step = store.step(desk.tenant, holder, operation, cursor)
        while not step.over:
            step = store.step(desk.tenant, holder, operation, step.cursor)
        store.publish(desk.tenant, target, holder)
        shapes.append((desk.shape(target), step.notes, step.cursor["total"]))
    assert shapes[0] == shapes[1]
