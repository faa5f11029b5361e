"""What is told of the ends of runs: once, signed, and again where it was not taken."""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from gnj.push.signing import verify_push
from gnj.queue.errors import GnjError, InvalidInput, NotFound
from gnj.queue.model import Job, NewJob
from gnj.queue.model_transform import WEBHOOK, RunStatus, TransformJob
from gnj.queue.runs import WEBHOOK_ATTEMPTS
from gnj.queue.states import JobStatus
from gnj.queue.storage import Select
from gnj.queue.where import equal
from gnj.testing import drain
from gnj.transform.errors import AddressRefused, SourceFailed
from gnj.transform.sources import Http, Secrets
from gnj.transform.webhooks import Webhooks
from tests.transform.core.conftest import World, item
from tests.transform.core.test_runs_killed import killed_after
from tests.transform.sites import Asked, Site, answer, site

SECRET = "a secret of the receiver"


class Receiver:
    """Answers with the next one of `statuses`, 200 after those, and keeps what it was told."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.told: list[Asked] = []

    def __call__(self, asked: Asked) -> bytes:
        self.told.append(asked)
        return answer(b"", status=self.statuses.pop(0) if self.statuses else 200)

    @property
    def bodies(self) -> list[Any]:
        return [json.loads(asked.body) for asked in self.told]


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


@pytest.fixture
def place(receiver: Receiver) -> Iterator[Site]:
    with site(hook=receiver) as made:
        yield made


def tell(world: World) -> list[Job]:
    """Calls the webhooks that are due; the jobs that did."""
    return drain(SimpleNamespace(queue=world.queue, handlers=world.handlers), types=(WEBHOOK,))


def telling(world: World) -> list[Job]:
    return world.queue.storage.find(Job, Select(equal(Job, type=WEBHOOK)))


@pytest.fixture
def job(world: World, place: Site) -> TransformJob:
    made = world.save([item(1)])
    world.jobs.set_webhook(world.tenant, made.id, place.url("/hook"), SECRET)
    return made


def test_the_end_of_a_run_is_told_once_and_signed(world: World, everywhere, receiver: Receiver, job: TransformJob):
    world.work()
    (run,) = world.runs(job)
    assert [each.tenant for each in telling(world)] == [world.tenant]
    (done,) = tell(world)
    assert (done.status, done.output) == (JobStatus.SUCCESSFUL, {"status": 200})
    (asked,) = receiver.told
    assert (asked.method, asked.headers["content-type"]) == ("POST", "application/json")
    assert verify_push(SECRET, asked.headers, asked.body)
    assert not verify_push(SECRET, asked.headers, asked.body + b" ")
    assert run.finished_at is not None
    assert json.loads(asked.body) == {
        "id": f"run.finished:{run.id}",
        "event": "run.finished",
        "jobId": str(job.id),
        "run": {
            "id": str(run.id),
            "jobId": str(job.id),
            "status": "Successful",
            "startedAt": receiver.bodies[0]["run"]["startedAt"],
            "finishedAt": run.finished_at.isoformat(timespec="milliseconds")[:-6] + "Z",
            "error": None,
            "read": 1,
            "written": 1,
            "rejected": 0,
            "unchanged": False,
        },
    }
    assert asked.headers["gnj-event-id"] == f"run.finished:{run.id}"
    assert (asked.headers["gnj-job-id"], asked.headers["gnj-attempt"]) == (str(done.id), "1")
    assert tell(world) == []


def test_runs_that_fail_and_that_are_cancelled_are_told_of(world: World, receiver: Receiver, job: TransformJob):
    world.work()
    world.again(job, [SourceFailed("no such feed", final=True)])
    run = world.jobs.run_job(world.tenant, job.id)
    world.queue.cancel(run.job_id)
    world.work()
    tell(world)
    told = [(body["run"]["status"], body["run"]["error"], body["run"]["written"]) for body in receiver.bodies]
    assert told == [("Successful", None, 1), ("Failed", "no such feed", 0), ("Cancelled", None, 0)]


def test_what_was_not_taken_is_told_again(world: World, receiver: Receiver, job: TransformJob):
    receiver.statuses = [500, 404]
    world.work()
    (first,) = tell(world)
    assert (first.status, first.failures) == (JobStatus.QUEUED, 1)
    assert tell(world) == []  # it waits
    world.clock.tick(31)
    tell(world)
    world.clock.tick(61)
    (last,) = tell(world)
    assert (last.status, last.attempt) == (JobStatus.SUCCESSFUL, 3)
    assert (
        len({asked.body for asked in receiver.told})
        == len({asked.headers["gnj-event-id"] for asked in receiver.told})
        == 1
    )
    assert [asked.headers["gnj-attempt"] for asked in receiver.told] == ["1", "2", "3"]


@pytest.mark.parametrize(
    "input",
    [
        None,
        [],
        "x",
        {},
        {"jobId": "1"},
        {"id": "run.finished:1"},
        {"id": "run.finished:1", "jobId": 1},
        {"id": "run.finished:1", "jobId": "one"},
        {"id": "run.finished:1", "jobId": "9" * 19},
        {"id": "run.finished:1\r\nX: y", "jobId": "1"},
        {"id": 1, "jobId": "1"},
    ],
)
def test_what_tells_of_no_run_fails_at_once_and_says_why(
    world: World, receiver: Receiver, job: TransformJob, input: Any
):
    """No client can make such a job; a host's own code can."""
    world.queue.enqueue(NewJob(WEBHOOK, input, tenant=world.tenant, max_attempts=5))
    (done,) = tell(world)
    assert (done.status, done.attempt) == (JobStatus.FAILED, 1)
    assert done.output == {"error": "its input is not what is told of a run: id and jobId do not name one"}
    assert receiver.told == []


