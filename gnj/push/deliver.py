"""One push: the job as a request, the answer as the end of the job."""

from __future__ import annotations

import logging
import threading
import time
from typing import Final

from gnj.api.queues.jobjson import job_json
from gnj.fetch.client import Reply, call
from gnj.fetch.connection import UNREACHABLE, Failure, Pool
from gnj.fetch.policy import Blocked, Policy
from gnj.push.signing import signature
from gnj.queue import naming, pushing
from gnj.queue.errors import Failed, InvalidInput, Snooze, StorageError
from gnj.queue.model import Job, PushWorker
from gnj.queue.service import Queue
from gnj.queue.values import MAX_JSON_BYTES, Json, clean_text, dump_json, parse_json

logger = logging.getLogger("gnj.push")

ABORTED: Final = "The operation was aborted."
"""Why a try failed whose time ran out, in the contract's words."""
_MAX_REASON: Final = 200
_AGAIN: Final = 1.0
"""Seconds after which a job is looked at again that could not be told of, as the database did not answer."""


class Deliveries:
    """Calls the endpoint of a registration, and counts how often in a row that failed.

    Args:
        queue: The jobs.
        registration: Which endpoint.
        policy: Where calls may lead.
        pool: What calls share.
    """

    def __init__(self, queue: Queue, registration: PushWorker, policy: Policy, pool: Pool) -> None:
        self._queue = queue
        self._registration = registration
        self._policy = policy
        self._pool = pool
        self._lock = threading.Lock()
        self._headers = {"Content-Type": "application/json", "User-Agent": "gnj"}
        for name, value in (registration.headers or {}).items():
            known = next((each for each in self._headers if each.lower() == name.lower()), name)
            self._headers[known] = value
        self.failed = registration.failed
        """Calls in a row that got no answer, or one of 500 and more."""

    @property
    def is_disabled(self) -> bool:
        """Whether so many failed that the endpoint is not to be called any more."""
        return self.failed >= pushing.MOST_FAILED

    def deliver(self, job: Job) -> Json:
        """Calls the endpoint for a claimed job; what it answers is the job's result.

        Raises `Failed` for anything but a success; `Snooze` where no call was made, such as for a job that was claimed ahead of
        the call that was one failure too many.
        """
        if self.is_disabled:
            raise Snooze
        seconds = self._registration.timeout_ms / 1000
        if job.timeout is not None:
            seconds = min(seconds, job.timeout)
        try:
            body = self._body(job)
        except StorageError:
            raise Snooze(_AGAIN) from None
        timestamp = int(time.time())
        headers = {
            **self._headers,
            "gnj-job-id": _header(naming.id_of(job)),
            "gnj-attempt": str(job.attempt),
            "gnj-timestamp": str(timestamp),
            "gnj-signature": signature(self._registration.secret, timestamp, body),
        }
        try:
            reply = call(
                self._registration.url,
                method=self._registration.method,
                headers=headers,
                body=body,
                timeout=seconds,
                most=MAX_JSON_BYTES,
                policy=self._policy,
                pool=self._pool,
            )
        except TimeoutError:
            raise self._failure(ABORTED) from None
        except Failure as error:
            raise self._failure(str(error)) from None
        except Blocked as error:
            logger.warning("the endpoint of the queue %s may not be called: %s", self._registration.type, error)
            raise self._failure(UNREACHABLE) from None
        if reply.status >= 500:
            raise self._failure(_reason(reply))
        self._answered()
        if not 200 <= reply.status < 300:
            raise Failed(_reason(reply))
        return _result(reply)

    def _body(self, job: Job) -> bytes:
        token = self._queue.claim_token(job)
        errors = self._queue.errors_of([job]).get(job.id, ())
        told = job_json(job, errors, job.updated_at)
        return dump_json({"job": {**told, "token": token}, "token": token}).encode()

    def _failure(self, reason: str) -> Failed:
        with self._lock:
            self.failed += 1
        return Failed(reason)

    def _answered(self) -> None:
        if self.failed:
            with self._lock:
                self.failed = 0


def _result(reply: Reply) -> Json:
    if reply.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json":
        try:
            return parse_json(reply.body, "the answer")
        except InvalidInput as error:
            raise Failed(str(error)) from None
    return reply.body.decode("utf-8", "replace").replace("\0", "\ufffd")


def _reason(reply: Reply) -> str:
    return clean_text(reply.reason, _MAX_REASON)


def _header(text: str) -> str:
    """A job's id as a header can carry it: percent-encoded where it is more than visible ASCII. Blanks are, for those at the ends of a
    header's value are nobody's.
    """
    return "".join(c if 0x21 <= ord(c) <= 0x7E and c != "%" else "".join(f"%{b:02X}" for b in c.encode()) for c in text)
