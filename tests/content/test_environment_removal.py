"""The removal of an environment looks for recurring syncs once more before it begins."""

from __future__ import annotations

import pytest

from gnj.content.recurring import RecurringJobs
from gnj.content.store import DropEnvironment
from gnj.queue.model_content import ContentStatus, ContentType, TaskType
from tests.content.tasks import BY, application, log, make, now, work

TYPES = [TaskType.DELETE_ENVIRONMENT_DATA.job_type]


@pytest.fixture
def jobs():
    with application() as made:
        made.content.store.ready("acme")
        yield made


@pytest.mark.parametrize("others", [False, True], ids=["of it", "of others"])
def test_an_environment_that_a_recurring_sync_was_made_of_meanwhile_stays(jobs, others):
    store = jobs.content.store
    gone = store.reserve("acme", "staging", "Staging", None)
    row = make(jobs, ContentType.DELETE_ENVIRONMENT, params={"environment": gone})
    target = "another" if others else gone
    schedule = RecurringJobs(jobs.queue).create(
        "acme", name="Each night", cron="0 3 * * *", time_zone="UTC", by=BY, base="main", target=target
    )
    work(jobs, TYPES)
    if others:
        assert now(jobs, row).status is ContentStatus.COMPLETED
        assert [operation for _, operation, _ in store.steps] == [DropEnvironment(environment_id=gone)]
        return
    assert now(jobs, row).status is ContentStatus.FAILED
    assert store.steps == []
    says = f"recurring jobs are about this environment, delete them first: {schedule.id}"
    assert ("ERROR", says) in log(jobs, row)