def test_of_a_job_that_there_is_not_nothing_is_told(world: World, receiver: Receiver, job: TransformJob):
    for tenant, id in ((world.tenant, job.id + 1), ("other", job.id)):
        world.queue.enqueue(NewJob(WEBHOOK, {"id": "run.finished:1", "jobId": str(id)}, tenant=tenant))
    assert [each.output for each in tell(world)] == [{"skipped": "the job has no webhook any more"}] * 2
    assert receiver.told == []


def test_in_the_end_it_is_given_up_and_can_be_seen(world: World, receiver: Receiver, job: TransformJob):
    receiver.statuses = [503] * WEBHOOK_ATTEMPTS
    world.work()
    for _ in range(WEBHOOK_ATTEMPTS):
        tell(world)
        world.clock.tick(3_601)
    (given_up,) = telling(world)
    assert given_up.status is JobStatus.FAILED
    assert given_up.output == {"error": "the webhook answered 503 Service Unavailable"}
    assert len(receiver.told) == WEBHOOK_ATTEMPTS
    assert world.runs(job)[0].status is RunStatus.SUCCESSFUL


def test_a_worker_that_is_killed(world: World, everywhere, receiver: Receiver, job: TransformJob):
    """While it runs: nothing is told before the end. While it tells: it is told again, as the same event."""
    assert killed_after(world, 2)
    assert telling(world) == []
    world.clock.tick(100)
    world.queue.reap(force=True)
    world.work()
    claim = world.queue.acquire([WEBHOOK], worker_id="w")
    assert claim is not None
    handler = world.handlers.get(WEBHOOK)
    assert handler is not None
    handler.fn(claim)  # and is killed before it can say so
    world.clock.tick(100)
    world.queue.reap(force=True)
    (done,) = tell(world)
    assert (done.id, done.attempt) == (claim.id, 2)
    assert [body["id"] for body in receiver.bodies] == [f"run.finished:{world.runs(job)[0].id}"] * 2


def test_where_it_may_lead(world: World, receiver: Receiver, place: Site):
    job = world.save([item(1)])
    world.parts.webhooks = Webhooks(Http(resolve=lambda _host, _port: ["10.0.0.1"]), Secrets([Secrets.new_key()]))
    for url in ("http://10.0.0.1/", place.url("/hook"), "http://localhost/", "http://2130706433/"):
        with pytest.raises(AddressRefused):
            world.jobs.set_webhook(world.tenant, job.id, url, SECRET)
    world.jobs.set_webhook(world.tenant, job.id, "http://inside.example/hook?key=k3y", SECRET)
    world.work()
    (refused,) = tell(world)
    assert (refused.status, refused.attempt) == (JobStatus.FAILED, 1)
    assert "the webhook's address may not be called" in str(refused.output)
    assert "k3y" not in str(refused.output)
    assert "10.0.0.1" not in str(refused.output)


