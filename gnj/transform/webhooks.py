"""Webhooks: who wants to know is told when a run of a transformation job has ended.

A run's end enqueues a job, in its own transaction, whose input is what is told (`gnj.queue.runs`); the handler here posts it, signed as
the calls of push workers are (docs/queues.md), and is tried again as any job is. What is told is the same with each try, and has
an id by which who gets it twice can tell.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NoReturn

from gnj.fetch.address import BadUrl
from gnj.fetch.client import Reply, call
from gnj.fetch.connection import Failure
from gnj.fetch.messages import phrase_of
from gnj.fetch.policy import Blocked
from gnj.push.signing import signature
from gnj.queue import transforms
from gnj.queue.errors import Failed, InvalidInput
from gnj.queue.model import Job
from gnj.queue.model_transform import TransformJob
from gnj.queue.pushing import MAX_SECRET, MIN_SECRET
from gnj.queue.runs import EVENT
from gnj.queue.values import Json, check_text, dump_json
from gnj.transform.errors import BadSource, SourceFailed
from gnj.transform.sources import Http, Secrets
from gnj.transform.sources.opening import check_address
from gnj.transform.sources.sealing import NO_KEY
from gnj.transform.sources.source import MAX_URL

if TYPE_CHECKING:
    from gnj.transform.application import Transform

SECONDS: Final = 10.0
"""Within which a call must be answered: it keeps a thread for that long."""
_MOST: Final = 1024 * 1024
"""Bytes of an answer, of which nothing but the status counts."""
_KEY: Final = "SECRET"
_ID: Final = re.compile(r"[0-9]{1,18}")
_EVENT: Final = re.compile(rf"{re.escape(EVENT)}:{_ID.pattern}")


class Webhooks:
    """What is stored of webhooks, and the way to them.

    Args:
        http: The way, and where it may lead: that of sources.
        secrets: Encrypts what calls are signed with.
    """

    def __init__(self, http: Http, secrets: Secrets) -> None:
        self._http = http
        self._secrets = secrets

    def stored(self, url: str, secret: str | None) -> dict[str, Any]:
        """A webhook as it is stored; without a secret, which then stays as it is. Raises `InvalidInput`, `AddressRefused`."""
        try:
            check_address(check_text(url, "url", maximum=MAX_URL), self._http.policy)
        except BadUrl as error:
            raise InvalidInput(f"url: {error}") from None
        return {"webhook_url": url} if secret is None else {"webhook_url": url, "webhook_secret": self._sealed(secret)}

    def post(self, job: TransformJob, body: bytes, headers: dict[str, str]) -> Reply:
        """Calls the webhook of a job, which has one. Raises `Blocked`, `Failure`, TimeoutError; `SourceFailed` where the secret cannot be
        read.
        """
        secret, timestamp = self._secrets.decrypt(job.webhook_secret)[_KEY], int(time.time())
        self._http.pool.sweep()  # what earlier calls have left open: nobody else does it
        signed = {"gnj-timestamp": str(timestamp), "gnj-signature": signature(secret, timestamp, body)}
        return call(
            job.webhook_url or "",
            method="POST",
            headers={"Content-Type": "application/json", "User-Agent": "gnj", **headers, **signed},
            body=body,
            timeout=SECONDS,
            most=_MOST,
            policy=self._http.policy,
            pool=self._http.pool,
        )

    def _sealed(self, secret: str) -> str | None:
        if not MIN_SECRET <= len(secret) <= MAX_SECRET or not secret.isprintable():
            raise InvalidInput(
                f"secret must have from {MIN_SECRET} to {MAX_SECRET} characters, and none that controls anything"
            )
        try:
            return self._secrets.encrypt({_KEY: secret})
        except BadSource:
            raise InvalidInput(f"the secret cannot be stored: {NO_KEY}") from None


def handled(transform: Transform) -> Callable[[Job], Json]:
    """The handler of `gnj.queue.model_transform.WEBHOOK`."""

    def handle(job: Job) -> Json:
        event, id = _event(job.input)
        if event is None or id is None:
            _give_up(transform, job, "its input is not what is told of a run: id and jobId do not name one")
        found = transform.queue.storage.get(TransformJob, id, tenant=job.tenant)
        if found is None or found.removed_at is not None or found.webhook_url is None:
            return {"skipped": "the job has no webhook any more"}
        headers = {"gnj-event-id": event, "gnj-job-id": str(job.id), "gnj-attempt": str(job.attempt)}
        try:
            reply = transform.parts.webhooks.post(found, dump_json(job.input).encode(), headers)
        except Blocked as error:
            _give_up(transform, job, f"the webhook's address may not be called: {error}")
        except SourceFailed:
            raise Failed("the webhook's secret cannot be read with the keys that are configured") from None
        except Failure as error:
            raise Failed(f"the webhook cannot be reached: {error}") from None
        except TimeoutError:
            raise Failed(f"the webhook took more than {SECONDS:g} s to answer") from None
        if not 200 <= reply.status < 300:
            raise Failed(f"the webhook answered {reply.status} {phrase_of(reply.status)}")
        return {"status": reply.status}

    return handle


def _event(told: Json) -> tuple[str | None, int | None]:
    """The ids of an event and of its transformation job, of what `gnj.queue.runs` tells; None, where it is none of that."""
    given = told if isinstance(told, dict) else {}
    event, id = given.get("id"), given.get("jobId")
    return (
        event if isinstance(event, str) and _EVENT.fullmatch(event) else None,
        int(id) if isinstance(id, str) and _ID.fullmatch(id) else None,
    )


def _give_up(transform: Transform, job: Job, why: str) -> NoReturn:
    """Fails for good: no other try can do better."""
    transform.queue.run(lambda unit: transforms.give_up(unit, job))
    raise Failed(why) from None
