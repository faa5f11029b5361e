"""A worker of the host's handlers that does jobs of gnj's own as well."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from gnj.queue.service import Queue
from gnj.worker.handlers import Handler, Handlers
from gnj.worker.loop import Loop
from gnj.worker.worker import GRACE, Worker


class Register(Protocol):
    """Registers what a worker does besides the handlers of its host, as `gnj.content.handlers.register` does."""

    def __call__(self, handlers: Handlers, *, stopping: Callable[[], bool]) -> None:
        """Registers it; `stopping` tells whether the worker is to end soon."""


def worker_beside(
    queue: Queue, handlers: Handlers, types: Sequence[str] | None, own: Sequence[Register], **options: Any
) -> Worker:
    """A worker of the host's `handlers` that does what `own` registers as well; `types`, of the host's, and options as those of
    `Worker`, where `types` None means all of both.
    """
    ending = threading.Event()
    both = _Both(handlers)
    for register in own:
        register(both, stopping=ending.is_set)
    return _Ending(ending, queue, both, None if types is None else [*types, *both.own], **options)


class _Both(Handlers):
    """The handlers of gnj's own, and what a host has registered, now or later."""

    def __init__(self, host: Handlers) -> None:
        super().__init__()
        self._host = host

    @property
    def own(self) -> tuple[str, ...]:
        """The types besides those of the host."""
        return super().types

    @property
    def types(self) -> tuple[str, ...]:
        """See `Handlers.types`."""
        return (*self._host.types, *self.own)

    def get(self, type: str) -> Handler | None:
        """See `Handlers.get`."""
        return super().get(type) or self._host.get(type)


class _Ending(Worker):
    """A worker whose jobs of gnj's own learn that it is to end, so that they stop after a step, and not after their last one."""

    def __init__(self, ending: threading.Event, *of: Any, **options: Any) -> None:
        super().__init__(*of, **options)
        self._ending = ending

    def stop(self, grace: float = GRACE) -> None:
        """See `Worker.stop`."""
        self._ending.set()
        super().stop(grace)

    def _take_up(self, ended: Callable[[], None]) -> Loop:
        self._ending.clear()
        return super()._take_up(ended)