def test_nobody_answers(world: World, place: Site):
    job = world.save([item(1)])
    place.pages["/hook"] = lambda _asked: None
    world.jobs.set_webhook(world.tenant, job.id, place.url("/hook"), SECRET)
    world.work()
    (failed,) = tell(world)
    assert (failed.status, failed.failures) == (JobStatus.QUEUED, 1)
    world.parts.webhooks = Webhooks(Http(), Secrets([Secrets.new_key()]))  # another key
    world.clock.tick(31)
    tell(world)
    (waiting,) = telling(world)
    assert waiting.failures == 2


def test_what_was_taken_away_is_told_nothing(world: World, receiver: Receiver, job: TransformJob):
    world.work()
    assert world.jobs.set_webhook(world.tenant, job.id, None).job.webhook_url is None
    (skipped,) = tell(world)
    assert skipped.output == {"skipped": "the job has no webhook any more"}
    world.again(job)
    assert len(telling(world)) == 1
    row = world.queue.storage.get(TransformJob, job.id)
    assert row is not None
    assert row.webhook_secret is None
    world.jobs.set_webhook(world.tenant, job.id, f"http://127.0.0.1:{1}/hook", SECRET)
    world.again(job)
    world.jobs.delete_job(world.tenant, job.id)
    assert [each.output for each in tell(world)] == [skipped.output]
    assert receiver.told == []


def test_the_secret_is_kept_encrypted_and_stays(world: World, receiver: Receiver, place: Site, job: TransformJob):
    view = world.jobs.set_webhook(world.tenant, job.id, place.url("/hook?again"))
    row = world.queue.storage.get(TransformJob, job.id)
    assert row is not None
    assert row.webhook_secret is not None
    assert SECRET not in row.webhook_secret
    assert row.webhook_secret not in repr(view)
    world.work()
    tell(world)
    (asked,) = receiver.told
    assert asked.target == "/hook?again"
    assert verify_push(SECRET, asked.headers, asked.body)
    assert SECRET not in str(telling(world))


@pytest.mark.parametrize(
    "url, secret, error, message",
    [
        ("ftp://x.example/", SECRET, InvalidInput, "url: it must begin with http"),
        ("http://x.example/ y", SECRET, InvalidInput, "url: it holds a character"),
        ("http://x.example/" + "y" * 9_000, SECRET, InvalidInput, "url must have at most"),
        ("http://x.example/", "short", InvalidInput, "secret must have from 16 to 256 characters"),
        ("http://x.example/", "x" * 20 + "\n", InvalidInput, "secret must have from 16"),
        ("http://x.example/", None, InvalidInput, "secret is missing"),
        ("http://127.0.0.2/", SECRET, AddressRefused, "url: "),
    ],
)
def test_what_is_refused(world: World, url: str, secret: str | None, error: type[GnjError], message: str):
    job = world.save([item(1)])
    with pytest.raises(error, match=message) as caught:
        world.jobs.set_webhook(world.tenant, job.id, url, secret)
    assert "127" not in str(caught.value)
    for tenant, id in ((world.tenant, job.id + 1), ("other", job.id)):
        with pytest.raises(NotFound):
            world.jobs.set_webhook(tenant, id, None)
    row = world.queue.storage.get(TransformJob, job.id)
    assert row is not None
    assert (row.webhook_url, row.webhook_secret) == (None, None)


def test_without_a_key_no_secret_is_stored(world: World):
    job = world.save([item(1)])
    world.parts.webhooks = Webhooks(Http(), Secrets())
    with pytest.raises(InvalidInput, match="GNJ_SECRET_KEYS"):
        world.jobs.set_webhook(world.tenant, job.id, "http://x.example/", SECRET)
