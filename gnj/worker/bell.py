"""Rings when the server tells of work: what wakes a remote worker between two looks."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from gnj.client.errors import ClientError, Unreachable
from gnj.client.http import Client, Subscription
from gnj.client.protocol import Operation
from gnj.worker.outage import pause

logger = logging.getLogger("gnj.worker")

_FIELDS = ("jobCreated", "jobUpdated")
"""What tells of work: a job that is created as queued, and one that is queued later: recovered, retried, its turn come."""
_REFUSED = 60.0
"""Seconds after which a server that refused a subscription is asked for it again."""
_LEAVE = 0.3
"""Seconds to wait for a thread that is told to end; one that is just connecting ends by itself later."""


class Bell:
    """Subscribes while its block lasts, on a thread for each subscription; what it is refused, or loses, it asks for again.

    Args:
        client: Whom to ask.
        is_news: Whether a job `{type, status}` is a reason to look for work.
        ring: Called when there may be work: for news, and whenever a subscription begins, for what was missed before.
    """

    def __init__(self, client: Client, is_news: Callable[[Mapping[str, Any]], bool], ring: Callable[[], None]) -> None:
        self._client = client
        self._is_news = is_news
        self._ring = ring
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._open: set[Subscription] = set()
        self._threads = [
            threading.Thread(target=self._keep, args=(name,), name=f"gnj-hear-{name}", daemon=True) for name in _FIELDS
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._over.set()
            for subscription in self._open:
                subscription.close()
        for thread in self._threads:
            thread.join(_LEAVE)

    def _keep(self, name: str) -> None:
        operation = Operation(f"subscription {{ job: {name} {{ type status }} }}", "job")
        failures = 0
        while not self._over.is_set():
            wait = 0.0
            try:
                if self._follow(self._client.subscribe(operation)):
                    failures = 0
            except Unreachable as error:
                logger.debug("%s: %s", name, error)
                wait = error.retry_after or 0.0
            except ClientError as error:
                logger.info("no wake-up by %s, so new work is only seen every poll: %s", name, error)
                wait = _REFUSED
            except Exception:
                logger.exception("%s failed", name)
            failures += 1
            self._over.wait(max(wait, pause(failures)))

    def _follow(self, subscription: Subscription) -> bool:
        """Follows it to its end; whether it began at all."""
        with self._lock:
            if self._over.is_set():
                return False
            self._open.add(subscription)
        began = False
        try:
            for job in subscription:
                began = True
                if job is None or self._is_news(job):
                    self._ring()
        finally:
            with self._lock:
                self._open.discard(subscription)
        return began
