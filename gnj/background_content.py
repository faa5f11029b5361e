"""What runs beside the face "content": the worker of content tasks, and who sweeps up after them."""

from __future__ import annotations

import logging
import math
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from random import SystemRandom  # that of the module `random` is the host's, who may have seeded it
from typing import Any, Final

from gnj.content import handlers as content_handlers
from gnj.content.application import Content
from gnj.content.assets import PREFIX
from gnj.content.store import DropEnvironment, Holder, Operation, Reindex, Stale
from gnj.queue import works
from gnj.queue.errors import GnjError
from gnj.queue.model_content import CONTENT_UNFINISHED, ContentJob, ContentType, TaskType, Upload
from gnj.queue.service import Queue
from gnj.queue.values import Json
from gnj.queue.where import equal
from gnj.worker.on_demand import Counted, OnDemand, is_ready
from gnj.worker.turns import TurnSource

logger = logging.getLogger("gnj.background")


TYPES: Final = tuple(task.job_type for task in TaskType)
"""The types of content tasks."""
LINGER: Final = 60.0
"""Seconds for which tasks are looked for by claims after there was one: another may follow it."""
_FAREWELL: Final = 5.0
"""Seconds that the steps under way are given to end, when the server stops: each takes about one at most."""
EVERY: Final = 60.0
"""Seconds between two looks of the sweep, more or less: those of several servers are not to be at once."""
LATE: Final = 3_600.0
"""Seconds after which an expired upload goes: its last parts may still be on their way."""
UNMADE: Final = timedelta(minutes=10)
"""Age of an environment that nobody makes, after which it goes: its content job is stored right after it."""
SETTLED: Final = timedelta(minutes=5)
"""Age of the note that an asset's file is not used, after which that is looked up again, and the file goes."""
SHARE: Final = 2.0
"""Seconds of one look for each of what is swept up, after which nothing more is begun: others wait for the same thread."""
_FEW: Final = 100
"""Of each, with one look."""
_STEPS: Final = 20
"""Of an operation on an environment, with one look."""


class ContentWorker(OnDemand):
    """Works content tasks with a worker that is there only while there are any; a `gnj.background.Ticker`. Organisations are served
    in turn, whatever each has waiting.

    Args:
        queue: Where they are.
        content: What they work with.
        concurrency: How many at once; greater than 0.
    """

    def __init__(self, queue: Queue, content: Content, *, concurrency: int) -> None:
        self._queue = queue
        self._closing = threading.Event()
        self._counted = Counted()
        content_handlers.register(self._counted, content, stopping=self._closing.is_set)
        source = TurnSource(queue, f"content:{secrets.token_hex(6)}", "content")
        super().__init__(source, self._counted, concurrency)

    @property
    def running(self) -> int:
        """How many tasks it is at."""
        return self._counted.running

    def tick(self) -> None:
        """Starts the worker when there is something for it, and stops it a while after there was."""
        self._tend(LINGER, wanted=bool(self.running) or is_ready(self._queue, TYPES))

    def close(self) -> None:
        """Lets each task end its step, and leaves the rest to the next claim."""
        self._closing.set()
        self._stop(_FAREWELL)


