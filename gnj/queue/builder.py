"""Pipelines written down step by step, and created whole."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Any, Self, TypeAlias

from gnj.queue.errors import GnjError, InvalidInput
from gnj.queue.model import NewJob, Pipeline
from gnj.queue.service import Queue
from gnj.queue.values import Json, shown

Member: TypeAlias = NewJob | str | tuple[str] | tuple[str, Json]


class PipelineBuilder:
    """Collects steps inside a `with` block; at its end the pipeline is created, unless the block raised.

    Args:
        queue: Where it goes.
        name: The pipeline's name.
        start: Whether it starts at once.
        tenant: Whose it is.
        within: Gives the queue, when the time comes, inside a transaction of the host's.
    """

    def __init__(
        self,
        queue: Queue,
        name: str | None,
        *,
        start: bool = True,
        tenant: str = "",
        within: AbstractContextManager[Queue] | None = None,
    ) -> None:
        self._queue = queue
        self._within = within
        self._name = name
        self._start = start
        self._tenant = tenant
        self._steps: list[NewJob | list[NewJob]] = []
        self._pipeline: Pipeline | None = None

    @property
    def pipeline(self) -> Pipeline:
        """The created pipeline; raises `GnjError` before the block has ended."""
        if self._pipeline is None:
            raise GnjError("the pipeline is created at the end of its with block")
        return self._pipeline

    def add(self, type: str | NewJob, input: Json = None, **options: Any) -> Self:
        """One more step: a job, given as in `enqueue` or as a `NewJob`."""
        self._steps.append(type if isinstance(type, NewJob) else NewJob(type, input, **options))
        return self

    def batch(self, jobs: Iterable[Member]) -> Self:
        """One more step: a batch of jobs, each a `NewJob`, a type, or a pair of type and input."""
        self._steps.append([_member(job) for job in jobs])
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            with nullcontext(self._queue) if self._within is None else self._within as queue:
                self.store(queue)

    def store(self, queue: Queue) -> None:
        """Creates the pipeline in `queue`: what the end of the block does."""
        self._pipeline = queue.add_pipeline(self._name, self._steps, tenant=self._tenant, start=self._start)


def _member(job: object) -> NewJob:
    if isinstance(job, NewJob):
        return job
    if isinstance(job, str):
        return NewJob(job)
    if isinstance(job, tuple) and len(job) in (1, 2):
        return NewJob(*job)
    raise InvalidInput(f"a job of a batch must be a NewJob, a type, or a pair of type and input, not {shown(job)}")
