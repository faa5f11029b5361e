"""What a handler's answer, its exception or its silence means for the job."""

from __future__ import annotations

import inspect
import logging
import traceback
from typing import Any, Final

from gnj.queue.ends import Outcome
from gnj.queue.errors import CancelRequested, Failed, InvalidInput, Snooze
from gnj.queue.model import Job
from gnj.queue.states import JobStatus
from gnj.queue.values import check_json, check_seconds, clean_text

logger = logging.getLogger("gnj.worker")

_SUCCESSFUL: Final = JobStatus.SUCCESSFUL  # of the class it takes 0.1 µs each time
_LOGGED = 500
"""Characters of an error in the log."""


def returned(claim: Job, value: Any) -> Outcome:
    """The handler came back with `value`: success, or a failure that says why `value` cannot be an output."""
    if value is None:
        return Outcome(claim, _SUCCESSFUL)
    if inspect.iscoroutine(value):
        value.close()
        return _failed(claim, "TypeError: the handler returned a coroutine: make it an async def")
    try:
        return Outcome(claim, _SUCCESSFUL, check_json(value, "output"))
    except InvalidInput as error:
        return _failed(claim, described(error))


def raised(claim: Job, error: BaseException) -> Outcome:
    """The handler raised: cancelled by `CancelRequested`, given back by `Snooze`, else failed, with the traceback."""
    if isinstance(error, CancelRequested):
        return Outcome(claim, JobStatus.CANCELLED, {"cancelMessage": clean_text(str(error.message))})
    if isinstance(error, Snooze):
        try:
            return Outcome(claim, JobStatus.QUEUED, delay=check_seconds(error.delay, "the delay of Snooze"))
        except InvalidInput as wrong:
            return _failed(claim, described(wrong), _trace(error))
    return _failed(claim, described(error), _trace(error))


def timed_out(claim: Job) -> Outcome:
    """The handler did not come back in time."""
    return _failed(claim, f"timed out after {claim.timeout:g} s")


def not_begun(claim: Job) -> Outcome:
    """Its cancellation was requested before its handler was called."""
    return Outcome(claim, JobStatus.CANCELLED, {"cancelMessage": "cancelled before it began"})


def log(claim: Job, outcome: Outcome) -> None:
    """Says that a try has failed; the traceback is kept in the job's history of attempts."""
    text = outcome.output.get("error") if isinstance(outcome.output, dict) else None
    logger.warning(
        "job %d (%s), claim %d failed: %s",
        claim.id,
        claim.type,
        claim.attempt,
        str(text)[:_LOGGED],
        extra={"job_id": claim.id, "job_type": claim.type, "attempt": claim.attempt},
    )


def described(error: BaseException) -> str:
    """`ValueError: message`, storable; the bare name where there is no message, or none can be had. Of `Failed`, the reason."""
    if isinstance(error, Failed):
        return clean_text(str(error.reason))
    name = type(error).__name__
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - a handler's exception may be broken itself
        text = ""
    return clean_text(f"{name}: {text}" if text else name)


def _failed(claim: Job, text: str, trace: str | None = None) -> Outcome:
    return Outcome(claim, JobStatus.FAILED, {"error": text}, trace or text)


def _trace(error: BaseException) -> str | None:
    below = error.__traceback__.tb_next if error.__traceback__ else None  # the first frame is the worker's own
    try:
        return clean_text("".join(traceback.format_exception(type(error), error, below)))
    except Exception:  # noqa: BLE001 - likewise
        return None
