"""Imports of assets: what is stored, what is refused and why, and what kills, cancellations and other tries leave."""

from __future__ import annotations

import hashlib
import io
import random
import zipfile

import pytest

from gnj.content import assets
from gnj.content.handlers import WORK
from gnj.content.local_files import LocalFiles
from gnj.content.task import Task, handled
from gnj.queue import works
from gnj.queue.errors import CancelRequested, LeaseLost, Snooze, StorageUnavailable
from gnj.queue.model_content import ContentStatus, ContentType, TaskType
from gnj.settings_content import ContentLimits
from tests.content.tasks import CALM, application, log, make, now, work

PROCESS = TaskType.PROCESS_ASSETS.job_type
BIG = random.Random(1).randbytes(100_000)


@pytest.fixture
def jobs():
    with application(content_limits=ContentLimits(member=100_000)) as made:
        yield made


def zipped(files, method=zipfile.ZIP_DEFLATED):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as zip:
        for name, data in files:
            zip.writestr(name, data)
    return stream.getvalue()


def imported(jobs, data, key="uploads/1/assets.zip", tenant="acme"):
    sink = jobs.content.files.create(tenant, key)
    sink.write(data)
    sink.finish()
    return make(jobs, ContentType.IMPORT_ASSETS, key=key, tenant=tenant)


def stored(jobs, tenant="acme"):
    store = jobs.content.store
    environment = store.environment(tenant, None)
    if environment is None:
        return {}
    page = store.assets(tenant, environment.id, site_id=None, offset=0, limit=1_000)
    return {(asset.site_id, asset.path): asset for asset in page.items}


def bytes_of(jobs, asset, tenant="acme"):
    with jobs.content.files.open(tenant, asset.key) as file:
        return file.read()


def test_what_macos_puts_into_zips_is_no_asset(jobs):
    junk = ["__MACOSX/s1/._a.txt", "__MACOSX/._s1", ".DS_Store", "s1/.DS_Store", "s1/b/.DS_Store"]
    kept = [("s1/a.txt", b"one"), ("s1/__MACOSX/b.txt", b"two"), ("s1/x.DS_Store", b"")]
    row = imported(jobs, zipped([(name, b"junk") for name in junk] + kept + [("__MACOSX/last", b"")]))
    (done,) = work(jobs, [PROCESS])
    assert done.output == {"imported": 3, "refused": 0}
    assert set(stored(jobs)) == {tuple(name.split("/", 1)) for name, _ in kept}
    left = "is of macOS and no asset: files of that kind are left out"
    assert log(jobs, row) == [
        ("INFORMATION", f"__MACOSX/ {left}"),
        ("INFORMATION", f".DS_Store {left}"),
        ("INFORMATION", "3 assets were imported, 0 refused"),
    ]


def test_each_file_becomes_an_asset_of_the_site_that_its_folder_names(jobs):
    files = [("s1/", b""), ("s1/a.txt", b"one"), ("s1/img/ż.png", BIG), ("s2/a.txt", b"two"), ("s2/x.tar.gz", b"")]
    row = imported(jobs, zipped(files))
    (done,) = work(jobs, [PROCESS])
    assert done.output == {"imported": 4, "refused": 0}
    assert done.progress["percent"] == 100.0
    assert log(jobs, row) == [("INFORMATION", "4 assets were imported, 0 refused")]
    environment = jobs.content.store.environment("acme", None).id
    assert now(jobs, row).result == {"imported": 4, "refused": 0, "environments": [environment]}
    found = stored(jobs)
    assert {key: bytes_of(jobs, asset) for key, asset in found.items()} == {
        ("s1", "a.txt"): b"one",
        ("s1", "img/ż.png"): BIG,
        ("s2", "a.txt"): b"two",
        ("s2", "x.tar.gz"): b"",
    }
    image = found["s1", "img/ż.png"]
    digest = hashlib.sha256(BIG).hexdigest()
    assert (image.name, image.size, image.media_type) == ("ż.png", 100_000, "image/png")
    assert (image.sha256, image.key) == (digest, f"assets/{digest}-{works.mark(row)[:16]}")
    assert found["s1", "a.txt"].media_type == "text/plain"
    assert found["s2", "x.tar.gz"].media_type == "application/octet-stream"
    assert len({asset.id for asset in found.values()}) == 4


