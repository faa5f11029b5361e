"""Everybody who listens to a queue, and what they are told as it happens.

One thread per hub, while anybody listens, takes every change once, and puts what is told of it into the bounded buffer of each
listener of that queue. A listener that does not empty its buffer is dropped, and delays nobody.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from gnj.access import Action, Kind, Principal, Target
from gnj.api import sse
from gnj.api.hooks import Guard
from gnj.api.queues.telling import Teller, Told
from gnj.api.runs import Behind, Run
from gnj.queue.errors import Forbidden, GnjError
from gnj.queue.feed import OF_JOBS, Change, Feed
from gnj.queue.values import dump_json

logger = logging.getLogger("gnj.api")

PATH: Final = "/queues/{queue}/events"
RECHECK: Final = 10.0
"""Seconds after which it is looked again whether a listener's token is still valid, where nothing happens."""
_ACTION: Final = Action(f"GET {PATH}", Kind.READ)


class EventStream(sse.EventStream):
    """A stream whose events are put complete."""

    def framed(self, body: str) -> bytes:
        """See `gnj.api.sse.EventStream.framed`."""
        return body.encode()


@dataclass(eq=False, repr=False, slots=True)
class _Listener:
    """Somebody who listens to a queue."""

    hub: Hub
    key: tuple[str, str]
    names: frozenset[str]
    principal: Principal
    stream: EventStream

    def close(self) -> None:
        """See `gnj.api.streams.Open`."""
        self.hub.leave(self)


class Hub:
    """Everybody who listens to the queues of one face.

    Args:
        guard: Asked about every event, for every listener.
        feed: What was committed.
    """

    def __init__(self, guard: Guard, feed: Feed) -> None:
        self._guard = guard
        self._feed = feed
        self._lock = threading.Lock()
        self._run: Run | None = None
        self._listeners: dict[tuple[str, str], set[_Listener]] = {}
        self._numbers = 0

    @property
    def idle(self) -> bool:
        """Whether nobody listens, and no thread runs for anybody who did."""
        with self._lock:
            return self._run is None and not self._listeners

    def join(self, queue: str, names: Collection[str], principal: Principal, stream: EventStream) -> _Listener:
        """One more listener: what is committed from now on is told, until it is closed."""
        listener = _Listener(self, (principal.tenant, queue), frozenset(names), principal, stream)
        with self._lock:
            self._listeners.setdefault(listener.key, set()).add(listener)
            if self._run is None:
                # to begin to follow waits for nothing
                self._run = Run(self._feed)
                threading.Thread(target=self._tell_all, args=(self._run,), name="gnj-queue-events", daemon=True).start()
        return listener

    def leave(self, listener: _Listener) -> None:
        """One listener less; idempotent."""
        with self._lock:
            others = self._listeners.get(listener.key)
            if others is not None:
                others.discard(listener)
                if not others:
                    del self._listeners[listener.key]
            if not self._listeners and self._run is not None:
                self._run.wake()

    def _tell_all(self, run: Run) -> None:
        try:
            with run.following:
                self._follow(run)
        except Exception:
            logger.exception("events of queues cannot be told any more")
        finally:
            with self._lock:
                lost = self._run is run
                if lost:
                    self._run = None
            if lost:  # who connects again is told by another thread
                self._cut_all()

    def _follow(self, run: Run) -> None:
        teller, look = Teller(), time.monotonic() + RECHECK
        while True:
            try:
                changes = run.take(max(0.0, look - time.monotonic()))
            except Behind:
                logger.warning("more happened in queues than could be told: those who listen have to begin anew")
                changes = []
                self._cut_all()
            allowed: dict[tuple[Principal, str], bool] = {}
            for change in changes:
                try:
                    self._tell(teller, change, allowed)
                except Exception:
                    logger.exception("an event was not told")
            if time.monotonic() >= look:
                self._recheck()
                look = time.monotonic() + RECHECK
            with self._lock:
                if not self._listeners:
                    self._run = None
                    return

    def _tell(self, teller: Teller, change: Change, allowed: dict[tuple[Principal, str], bool]) -> None:
        """Tells of a change. Who may hear of a queue is asked once for all that has come together: a hook takes its time."""
        listeners = self._of(change)
        if not listeners:
            return
        events = teller.told(change)
        for event in events:
            self._numbers += 1
            frame = ""
            for listener in listeners:
                if event.name not in listener.names:
                    continue
                who = listener.principal, listener.key[1]
                if who not in allowed:
                    allowed[who] = self._may(*who)
                if not allowed[who]:
                    continue
                frame = frame or _frame(self._numbers, event)
                if not listener.stream.put(frame):
                    listener.close()

    def _of(self, change: Change) -> tuple[_Listener, ...]:
        """Who listens to the queue that a change is about."""
        if change.topic in OF_JOBS:
            queue = change.value.type
        elif change.topic == "queue":
            queue = change.value["queue"]
        else:
            return ()
        # a hold of the host's holds every tenant's jobs
        everybody = change.topic == "queue" and not change.tenant and change.value["event"] in ("paused", "resumed")
        with self._lock:
            if queue is not None and not everybody:
                return tuple(self._listeners.get((change.tenant, queue), ()))
            return tuple(
                each
                for (tenant, name), some in self._listeners.items()
                if (everybody or tenant == change.tenant) and queue in (None, name)
                for each in some
            )

    def _may(self, principal: Principal, queue: str) -> bool:
        try:
            self._guard.recheck(principal)
            self._guard.authorize(principal, _ACTION, Target(queue))
        except Forbidden:
            return False
        except GnjError as error:
            # who has become nobody is cut by the next look; what cannot be asked now is not told
            logger.info("an event of a queue was not told to %s: %s", principal.id, error)
            return False
        return True

    def _recheck(self) -> None:
        """Ends the streams of those who have become nobody."""
        gone: dict[Principal, bool] = {}
        for each in self._everybody():
            who = each.principal
            if who not in gone:
                gone[who] = self._is_gone(who)
            if gone[who]:
                each.stream.cut()

    def _is_gone(self, principal: Principal) -> bool:
        try:
            self._guard.recheck(principal)
        except GnjError:
            return True
        except Exception:
            logger.exception("whether %s may still listen will be looked at again", principal.id)
        return False

    def _cut_all(self) -> None:
        for each in self._everybody():
            each.stream.cut()

    def _everybody(self) -> list[_Listener]:
        with self._lock:
            return [each for some in self._listeners.values() for each in some]


def _frame(number: int, event: Told) -> str:
    # no line of JSON has a line break in it
    return f"event: {event.name}\nid: {number}\ndata: {dump_json(event.data)}\n\n"
