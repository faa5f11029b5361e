"""Creates the jobs of a run over HTTP, and notes what was acknowledged.

Whatever has no answer is asked for again until it has one, under the same `jobUniqueId`: a creator that was cut off cannot
know. A batch or pipeline whose answer was lost is made once more; the first one stays behind without jobs.
"""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from benchmarks.reliability.client import Client, Refused
from gnj.queue.errors import StorageUnavailable
from gnj.queue.model import NewJob
from gnj.queue.service import Queue
from gnj.queue.storage import Storage

SINGLES = 50
"""Jobs that are created by one request."""
MEMBERS = 4
STEPS = 5
"""Of a pipeline: a job, a batch, a job, a batch, a job."""
AHEAD = 600
"""At most so many more jobs are created than are done: creation, too, goes on while processes die."""
_PIPELINE = STEPS - STEPS // 2 + STEPS // 2 * MEMBERS

_MANY = "mutation ($jobs: [jobInput!]!) { jobCreateMany(jobs: $jobs) { id jobUniqueId } }"
_BATCH = "mutation ($batch: batchInput!) { batchCreate(batch: $batch) { id } }"
_NEW_PIPELINE = "mutation ($pipeline: pipelineInput!) { pipelineCreate(pipeline: $pipeline) { id } }"
_START = "mutation ($id: Int!) { startPipeline(id: $id) { id } }"


@dataclass(slots=True)
class Acknowledged:
    """What the queue said it has."""

    jobs: list[str] = field(default_factory=list)
    """Their unique ids."""
    batches: list[int] = field(default_factory=list)
    pipelines: list[int] = field(default_factory=list)
    again: int = 0
    """Requests that had to be made once more."""


class Creator:
    """Creates about `jobs` jobs on a thread of its own.

    Args:
        client: The servers.
        jobs: How many.
        seed: Decides which, and how long they take.
        done: Gives how many are done.
    """

    def __init__(self, client: Client, jobs: int, seed: int, done: Callable[[], int]) -> None:
        self._client = client
        self._jobs = jobs
        self._random = random.Random(f"jobs {seed}")
        self._done = done
        self._numbers = itertools.count(1)
        self._stopped = threading.Event()
        self.acknowledged = Acknowledged()
        self.refusal: Exception | None = None
        """Why no more were created: what was acknowledged before was not there when it was built upon."""
        self._thread = threading.Thread(target=self._work, name="creator", daemon=True)

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def stop(self) -> None:
        """Creates no more."""
        self._stopped.set()
        self._thread.join(30)

    @property
    def finished(self) -> bool:
        """Whether all jobs are created, or one was refused."""
        return not self._thread.is_alive()

    def _work(self) -> None:
        try:
            for create in self._units():
                while len(self.acknowledged.jobs) - self._done() > AHEAD and not self._stopped.wait(0.01):
                    pass
                create()
        except _Stopped:
            pass
        except Exception as error:
            self.refusal = error

    def _units(self) -> Iterator[Callable[[], None]]:
        """Of the jobs, about 60 % are single ones, 15 % members of batches, 25 % in pipelines."""
        left = self._jobs
        while left > 0:
            chance = self._random.random() * (0.6 / SINGLES + 0.15 / MEMBERS + 0.25 / _PIPELINE)
            if left < _PIPELINE or chance < 0.6 / SINGLES:
                size = min(SINGLES, left)
                left -= size
                yield lambda size=size: self._singles(size)  # type: ignore[misc]
            elif chance < 0.6 / SINGLES + 0.15 / MEMBERS:
                left -= MEMBERS
                yield self._batch
            else:
                left -= _PIPELINE
                yield self._pipeline

    def _singles(self, size: int) -> None:
        self._create([self._job("single") for _ in range(size)])

    def _batch(self) -> None:
        id = self._ask(_BATCH, batch={})["batchCreate"]["id"]
        # queued at once, and in one transaction: nobody sees the batch without its jobs
        self._create([self._job("member", batchId=id, status="queued") for _ in range(MEMBERS)])
        self.acknowledged.batches.append(id)

    def _pipeline(self) -> None:
        id = self._ask(_NEW_PIPELINE, pipeline={"name": f"pipeline {next(self._numbers)}"})["pipelineCreate"]["id"]
        for place in range(STEPS):  # the order in which they are made is the order in which they run
            if place % 2:
                batch = self._ask(_BATCH, batch={"pipelineId": id, "status": "planned"})["batchCreate"]["id"]
                self._create([self._job("step", batchId=batch, status="planned") for _ in range(MEMBERS)])
            else:
                self._create([self._job("step", pipelineId=id, status="planned")])
        try:
            self._ask(_START, id=id)
        except Refused as refusal:  # it had been started, and only the answer was lost
            if "already been started" not in str(refusal):
                raise
        self.acknowledged.pipelines.append(id)

    def _create(self, jobs: list[dict[str, Any]]) -> None:
        stored = self._ask(_MANY, jobs=jobs)["jobCreateMany"]
        keys = [job["jobUniqueId"] for job in jobs]
        if [job["jobUniqueId"] for job in stored] != keys:
            raise AssertionError(f"jobCreateMany answered with other jobs than it was given: {stored}, not {keys}")
        self.acknowledged.jobs += keys

    def _job(self, type: str, **values: Any) -> dict[str, Any]:
        # a job that is with several killed workers one after the other has not failed by its own fault
        key = f"{type}-{next(self._numbers)}"
        return {
            "type": type,
            "jobUniqueId": key,
            "input": {"ms": self._milliseconds()},
            "maxStalled": 1_000_000,
            **values,
        }

    def _milliseconds(self) -> int:
        """How long a job takes: most no time, some until they are killed, a few longer than a lease."""
        chance = self._random.random()
        if chance < 0.7:
            return self._random.randint(0, 5)
        if chance < 0.95:
            return self._random.randint(20, 80)
        return self._random.randint(300, 800) if chance < 0.998 else 2500

    def _ask(self, query: str, **variables: Any) -> dict[str, Any]:
        while not self._stopped.is_set():
            try:
                return self._client.ask(query, **variables)
            except StorageUnavailable:
                self.acknowledged.again += 1
                self._stopped.wait(0.05)
        raise _Stopped


class Filled:
    """Jobs that take no time, all stored before anything works. Looks like a `Creator`.

    Args:
        storage: Where they are put.
        jobs: How many.
    """

    def __init__(self, storage: Storage, jobs: int) -> None:
        self._storage = storage
        self._keys = [f"single-{number}" for number in range(jobs)]
        self.acknowledged = Acknowledged()
        self.refusal: Exception | None = None
        self.finished = False

    def start(self) -> None:
        """Stores them."""
        queue = Queue(self._storage)
        for start in range(0, len(self._keys), 5_000):
            keys = self._keys[start : start + 5_000]
            queue.enqueue_many(NewJob("single", {"ms": 0}, unique_id=key, max_stalled=1_000_000) for key in keys)
            self.acknowledged.jobs += keys
        self.finished = True

    def stop(self) -> None:
        """Does nothing."""


class _Stopped(Exception):
    """The run is over."""