def test_what_cannot_be_stored_is_an_error_and_stops_no_other(jobs):
    files = [
        ("s1/a.txt", b"a"),
        ("../s1/b.txt", b"b"),
        ("top.txt", b"c"),
        ("s1/large", BIG + b"x"),
        ("s1/bomb", bytes(90_000)),
        ("s1/broken", b"broken"),
        ("x" * 201 + "/a", b"d"),
        ("s1/z.txt", b"z"),
    ]
    data = zipped(files, zipfile.ZIP_STORED).replace(b"broken", b"br\x00ken", 3)
    row = imported(jobs, data)
    (done,) = work(jobs, [PROCESS])
    assert done.output == {"imported": 3, "refused": 5}
    assert sorted(path for _, path in stored(jobs)) == ["a.txt", "bomb", "z.txt"]
    told = [message for level, message in log(jobs, row) if level == "ERROR"]
    assert [each.partition(":")[0] for each in told] == [
        "file 2, ../s1/b.txt",
        "file 3, top.txt",
        "file 4, s1/large",
        "file 6, s1/br\ufffdken",
        f"file 7, {'x' * 200}",
    ]
    assert "first folder is the site" in told[1]
    assert "100,001 bytes, and 100,000 is the most" in told[2]


def test_a_bomb_is_an_error(jobs):
    row = imported(jobs, zipped([("s1/bomb", bytes(90_000)), ("s1/a", b"a")]))
    (done,) = work(jobs, [PROCESS])
    assert done.output == {"imported": 1, "refused": 1}
    assert "200 times larger" in log(jobs, row)[0][1]


def test_of_one_path_the_last_file_wins(jobs):
    with pytest.warns(UserWarning, match="Duplicate name"):
        data = zipped([("s1/a", b"first"), ("s1/b", b"b"), ("s1/a", b"last")])
    imported(jobs, data)
    work(jobs, [PROCESS])
    assert {path: bytes_of(jobs, asset) for (_, path), asset in stored(jobs).items()} == {"a": b"last", "b": b"b"}


@pytest.mark.parametrize("data", [b"", b"[]", zipped([("s1/a", b"x")])[:-5]])
def test_what_is_no_zip_fails_the_task_and_leaves_nothing(jobs, data):
    row = imported(jobs, data)
    work(jobs, [PROCESS])
    assert now(jobs, row).status is ContentStatus.FAILED
    assert log(jobs, row) == [("ERROR", "the file is no zip, or its end is missing")]
    assert stored(jobs) == {}


def test_a_zip_in_which_all_is_bad_completes_and_touches_nothing(jobs):
    row = imported(jobs, zipped([("a", b"x"), ("../b", b"y")]))
    (done,) = work(jobs, [PROCESS])
    assert done.output == {"imported": 0, "refused": 2}
    assert now(jobs, row).result == {"imported": 0, "refused": 2, "environments": []}
    assert jobs.content.store.environment("acme", None).version == 0


def test_a_large_file_is_not_kept_in_memory(jobs, monkeypatch):
    monkeypatch.setattr(assets, "_SMALL", 1_000)
    imported(jobs, zipped([("s1/small", b"s"), ("s1/big", BIG), ("s2/same", BIG)], zipfile.ZIP_STORED))
    work(jobs, [PROCESS])
    found = stored(jobs)
    assert bytes_of(jobs, found["s1", "big"]) == BIG
    assert found["s1", "big"].key == found["s2", "same"].key


def test_what_is_there_is_not_stored_again(jobs, monkeypatch):
    data = zipped([(f"s1/{n}", f"{n % 3}".encode()) for n in range(9)])
    created = []
    create = type(jobs.content.files).create

    def counted(files, tenant, key):
        created.append(key)
        return create(files, tenant, key)

    imported(jobs, data)
    monkeypatch.setattr(type(jobs.content.files), "create", counted)
    work(jobs, [PROCESS])
    assert len(created) == len(set(created)) == 3
    first = stored(jobs)
    imported(jobs, data, key="uploads/2/again.zip")
    created.clear()
    work(jobs, [PROCESS])
    assert created == []
    assert stored(jobs).keys() == first.keys()
    assert {asset.id for asset in stored(jobs).values()} == {asset.id for asset in first.values()}


