"""The storage contract, kept by `MemoryStorage`."""

import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

import pytest

from gnj.queue.errors import StorageUnavailable
from gnj.queue.model import Job
from gnj.storage.memory import MemoryStorage
from gnj.testing import FakeClock, StorageContract, factories

pytestmark = pytest.mark.backend("memory")


class TestMemoryContract(StorageContract):
    @pytest.fixture
    def storage(self):
        return MemoryStorage()

    @pytest.fixture
    def clocked(self):
        clock = FakeClock()
        return MemoryStorage(clock), clock


def test_one_transaction_cannot_hold_another():
    storage = MemoryStorage()
    with storage.begin() as tx:
        tx.insert_jobs([{"type": "mail"}])
        with pytest.raises(StorageUnavailable):
            storage.count(Job)
    assert storage.count(Job) == 1


def test_another_process_is_refused():
    storage = MemoryStorage()
    storage._process = storage._process + 1  # as it is after a fork
    for call in (storage.begin, lambda: storage.begin(write=False)):
        with pytest.raises(StorageUnavailable, match="belongs to the process"), call():
            pass


def test_it_promises_nothing_beyond_the_protocol():
    assert MemoryStorage().capabilities == {"embedded"}


def test_the_factories_reach_what_they_are_named_for():
    storage = MemoryStorage()
    queue = factories.queue_on(storage)
    statuses: dict[Callable[..., Job], str] = {
        factories.queued_job: "queued",
        factories.delayed_job: "queued",
        factories.planned_job: "planned",
        factories.processing_job: "processing",
        factories.cancel_requested_job: "cancel-requested",
        factories.lost_job: "processing",
        factories.retrying_job: "queued",
        factories.successful_job: "successful",
        factories.failed_job: "failed",
        factories.cancelled_job: "cancelled",
    }
    for make, status in statuses.items():
        job = make(queue, "mail", name=make.__name__, tenant="t")
        assert storage.get(Job, job.id, tenant="t") == job
        assert (job.status, job.name, job.type) == (status, make.__name__, "mail")
    assert factories.deleted_job(queue).deleted_at is not None
    assert [job.name for job in storage.lost(10)] == ["lost_job"]
    assert [job.name for job in queue.acquire(["mail"], 10)] == ["queued_job", "lost_job"]
    assert factories.started_batch(queue).status == "processing"
    assert factories.started_pipeline(queue, (1, 2)).status == "processing"
    assert len({factories.unique_id() for _ in range(3)}) == 3
    assert [job.input["place"] for job in factories.fill(storage, 3)] == [0, 1, 2]


def test_the_clock_goes_when_it_is_told():
    clock = FakeClock()
    start = clock()
    assert clock() == start == FakeClock()()
    assert clock.tick() == clock() == start + timedelta(seconds=1)
    clock.tick(-0.5)
    assert clock() == start + timedelta(milliseconds=500)
    clock.set(datetime(2031, 1, 1, 1, 0, 0, 1999, timezone(timedelta(hours=1))))
    assert clock() == datetime(2031, 1, 1, 0, 0, 0, 1000, UTC)
    assert repr(clock) == "FakeClock(2031-01-01T00:00:00.001000+00:00)"


def test_pytest_is_imported_for_the_contract_only():
    code = "import sys, gnj, gnj.testing.factories; assert not {'pytest', 'hypothesis'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
