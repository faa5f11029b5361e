"""Jobs that tasks of an event loop enqueue at the same time, stored together: one thread and one commit for many tasks.

A thread for each task would be no more than six at a time (`asyncio.to_thread` on two cores), and so no more in one commit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextvars import Context
from typing import TypeAlias

from gnj.queue.intake import TOGETHER
from gnj.queue.model import Job, NewJob

_Waiting: TypeAlias = list[tuple[NewJob, "asyncio.Future[Job]"]]


class Gathering:
    """Gathers while a batch is being stored. For one event loop at a time, and no other thread.

    Args:
        store: Called in a thread; gives for each job what is stored, or the exception to be raised.
    """

    def __init__(self, store: Callable[[Sequence[NewJob]], Sequence[Job | Exception]]) -> None:
        self._store = store
        self._waiting: _Waiting = []
        self._task: asyncio.Task[None] | None = None

    async def enqueue(self, job: NewJob) -> Job:
        """The job, stored. Who is cancelled while waiting may have had it stored."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Job] = loop.create_future()
        self._waiting.append((job, future))
        if self._task is None:
            # in a context of nobody's: what the first task is in, such as a transaction, means nothing to the others
            self._task = loop.create_task(self._run(), context=Context())
        return await future

    async def _run(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:TOGETHER], self._waiting[TOGETHER:]
                await self._batch([each for each in batch if not each[1].done()])
        finally:
            self._task = None

    async def _batch(self, batch: _Waiting) -> None:
        answers: Sequence[Job | Exception]
        try:
            answers = await asyncio.to_thread(self._store, [job for job, _ in batch])
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait are told
            answers = [error] * len(batch)
        except BaseException:  # the loop ends
            for _, future in [*batch, *self._waiting]:
                future.cancel()
            self._waiting = []
            raise
        for (_, future), answer in zip(batch, answers, strict=True):
            if future.done():
                continue
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)