class ContentSweep:
    """Sweeps up after content jobs; a `Ticker`. Away go uploads that expired, files that nobody wants any more, environments
    whose making failed, those of which a removal was not ended, and what jobs that are over have written and not published, or
    pinned. What is derived from entries is brought up to date where a job published and did not live to do it, and what nobody can
    see any more goes with that.

    It looks about once a minute, and does a bounded part with each look, of each of these; the next look goes on after it. What
    one upload or environment cannot be rid of now does not keep the others.

    Args:
        queue: Where the content jobs are.
        content: What they work with.
    """

    def __init__(self, queue: Queue, content: Content) -> None:
        self._queue = queue
        self._content = content
        self._next = -math.inf
        self._until = math.inf
        """When the part that is under way has had its share of a look."""
        self._half: tuple[str, str, Json] | None = None
        """An environment that was not indexed to the end: its tenant, its id, where to go on."""
        store = content.store
        self._rounds = (
            _Round(
                "upload",
                lambda after: queue.expired_uploads(_FEW, grace=LATE, after=after),
                lambda upload: (upload, upload.upload_id),
                self._sweep_upload,
            ),
            _Round(
                "file",
                lambda after: queue.unwanted_files(_FEW, after=after or 0),
                lambda file: (file.id, file.key),
                self._sweep_file,
            ),
            _Round(
                "environment",
                lambda after: store.unmade(UNMADE, _FEW, after=after),
                lambda found: (found[1], found[1]),
                self._sweep_environment,
            ),
            _Round(
                "work of the content job",
                lambda after: store.held(_FEW, after=after or 0),
                lambda found: (found[1].job, found[1].job),
                self._sweep_holder,
            ),
            _Round(
                "index of the environment",
                lambda after: store.behind(_FEW, after=after) if self._half is None else [self._half[:2]],
                lambda found: (found[1], found[1]),
                self._sweep_behind,
            ),
        )

    def tick(self) -> None:
        """Looks, if it is time."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + EVERY * SystemRandom().uniform(0.8, 1.2)
        for each in self._rounds:
            self._until = time.monotonic() + SHARE
            each.look(self._is_over)

    def close(self) -> None:
        """Nothing was started."""

    def _is_over(self) -> bool:
        return time.monotonic() >= self._until

    def _sweep_upload(self, upload: Upload) -> None:
        self._content.files.drop(upload.tenant, upload.key, upload.backend)
        self._queue.drop_upload(upload.id)

    def _sweep_file(self, file: Upload) -> None:
        if self._queue.is_file_read(file.tenant, file.key):
            return
        if file.key.startswith(PREFIX):
            # an import may have found the file, and not written so yet; a copy may have, and not committed it
            if self._queue.storage.now() - file.created_at < SETTLED or self._imports_assets(file.tenant):
                return
            if self._content.store.asset_file(file.tenant, file.key) is not None:
                self._queue.drop_upload(file.id)
                return
            if self._imports_assets(file.tenant):
                return
        self._content.files.remove(file.tenant, file.key)
        self._queue.drop_upload(file.id)

    def _imports_assets(self, tenant: str) -> bool:
        asked = equal(ContentJob, tenant=tenant, type=ContentType.IMPORT_ASSETS, status=tuple(CONTENT_UNFINISHED))
        return self._queue.storage.exists(ContentJob, asked)

    def _sweep_environment(self, found: tuple[str, str, int | None]) -> None:
        tenant, environment, owner = found
        if owner is None:
            for row in self._queue.unfinished_content_jobs(tenant, ContentType.CREATE_ENVIRONMENT):
                if row.params["environment"] == environment:  # whoever made the job was killed before it could say so
                    self._content.store.own(tenant, environment, row.id)
                    return
        elif not self._queue.content_over(tenant, owner):
            return
        self._steps(tenant, DropEnvironment(environment_id=environment), None)

    def _sweep_holder(self, found: tuple[str, Holder]) -> None:
        tenant, holder = found
        if self._queue.content_over(tenant, holder.job):
            self._content.store.abandon(tenant, holder, within=SHARE)
            self._content.store.unpin(tenant, holder)

    def _sweep_behind(self, found: tuple[str, str]) -> None:
        tenant, environment = found
        half = self._half
        if self._is_coming(tenant, environment) if half is None else half[:2] != found:
            return
        self._half = None
        operation = Reindex(environment_id=environment, what="general")
        left = self._steps(tenant, operation, None if half is None else half[2])
        if left is not None:
            self._half = (tenant, environment, left)

    def _is_coming(self, tenant: str, environment: str) -> bool:
        """Whether a job that has changed the environment is going to index it."""
        rows = self._queue.unfinished_content_jobs(tenant)
        return any(environment in works.changed(row) for row in rows)

    def _steps(self, tenant: str, operation: Operation, cursor: Json) -> Json:
        """Does a few steps of an operation; where to go on, None if it is over."""
        for _ in range(_STEPS):
            step = self._content.store.step(tenant, Holder(0, 0, 0), operation, cursor)
            cursor = step.cursor
            if step.over:
                return None
            if self._is_over():
                break
        return cursor


class _Round:
    """Goes through a list, a part with each look, and from its beginning again after its end: what stays in it, for whatever
    reason, is passed over, and keeps nothing from what comes after it.

    Args:
        name: Of one thing in the list, for the log.
        find: The next things after a key; None: the first ones. Fewer than `_FEW`: there are no more.
        key: The key of a thing, and what it is called in the log.
        sweep: Deals with a thing.
    """

    def __init__(
        self,
        name: str,
        find: Callable[[Any], Sequence[Any]],
        key: Callable[[Any], tuple[Any, object]],
        sweep: Callable[[Any], None],
    ) -> None:
        self._name = name
        self._find = find
        self._key = key
        self._sweep = sweep
        self._after: Any = None

    def look(self, is_over: Callable[[], bool]) -> None:
        """Deals with the next things, until it is over. At least with one, if there is any."""
        try:
            found = self._find(self._after)
        except Exception as error:
            logger.warning("nothing is swept up now: %s", error, exc_info=_is_odd(error))
            return
        for each in found:
            self._after, called = self._key(each)
            try:
                self._sweep(each)
            except Exception as error:
                logger.warning("the %s %s stays for now: %s", self._name, called, error, exc_info=_is_odd(error))
            if is_over():
                return
        if len(found) < _FEW:
            self._after = None


def _is_odd(error: Exception) -> bool:
    """Whether an error is none of those that may be and tell enough of themselves."""
    return not isinstance(error, (GnjError, Stale, OSError))
