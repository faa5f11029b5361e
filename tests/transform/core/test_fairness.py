"""Whose runs come first, where there are more than can be done at once."""

from __future__ import annotations

from gnj.queue.model_transform import RUN, RunStatus
from gnj.transform import running
from tests.transform.core.conftest import item


def test_the_runs_of_a_tenant_do_not_come_before_all_of_another(everywhere, world):
    for number in range(4):
        world.save([item(number)], url=f"https://shop.example/{number}")
    world.tenant = "other"
    for number in range(2):
        world.save([item(number)], url=f"https://other.example/{number}")
    claimed = [world.claim() for _ in range(6)]
    assert [job.tenant for job in claimed] == ["acme", "other", "acme", "other", "acme", "acme"]
    assert world.queue.acquire([RUN], worker_id="w") is None


def test_runs_that_are_over_do_not_count(world):
    for number in range(3):
        world.save([item(number)], url=f"https://shop.example/{number}")
        world.work()
    world.save([item(1)], url="https://shop.example/more")
    world.tenant = "other"
    world.save([item(1)])
    assert [world.claim().tenant for _ in range(2)] == ["acme", "other"]


def test_a_run_that_takes_too_long_fails_for_good(world, monkeypatch):
    monkeypatch.setattr(running, "LONGEST", -3_600.0)
    job = world.save([item(1)])
    world.work()
    (run,) = world.runs(job)
    assert (run.status, run.error, run.written) == (RunStatus.FAILED, "the run took more than -1 hours", 0)
    assert world.current(job) == []
