"""The rows of uploads, on every storage."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from gnj.queue import uploads
from gnj.queue.errors import InvalidInput, NotFound
from gnj.queue.model_content import ContentType
from gnj.storage.sql.transaction import SqlRows

DAY = 86_400


def make(queue, upload_id="u1", tenant="acme", **changes):
    values = {
        "key": f"uploads/{upload_id}/a.zip",
        "name": "a.zip",
        "size": 10**11,
        "parts": 3,
        "backend": "b",
        "seconds": 100.0,
        "by": {"id": "me"},
    }
    return queue.create_upload(tenant, upload_id=upload_id, **values | changes)


def test_an_upload_is_found_by_its_id_by_its_tenant(on_every_storage, queue, clock):
    made = make(queue)
    assert (made.state, made.size, made.created_by) == ("open", 10**11, {"id": "me"})
    assert (made.expires_at - clock()).total_seconds() == 100
    make(queue, "u1", "other", size=5)
    make(queue, "u2")
    assert queue.upload("acme", "u1") == made
    assert made.key == "uploads/u1/a.zip"
    assert queue.upload("other", "u1").size == 5
    assert queue.upload("nobody", "u1") is None
    assert queue.upload("acme", "U1") is None
    assert queue.upload("other", "u2") is None


def test_completing_is_noted_once(on_every_storage, queue, clock):
    make(queue)
    done = queue.complete_upload("acme", "u1")
    assert done.state == "complete"
    clock.tick(1)
    assert queue.complete_upload("acme", "u1") == done
    for tenant, upload_id in (("other", "u1"), ("acme", "u2")):
        with pytest.raises(NotFound):
            queue.complete_upload(tenant, upload_id)


def test_open_ones_expire_and_are_dropped_and_complete_ones_stay(on_every_storage, queue, clock):
    late, later = make(queue, "u1", seconds=20.0), make(queue, "u2", "other", seconds=10.0)
    make(queue, "u3", seconds=1.0)
    kept = queue.complete_upload("acme", "u3")
    clock.tick(10.5)
    assert [row.id for row in queue.expired_uploads(10)] == [later.id]
    assert queue.expired_uploads(10, grace=1.0) == []
    clock.tick(60)
    assert [row.id for row in queue.expired_uploads(10, grace=1.0)] == [later.id, late.id]
    assert [row.id for row in queue.expired_uploads(1)] == [later.id]
    same = make(queue, "u4", seconds=-50.5), make(queue, "u5", seconds=-50.5)  # as late as the first one
    assert same[0].expires_at == late.expires_at
    order = [later, late, *same]
    for number, row in enumerate(order):
        assert queue.expired_uploads(1, after=row) == order[number + 1 : number + 2]
    assert [queue.drop_upload(row.id) for row in (later, later, kept)] == [True, False, False]
    assert queue.upload("other", "u2") is None
    assert queue.upload("acme", "u3") == kept


def test_so_many_may_be_open_at_once_for_each_tenant(queue, monkeypatch):
    monkeypatch.setattr(uploads, "MOST", 2)
    make(queue, "u1"), make(queue, "u2")
    with pytest.raises(InvalidInput, match="2 uploads are open already"):
        make(queue, "u3")
    assert queue.upload("acme", "u3") is None
    make(queue, "u3", "other")
    queue.complete_upload("acme", "u1")
    make(queue, "u3")


def test_so_many_bytes_may_be_there_of_each_tenant(on_every_storage, queue, clock):
    make(queue, "u1", size=60, most=100)
    queue.complete_upload("acme", "u1")
    make(queue, "u2", size=30, most=100)
    make(queue, "u3", size=5, most=100)
    with pytest.raises(InvalidInput, match="limited to 100 bytes, and 95 are there"):
        make(queue, "u4", size=6, most=100)
    assert queue.upload("acme", "u4") is None
    make(queue, "u4", size=5, most=100)
    make(queue, "u4", "other", size=100, most=100)
    clock.tick(DAY + 1)
    assert queue.prune(retention=DAY) == 1
    with pytest.raises(InvalidInput, match="100 are there"):  # it is, until it was removed
        make(queue, "u5", size=1, most=100)
    assert queue.drop_upload(queue.upload("acme", "u1").id)
    make(queue, "u5", size=60, most=100)


@pytest.mark.parametrize("storage", ["postgresql"], indirect=True)
def test_nor_of_a_tenant_that_makes_its_first_ones_all_at_once(queue, monkeypatch):
    """None of them finds another one there that it could wait for."""
    real, together = SqlRows.insert, threading.Barrier(3)

    def insert(self, kind, rows):
        together.wait(20)
        return real(self, kind, rows)

    monkeypatch.setattr(SqlRows, "insert", insert)

    def begin(number):
        try:
            return make(queue, f"u{number}", size=60, most=100).upload_id
        except InvalidInput as error:
            return str(error)

    with ThreadPoolExecutor(3) as pool:
        made = list(pool.map(begin, range(3)))
    kept = [upload_id for upload_id in ("u0", "u1", "u2") if queue.upload("acme", upload_id) is not None]
    assert len(kept) <= 1
    assert [told for told in made if told.startswith("u")] == kept
    assert all("limited to 100 bytes" in told for told in made if told not in kept)
    monkeypatch.undo()
    make(queue, "u3", size=100 - 60 * len(kept), most=100)


def test_completed_ones_are_unwanted_after_the_retention(on_every_storage, queue, clock):
    for number in range(1, 4):
        make(queue, f"u{number}", seconds=10 * DAY)
    queue.complete_upload("acme", "u1")
    clock.tick(DAY)
    queue.complete_upload("acme", "u2")
    assert queue.prune(retention=2 * DAY) == 0
    clock.tick(DAY)
    assert queue.prune(retention=None) == 0
    assert queue.unwanted_files(10) == []
    assert queue.prune(retention=2 * DAY) == 1
    (first,) = queue.unwanted_files(10)
    assert (first.upload_id, queue.upload("acme", "u1")) == ("u1", first)
    assert queue.complete_upload("acme", "u1") == first
    clock.tick(DAY)
    assert queue.prune(retention=2 * DAY) == 1
    assert [row.upload_id for row in queue.unwanted_files(10)] == ["u1", "u2"]
    assert [row.upload_id for row in queue.unwanted_files(1)] == ["u1"]
    assert [row.upload_id for row in queue.unwanted_files(10, after=first.id)] == ["u2"]
    assert [queue.drop_upload(first.id), queue.drop_upload(first.id)] == [True, False]
    assert queue.upload("acme", "u1") is None
    assert queue.upload("acme", "u3").state == "open"


def content_job(queue, type, key=None):
    return queue.create_content_job("acme", name="n", type=type, params={}, by={"id": "me"}, file_key=key)


def test_what_is_read_is_told_for_as_long_as_it_is(queue):
    row = content_job(queue, ContentType.IMPORT_ENTRIES, "k")
    assert queue.is_file_read("acme", "k")
    assert not queue.is_file_read("acme", "other")
    assert not queue.is_file_read("other", "k")
    queue.delete_content_job("acme", row.id, {"id": "me"})
    assert not queue.is_file_read("acme", "k")


def test_an_export_is_unwanted_once_its_job_goes(on_every_storage, queue, clock):
    """And of other jobs nothing is: what an import has read may be another one's."""
    export = content_job(queue, ContentType.EXPORT_ENTRIES)
    claim = queue.acquire(["gnj:content.process_entries"])
    queue.checkpoint(claim, {}, changes={"file_key": "exports/1/a.jsonl"})
    queue.succeed(claim)
    for type, key in ((ContentType.EXPORT_ENTRIES, None), (ContentType.IMPORT_ENTRIES, "exports/1/a.jsonl")):
        queue.delete_content_job("acme", content_job(queue, type, key).id, {"id": "me"})
    clock.tick(DAY)
    assert queue.prune(retention=2 * DAY) == 0
    assert queue.unwanted_files(10) == []
    clock.tick(DAY)
    queue.prune(retention=2 * DAY)
    assert queue.content_job("acme", export.id) is None
    (file,) = queue.unwanted_files(10)
    assert (file.tenant, file.key, file.name, file.size) == ("acme", "exports/1/a.jsonl", "a.jsonl", 0)
    queue.prune(retention=2 * DAY)
    assert queue.unwanted_files(10) == [file]