@pytest.mark.parametrize("at", range(1, 9))
def test_a_kill_at_any_checkpoint_and_another_try_come_to_one_import(jobs, monkeypatch, at):
    """Nothing is stored or logged twice, whichever checkpoint was the last."""
    monkeypatch.setattr("gnj.content.task.EVERY", 0.0)
    monkeypatch.setattr(assets, "_BATCH", 2)
    files = [(f"s1/{n}" if n % 4 else f"{n}", str(n).encode()) for n in range(12)]
    row = imported(jobs, zipped(files))
    left = [at]
    checkpoint = Task.checkpoint

    def killing(task, *args, **options):
        checkpoint(task, *args, **options)
        left[0] -= 1
        if left[0] == 0:
            raise LeaseLost

    with monkeypatch.context() as patch:
        patch.setattr(Task, "checkpoint", killing)
        job = jobs.queue.acquire([PROCESS], worker_id="w")
        with pytest.raises(LeaseLost):
            handled(jobs.content, WORK[TaskType.PROCESS_ASSETS])(job, CALM)
    again = jobs.queue.content_tasks("acme", [row.id])[row.id][0]
    handled(jobs.content, WORK[TaskType.PROCESS_ASSETS])(again, CALM)
    assert sorted(path for _, path in stored(jobs)) == sorted(str(n) for n in range(12) if n % 4)
    told = [message for level, message in log(jobs, row) if level == "ERROR"]
    assert [each.partition(",")[0] for each in told] == ["file 1", "file 5", "file 9"]


def test_cancelled_nothing_of_it_is_seen(jobs, monkeypatch):
    monkeypatch.setattr("gnj.content.task.EVERY", 0.0)
    monkeypatch.setattr(assets, "_BATCH", 1)
    row = imported(jobs, zipped([(f"s1/{n}", b"x") for n in range(5)]))
    job = jobs.queue.acquire([PROCESS], worker_id="w")
    put = type(jobs.content.store).put_assets

    def cancelling(store, *args):
        found = put(store, *args)
        jobs.queue.delete_content_job("acme", row.id, None)
        return found

    monkeypatch.setattr(type(jobs.content.store), "put_assets", cancelling)
    with pytest.raises(CancelRequested):
        handled(jobs.content, WORK[TaskType.PROCESS_ASSETS])(job, CALM)
    assert stored(jobs) == {}
    assert jobs.content.store.environment("acme", None).version == 0


def test_files_in_a_directory(tmp_path):
    with application(files=LocalFiles(tmp_path)) as jobs:
        imported(jobs, zipped([("s1/a", BIG), ("s1/b", b"b")]))
        work(jobs, [PROCESS])
        assert bytes_of(jobs, stored(jobs)["s1", "a"]) == BIG


def test_files_that_cannot_be_stored_now_are_tried_again(jobs, monkeypatch):
    row = imported(jobs, zipped([(f"s1/{n}", f"{n}".encode()) for n in range(5)]))
    job = jobs.queue.acquire([PROCESS], worker_id="w")
    create, left = type(jobs.content.files).create, [3]

    def failing(files, tenant, key):
        left[0] -= 1
        if left[0] == 0:
            raise StorageUnavailable
        return create(files, tenant, key)

    monkeypatch.setattr(type(jobs.content.files), "create", failing)
    with pytest.raises(Snooze):
        handled(jobs.content, WORK[TaskType.PROCESS_ASSETS])(job, CALM)
    assert stored(jobs) == {}
    again = jobs.queue.content_tasks("acme", [row.id])[row.id][0]
    assert handled(jobs.content, WORK[TaskType.PROCESS_ASSETS])(again, CALM) == {"imported": 5, "refused": 0}
    assert sorted(bytes_of(jobs, asset) for asset in stored(jobs).values()) == [b"0", b"1", b"2", b"3", b"4"]
