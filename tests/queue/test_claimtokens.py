"""Claim tokens: good for one claim of one job in one queue, and only as long as that claim holds it."""

from __future__ import annotations

import re
import threading

import pytest

from gnj.queue import claimtokens
from gnj.queue.errors import Unauthenticated
from gnj.queue.model import NewJob, Secret
from gnj.queue.service import Queue
from gnj.queue.tokens import PREFIX, Tokens
from gnj.storage.memory import MemoryStorage

everywhere = pytest.mark.usefixtures("on_every_storage")


@pytest.fixture
def job(queue):
    queue.enqueue(NewJob("mail", tenant="t"))
    return queue.acquire(["mail"], worker_id="w")


@everywhere
def test_the_token_of_a_claim_finds_its_job(queue, job):
    token = queue.claim_token(job)
    assert re.fullmatch(r"gnjl_[0-9]+\.1\.[A-Za-z0-9_-]{43}", token)
    assert queue.by_claim_token("mail", str(job.id), token) == job
    assert queue.claim_token(job) == token


@everywhere
def test_every_process_knows_it(queue, job, storage):
    token = queue.claim_token(job)
    other = Queue(storage)
    assert other.by_claim_token("mail", str(job.id), token).id == job.id
    assert other.claim_token(job) == token
    (secret,) = storage.find(Secret)
    assert len(bytes.fromhex(secret.value)) == 32
    assert secret.value not in repr(secret)


@everywhere
def test_processes_that_need_the_secret_at_once_make_one(storage, job):
    barrier, tokens = threading.Barrier(8), []

    def run():
        other = Queue(storage)
        barrier.wait()
        tokens.append(other.claim_token(job))

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(tokens) == 8
    assert len(set(tokens)) == 1
    assert len(storage.find(Secret)) == 1


def test_a_job_with_an_id_of_its_own_is_found_by_that(queue, storage):
    storage.enqueue([{"type": "mail", "custom_id": "welcome 7"}])
    job = queue.acquire(["mail"])
    token = queue.claim_token(job)
    assert queue.by_claim_token("mail", "welcome 7", token) == job
    with pytest.raises(Unauthenticated):
        queue.by_claim_token("mail", str(job.id), token)


@everywhere
def test_another_attempt_queue_job_or_tenant(queue, job, clock, refused):
    queue.enqueue_many([NewJob("mail", tenant="t"), NewJob("mail", tenant="u"), NewJob("post", tenant="t")])
    others = queue.acquire(["mail", "post"], 3)
    token, id = queue.claim_token(job), str(job.id)
    refusals = [
        ("post", id, token),
        ("mail", str(others[0].id), token),
        ("mail", "0" + id, token),
        *(("mail", id, queue.claim_token(other)) for other in others),
        ("mail", id, queue.claim_token(job.evolve(tenant="u"))),
        ("mail", id, queue.claim_token(job.evolve(tenant=""))),
        ("mail", id, queue.claim_token(job.evolve(attempt=2))),
        # signed, as that of another job
        ("mail", id, re.sub(r"_[0-9]+\.", f"_{job.id}.", queue.claim_token(others[0]))),
    ]
    for asked in refusals:
        with refused(Unauthenticated):
            queue.by_claim_token(*asked)
    assert queue.by_claim_token("mail", id, token) == job


@everywhere
def test_a_claim_that_is_over(queue, job, clock, refused):
    token, id = queue.claim_token(job), str(job.id)
    queue.snooze(job.id, job.attempt)
    again = queue.acquire(["mail"], lease=60)
    with refused(Unauthenticated):
        queue.by_claim_token("mail", id, token)
    new = queue.claim_token(again)
    clock.tick(58)
    assert queue.by_claim_token("mail", id, new).attempt == 2
    clock.tick(2)
    with refused(Unauthenticated):
        queue.by_claim_token("mail", id, new)
    queue.heartbeat(again, lease=60)  # nobody has taken it back yet
    queue.by_claim_token("mail", id, new)
    queue.succeed(again)
    with refused(Unauthenticated):
        queue.by_claim_token("mail", id, new)


@pytest.mark.parametrize("end", ["release", "fail", "cancelled", "delete"])
def test_ends(queue, job, end):
    token = queue.claim_token(job)
    if end == "release":
        queue.release([job])
    elif end == "fail":
        queue.fail(job, "no")
    elif end == "cancelled":
        queue.cancelled(job, "no")
    else:
        queue.succeed(job)
        queue.delete(type(job), job.id)
    with pytest.raises(Unauthenticated):
        queue.by_claim_token("mail", str(job.id), token)


def test_who_is_asked_to_stop_holds_the_job_still(queue, job):
    token = queue.claim_token(job)
    queue.cancel(job.id)
    assert queue.by_claim_token("mail", str(job.id), token).status == "cancel-requested"


def test_texts_that_are_no_tokens(queue, job, refused):
    token = queue.claim_token(job)
    head, signature = token.rsplit(".", 1)
    flipped = head + "." + ("B" if signature[0] == "A" else "A") + signature[1:]
    for text in [
        "",
        "gnjl_",
        token[:-1],
        token + "A",
        token + "\n",
        token.upper(),
        token.replace("gnjl_", "gnj_"),
        token.replace("gnjl_", "gnjl_0"),
        flipped,
        f"{head}.{'A' * 43}",
        f"gnjl_{10**19}.1.{'A' * 43}",
        f"gnjl_{10**18}.1.{'A' * 43}",
        "gnjl_²." + token.split(".", 1)[1],
        "\ud800",
    ]:
        with refused(Unauthenticated):
            queue.by_claim_token("mail", str(job.id), text)


def test_it_is_no_token_of_the_api(queue, job, storage):
    assert not claimtokens.PREFIX.startswith(PREFIX)
    assert Tokens(lambda: storage).find(queue.claim_token(job)) is None


def test_another_database_knows_it_not(queue, job):
    """Its secret is another one."""
    other = Queue(MemoryStorage())
    other.enqueue(NewJob("mail", tenant="t"))
    (same,) = other.acquire(["mail"], 1, worker_id="w")
    assert (same.id, same.attempt) == (job.id, job.attempt)
    with pytest.raises(Unauthenticated):
        other.by_claim_token("mail", str(job.id), queue.claim_token(job))
