"""Many threads, and several processes, claim and end the same 5,000 jobs; and processes die where it hurts most."""

import itertools
import os
import random
from collections import Counter
from functools import partial

import pytest

from gnj.queue.model import Job
from gnj.queue.states import JOB_CLAIMED, JOB_MOVES, JobStatus
from gnj.queue.storage import Settlement
from gnj.storage.sql import SqlStorage
from gnj.testing.contracts.support import persistently, together
from gnj.testing.factories import fill
from tests.processes import FORKSERVER

TIMEOUT = 60.0
JOBS = 2000
TYPES = ["a", "b", "c", "d"]
LIMITS = [1, 2, 20, 50, 5, 100]
CLAIM = JOB_MOVES["claim"].changes(JobStatus.QUEUED)
SUCCEED = JOB_MOVES["succeed"].changes(JobStatus.PROCESSING)
RELEASE = JOB_MOVES["release"].changes(JobStatus.PROCESSING)


@pytest.fixture(
    params=[
        pytest.param("sqlite", marks=pytest.mark.backend("sqlite")),
        pytest.param("postgresql", marks=pytest.mark.backend("postgresql")),
        pytest.param("mysql", marks=pytest.mark.backend("mysql")),
    ]
)
def url(request):
    return request.getfixturevalue(f"{request.param}_database")()


@pytest.fixture
def storage(url):
    storage = SqlStorage(url)
    storage.migrate()
    yield storage
    storage.close()


def claim(rows, types, limit, lease=60.0):
    return rows.claim(types, limit, lease=lease, changes=CLAIM)


def work(storage, seed):
    """Claims and ends jobs until there are none; gives one in ten back the first time. All that was handed to it.

    A call whose turn did not come in time (SQLite, on a busy machine) has done nothing, and is made again.
    """
    chance = random.Random(seed)
    handed: list[tuple[int, int]] = []
    for limit in itertools.cycle(LIMITS[seed % len(LIMITS) :] + LIMITS[: seed % len(LIMITS)]):
        jobs = persistently(partial(claim, storage, chance.choice([TYPES, TYPES, [chance.choice(TYPES)]]), limit))
        # one type may be empty before the others are
        jobs = jobs or persistently(partial(claim, storage, TYPES, limit))
        if not jobs:
            return handed
        assert len(jobs) <= limit
        handed += [(job.id, job.attempt) for job in jobs]
        changes = [RELEASE if job.attempt == 1 and job.id % 10 == 0 else {**SUCCEED, "output": job.id} for job in jobs]
        ends = [Settlement(job.id, job.attempt, JOB_CLAIMED, end) for job, end in zip(jobs, changes, strict=True)]
        settled = persistently(partial(storage.settle, ends))
        # nobody else can have ended what was handed to this one
        assert [done.id for done in settled] == [job.id for job in jobs]
    raise AssertionError


def furnish(storage):
    for type in TYPES:
        fill(storage, JOBS // len(TYPES), type)


def judge(storage, handed):
    """That each claim of each job was handed out once, that each job ended, and that no job was overlooked."""
    jobs = storage.find(Job)
    assert len(jobs) == JOBS
    assert {job.status for job in jobs} == {JobStatus.SUCCESSFUL}
    assert all(job.output == job.id for job in jobs)
    times = Counter(itertools.chain.from_iterable(handed))
    assert [claim for claim, number in times.items() if number > 1] == []
    assert sorted(times) == [(job.id, attempt) for job in jobs for attempt in range(1, job.attempt + 1)]
    assert all(job.attempt == (2 if job.id % 10 == 0 else 1) for job in jobs)
    assert claim(storage, TYPES, 1) == []


@pytest.mark.slow_on("mysql")
def test_32_threads(storage):
    furnish(storage)
    judge(storage, together(32, lambda seed: work(storage, seed)))


def work_in_process(url, seed, barrier, answer):
    storage = SqlStorage(url)
    storage.now()  # the first connection is made before the race
    barrier.wait(TIMEOUT)
    answer.send(work(storage, seed))
    storage.close()


def test_4_processes(url, storage):
    furnish(storage)
    barrier = FORKSERVER.Barrier(4)
    handed = []
    with Processes() as spawn:
        answers = [spawn(work_in_process, url, seed, barrier) for seed in range(4)]
        for answer in answers:
            assert answer.poll(TIMEOUT)
            handed.append(answer.recv())
    judge(storage, handed)


class Processes:
    """Starts processes, each with the end of a pipe as its last argument; none of them outlives the block."""

    def __enter__(self):
        self.running = []
        return self

    def __call__(self, target, *arguments):
        mine, theirs = FORKSERVER.Pipe()
        process = FORKSERVER.Process(target=target, args=(*arguments, theirs), daemon=True)
        process.start()
        theirs.close()
        self.running.append((process, mine))
        return mine

    def join(self):
        for process, _ in self.running:
            process.join(TIMEOUT)
        return [process.exitcode for process, _ in self.running]

    def __exit__(self, *_):
        for process, mine in self.running:
            process.kill()
            process.join(TIMEOUT)
            process.close()
            mine.close()


def die_claiming(url, calls):
    storage = SqlStorage(url)
    with storage.begin() as tx:
        calls.send([job.id for job in claim(tx, TYPES, 10)])
        os._exit(9)


def die_settling(url, calls):
    storage = SqlStorage(url)
    jobs = claim(storage, TYPES, 10, lease=-1.0)
    with storage.begin() as tx:
        tx.settle([Settlement(job.id, job.attempt, JOB_CLAIMED, SUCCEED) for job in jobs])
        calls.send([job.id for job in jobs])
        os._exit(9)


def die(url, target):
    """The ids a process tells of before it dies."""
    with Processes() as spawn:
        calls = spawn(target, url)
        assert calls.poll(TIMEOUT)
        ids = calls.recv()
        assert spawn.join() == [9]
    return ids


def await_locks(storage, ids):
    """Returns when the database has noticed that whoever had locked these jobs is gone."""
    with storage.begin() as tx:
        for id in ids:
            tx.get(Job, id, lock=True)


def test_a_claimer_that_dies_before_its_commit_has_claimed_nothing(url, storage):
    jobs = fill(storage, 15, "a")
    for _ in range(2):
        ids = die(url, die_claiming)
        assert ids == [job.id for job in jobs[:10]]
        await_locks(storage, ids)
        assert storage.find(Job) == jobs
    assert [(job.id, job.attempt) for job in claim(storage, TYPES, 20)] == [(job.id, 1) for job in jobs]


def test_a_worker_that_dies_before_its_commit_has_ended_nothing(url, storage):
    jobs = fill(storage, 10, "a")
    ids = die(url, die_settling)
    await_locks(storage, ids)
    lost = storage.lost(20)
    assert [(job.id, job.attempt, job.status) for job in lost] == [(job.id, 1, "processing") for job in jobs]
    lose = JOB_MOVES["lose"].changes(JobStatus.PROCESSING)
    taken = storage.settle([Settlement(job.id, job.attempt, {job.status}, lose, expired=True) for job in lost])
    assert [job.status for job in taken] == ["queued"] * 10
    assert [(job.id, job.attempt) for job in claim(storage, TYPES, 20)] == [(job.id, 2) for job in jobs]
