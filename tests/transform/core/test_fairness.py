"""Whose runs come first and whose webhooks are called, where there are more than can be done at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from gnj.background_transform import CALLS, OF_ONE, TransformWorker, WebhookWorker
from gnj.queue.model import NewJob
from gnj.queue.model_transform import RUN, WEBHOOK, RunStatus, TransformJob
from gnj.transform import running
from tests.transform.core.conftest import World, item
from tests.transform.core.fakes import FakeReading
from tests.transform.core.test_runs_killed import SIGNALS
from tests.transform.sites import Asked, answer, site
from tests.waiting import until


def saved(world: World, tenant: str, number: int, *, url: str = "https://shop.example/") -> list[TransformJob]:
    """So many jobs of a tenant, their first runs queued."""
    world.tenant = tenant
    return [world.save([item(at)], url=f"{url}{tenant}/{at}") for at in range(number)]


def finish(world: World, tenant: str | None = None) -> str:
    """Does the next run, of a tenant if one is named; whose it was."""
    claim = world.queue.acquire([RUN], worker_id="w", tenants=None if tenant is None else [tenant])
    assert claim is not None
    running.handled(world.transform)(claim, SIGNALS)
    world.queue.succeed(claim)
    return claim.tenant


def test_the_runs_of_a_tenant_do_not_come_before_all_of_another(on_every_storage, world):
    saved(world, "acme", 4)
    saved(world, "other", 2)
    claimed = [world.claim() for _ in range(6)]
    assert [job.tenant for job in claimed] == ["acme", "acme", "other", "acme", "other", "acme"]
    assert world.queue.acquire([RUN], worker_id="w") is None


def test_the_runs_of_a_tenant_come_in_their_order(world):
    """Also those that are started when fewer wait."""
    saved(world, "acme", 5)
    for _ in range(4):
        world.claim()
    saved(world, "other", 1)
    later = saved(world, "acme", 2, url="https://later.example/")
    ids = {run.job_id for job in later for run in world.runs(job)}
    claimed = [world.claim() for _ in range(4)]
    assert [(job.tenant, job.id in ids) for job in claimed] == [
        ("acme", False),
        ("other", False),
        ("acme", True),
        ("acme", True),
    ]


@pytest.mark.parametrize("priority", [-(2**31), 2**31 - 1])
def test_what_somebody_else_has_enqueued_of_the_type_holds_nobody_up(on_every_storage, world, priority):
    """Such a job is of no run, and has a place as any has."""
    world.queue.enqueue(NewJob(RUN, tenant="evil", priority=priority))
    (job,) = saved(world, "acme", 1)
    (run,) = world.runs(job)
    claimed = [world.claim() for _ in range(2)]
    assert run.job_id in {each.id for each in claimed}
    assert all(-(2**31) <= each.priority < 2**31 for each in claimed)


def test_who_has_many_gets_turns_while_others_come_again_and_again(world):
    saved(world, "acme", 6)
    served = []
    for round in range(18):
        saved(world, "zen" if round % 2 else "bolt", 1, url=f"https://{round}.example/")
        served.append(finish(world))
    assert served.count("acme") == 6


def test_runs_that_are_over_do_not_count(world):
    for number in range(3):
        world.save([item(number)], url=f"https://shop.example/{number}")
        world.work()
    world.save([item(1)], url="https://shop.example/more")
    world.tenant = "other"
    world.save([item(1)])
    assert [world.claim().tenant for _ in range(2)] == ["acme", "other"]


def test_webhooks_take_turns_too(world):
    for tenant, number in (("acme", 3), ("other", 1)):
        for job in saved(world, tenant, number):
            world.jobs.set_webhook(tenant, job.id, "http://127.0.0.1/", "s" * 16)
        world.work()
    claimed = [world.queue.acquire([WEBHOOK], worker_id="w") for _ in range(4)]
    assert [job.tenant for job in claimed if job] == ["acme", "acme", "other", "acme"]


@contextmanager
def worked(worker: Any, before_close: Callable[[], Any]) -> Iterator[None]:
    """While a ticker that works is there; what hangs is let go before it ends."""
    worker.tick()
    try:
        yield
    finally:
        before_close()
        worker.close()


def test_a_receiver_that_hangs_keeps_no_other_tenant_waiting(world):
    """Of 50 calls to it as many hang as may be of one tenant; the one call of another tenant is made meanwhile."""
    hang, called = threading.Event(), threading.Event()
    hung = threading.Semaphore(0)
    there: list[Asked] = []

    def slow(asked: Asked) -> bytes:
        there.append(asked)
        hung.release()
        assert hang.wait(30)
        return answer(b"")

    def quick(_asked: Asked) -> bytes:
        called.set()
        return answer(b"")

    with site(slow=slow, quick=quick) as place:
        for tenant, number, path in (("acme", 50, "/slow"), ("zen", 1, "/quick")):
            for job in saved(world, tenant, number):
                world.jobs.set_webhook(tenant, job.id, place.url(path), "s" * 16)
        assert OF_ONE < CALLS
        worker = WebhookWorker(world.queue, world.transform)
        # the runs of acme end first: all slots that it may have are taken before zen comes
        for _ in range(50):
            finish(world, "acme")
        with worked(worker, hang.set):
            for _ in range(OF_ONE):
                assert hung.acquire(timeout=20)
            world.work()
            assert called.wait(20)
            assert len(there) == OF_ONE
            hang.set()
            until(lambda: len(there) == 50)


def test_runs_that_take_long_leave_a_slot_to_other_tenants(world):
    hang, begun = threading.Event(), threading.Semaphore(0)

    def slow(_validators: Any) -> FakeReading:
        def items() -> Iterator[Any]:
            begun.release()
            assert hang.wait(30)
            yield item(1)

        return FakeReading(items())

    long = [world.save(slow, url=f"https://slow.example/{at}") for at in range(4)]
    worker = TransformWorker(world.queue, world.transform, concurrency=3)
    with worked(worker, hang.set):
        for _ in range(2):
            assert begun.acquire(timeout=20)
        world.tenant = "zen"
        short = world.save([item(1)])
        until(lambda: world.status(short) == "Live")
        world.tenant = "acme"
        assert not begun.acquire(blocking=False)
        hang.set()
        until(lambda: {world.status(job) for job in long} == {"Live"})


def test_a_run_that_takes_too_long_fails_for_good(world, monkeypatch):
    monkeypatch.setattr(running, "LONGEST", -3_600.0)
    job = world.save([item(1)])
    world.work()
    (run,) = world.runs(job)
    assert (run.status, run.error, run.written) == (RunStatus.FAILED, "the run took more than -1 hours", 0)
    assert world.current(job) == []
