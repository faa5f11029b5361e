"""Claim tokens: how somebody who was handed a job, and cannot reach the queue itself, proves which claim it holds.

`gnjl_ID.ATTEMPT.SIGNATURE`: an HMAC, with a secret that all servers of a database share, of what names the claim for good.
Nothing is stored for one, and who knows the id and the attempt of a job cannot make one. It is worth nothing once the claim is
over, in another queue, or where an API token is asked for: none of those begins like it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from gnj.queue.model import Job
from gnj.queue.states import JOB_CLAIMED
from gnj.queue.values import MAX_INT64

PREFIX: Final = "gnjl_"
"""How every claim token begins."""
SECRET: Final = "claims"  # noqa: S105 - what it is called
"""The name of the secret that they are signed with (`model.Secret`)."""

_SHAPE: Final = re.compile(r"gnjl_([1-9][0-9]{0,18})\.([1-9][0-9]{0,18})\.([A-Za-z0-9_-]{43})")


@dataclass(frozen=True, slots=True)
class Shown:
    """What a token says, which proves nothing yet."""

    id: int
    attempt: int
    signature: str


def new_secret() -> dict[str, Any]:
    """The row of a new secret: 256 random bits."""
    return {"name": SECRET, "value": secrets.token_hex(32)}


def token_of(secret: str, job: Job) -> str:
    """The token of the claim that `job`, as it was claimed, tells of."""
    return f"{PREFIX}{job.id}.{job.attempt}.{_signature(secret, job)}"


def read(token: str) -> Shown | None:
    """What a text says that may be a token; None if it is none."""
    found = _SHAPE.fullmatch(token)
    if found is None:
        return None
    id, attempt = int(found[1]), int(found[2])
    # no storage is asked for numbers that it could not hold
    return Shown(id, attempt, found[3]) if max(id, attempt) <= MAX_INT64 else None


def holds(secret: str, shown: Shown, job: Job, now: datetime) -> bool:
    """Whether a token is that of the claim which holds `job` at this moment, as the storage's clock has it."""
    signed = hmac.compare_digest(_signature(secret, job), shown.signature)
    alive = job.lease_expires_at is not None and job.lease_expires_at > now
    return signed and (job.id, job.attempt) == (shown.id, shown.attempt) and job.status in JOB_CLAIMED and alive


def _signature(secret: str, job: Job) -> str:
    # the numbers last: whatever the tenant is called, no two claims are written alike
    claim = f"claim|{job.tenant}|{job.id}|{job.attempt}"
    digest = hmac.new(bytes.fromhex(secret), claim.encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")
