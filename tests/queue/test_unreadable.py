"""Rows that somebody wrote by hand: what is no JSON is parked, and never stops the queue (P9)."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from gnj.queue.model import Job, JobAttempt, NewJob
from gnj.queue.service import Queue
from gnj.queue.values import Unreadable, load_json
from gnj.storage.sql import SqlStorage

BAD = ["", "{", "{'a': 1}", "NaN", "[Infinity]", "[" * 5000]


@pytest.mark.parametrize("stored", BAD)
def test_what_is_no_json_is_told_apart(stored):
    value = load_json(stored)
    assert isinstance(value, Unreadable)
    assert value == stored


@pytest.mark.backend("sqlite")
@pytest.mark.parametrize("column", ["input", "output", "processing_info", "backoff"])
@pytest.mark.parametrize("stored", ["{", "NaN"])
def test_p9_a_row_that_cannot_be_read_is_failed_and_the_others_are_handed_out(sqlite_database, column, stored):
    storage = SqlStorage(sqlite_database())
    storage.migrate()
    queue = Queue(storage)
    jobs = queue.enqueue_many([NewJob("mail", {"n": n}, max_attempts=3) for n in range(4)])
    with storage.engine.begin() as connection:
        connection.execute(text(f"UPDATE gnj_job SET {column} = :bad WHERE id IN (1, 3)"), {"bad": stored})
    assert queue.list(Job)  # a list shows what is there
    first = queue.acquire(["mail"])
    assert first is not None
    assert [first.id, *(job.id for job in queue.acquire(["mail"], 10))] == [2, 4]
    for id in (1, 3):
        job = queue.get(Job, jobs[id - 1].id)
        assert job is not None
        assert (job.status, job.failures) == ("failed", 1)
        attribute = {"processing_info": "progress"}.get(column, column)
        assert job.output == {"error": f"UNREADABLE: what is stored as the {attribute} of the job is not JSON"}
    assert [attempt.job_id for attempt in queue.list(JobAttempt)] == [1, 3]
    storage.close()
