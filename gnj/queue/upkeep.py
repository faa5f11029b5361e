"""Pruning in the background: what nobody needs any more goes in small transactions, with pauses between them."""

from __future__ import annotations

import logging
import threading
from random import SystemRandom  # that of the module `random` is the host's, who may have seeded it
from types import TracebackType
from typing import Final, Self

from gnj.queue.errors import GnjError
from gnj.queue.maintenance import PRUNE_LIMIT
from gnj.queue.service import Queue

logger = logging.getLogger("gnj.upkeep")

EVERY: Final = 60.0
"""Seconds between two looks for what may go."""
_BREATH: Final = 0.1
"""Seconds between two prunes while there is more: room for others' transactions."""


class Upkeep:
    """Prunes while its `with` block lasts; several processes may do so at once.

    Args:
        queue: The queue.
        retention: Seconds for which ended jobs are kept; None: for ever. What was deleted goes after a day.
        every: Seconds between two looks.
    """

    def __init__(self, queue: Queue, retention: float | None, every: float = EVERY) -> None:
        self._queue = queue
        self._retention = retention
        self._every = every
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="gnj-upkeep", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._thread.join(5.0)

    def _run(self) -> None:
        # not all processes that were started together at the same moment
        while not self._stopped.wait(self._every * SystemRandom().uniform(0.5, 1.0)):
            removed = 0
            try:
                while (some := self._queue.prune(retention=self._retention)) and not self._stopped.wait(_BREATH):
                    removed += some
                    if some < PRUNE_LIMIT:
                        break
            except GnjError as error:
                logger.warning("pruning will be tried again: %s", error)
            if removed:
                logger.info("pruned %d rows", removed)
