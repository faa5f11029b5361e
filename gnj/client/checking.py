"""What `check_for_jobs` does (jobs contract, section 11), as a generator: it says what is to be asked, called or waited for,
and is sent what came of it. One logic, whoever carries it out.

What GNJ 5.1.0 gets wrong (B25) is not done here: a server that does not answer is asked again, the end of a job is told
until it is taken and can be told only by who holds the claim, and a loop can be stopped.
"""

from __future__ import annotations

import inspect
import logging
import secrets
import socket
import traceback
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import SystemRandom  # that of the module `random` is the host's, who may have seeded it
from typing import Any, TypeAlias

from gnj.client import operations
from gnj.client.errors import ClientError, Unreachable
from gnj.client.protocol import Operation
from gnj.queue.errors import CancelRequested, InvalidInput, LeaseLost
from gnj.queue.retry import Exponential
from gnj.queue.states import JobStatus
from gnj.queue.values import check_bool, check_seconds, check_word, clean_text

logger = logging.getLogger("gnj.client")

CANCELLED = "A job cancelation was requested !"
"""The message of the original (section 11)."""
_WAIT = Exponential(0.1, maximum=5.0, jitter=0.5)
_HERE = str(Path(__file__).parent)
"""The frames of this package say nothing to who reads why a job failed."""
_TELL = 12
"""Tries to tell how a job ended: about half a minute."""

Job: TypeAlias = dict[str, Any]
"""A job as it is on the wire: camelCase keys, dates as texts."""


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask the server; its answer is sent back, `ClientError` thrown."""

    operation: Operation


@dataclass(frozen=True, slots=True)
class Call:
    """Call the function with a job; what it returns is sent back, what it raises is thrown."""

    job: Job


@dataclass(frozen=True, slots=True)
class Wait:
    """Wait so many seconds, or until told to stop; whether to stop is sent back."""

    seconds: float


Steps: TypeAlias = Generator[Ask | Call | Wait, Any, Job | None]


@dataclass(frozen=True, slots=True)
class Check:
    """The arguments of `check_for_jobs`, checked."""

    types: Sequence[str]
    worker_id: str
    worker_type: str | None
    looping: bool
    loop_time: float

    @classmethod
    def of(
        cls, type_list: object, worker_id: str | None, worker_type: str | None, looping: object, loop_time: object
    ) -> Check:
        """Raises `InvalidInput`."""
        return cls(
            types=operations.check_type_list(type_list),
            worker_id=_own_name() if worker_id is None else check_word(worker_id, "worker_id"),
            worker_type=None if worker_type is None else check_word(worker_type, "worker_type"),
            looping=check_bool(looping, "looping"),
            loop_time=check_seconds(loop_time, "loop_time"),
        )

    def steps(self) -> Steps:
        """Claims jobs and has them run: one, and gives it as it ended (None: there was none), or one after the other until
        told to stop.
        """
        failures = 0
        while True:
            try:
                job = yield Ask(operations.acquire(self.types, self.worker_id, self.worker_type))
            except Unreachable as error:
                if not self.looping:
                    raise
                failures += 1
                logger.warning("cannot ask for jobs, trying again: %s", error)
                if (yield Wait(max(_pause(failures), error.retry_after or 0.0))):
                    return None
                continue
            failures = 0
            ended = None if job is None else (yield from self._run(job))
            if not self.looping:
                return ended
            if (yield Wait(0.0 if job is not None else self.loop_time)):
                return None

    def _run(self, job: Job) -> Steps:
        try:
            output = yield Call(job)
            outcome = _outcome(job, JobStatus.SUCCESSFUL, output)
            operations.update(outcome)  # raises for what is no JSON
        except CancelRequested as stopped:
            text = clean_text(str(stopped.message)) or CancelRequested().message
            outcome = _outcome(job, JobStatus.CANCELLED, {"cancelMessage": text})
        except Exception as error:  # noqa: BLE001 - whatever the function raises
            outcome = _failed(job, error)
        except BaseException:
            # interrupted: nobody knows how far it came, so somebody shall begin again
            try:
                yield Ask(operations.release(job))
            except ClientError as error:
                logger.warning("job %s could not be given back: %s", job["id"], error)
            raise
        try:
            try:
                return (yield from self._tell(outcome))
            except ClientError as error:
                mine = not isinstance(error, Unreachable) and error.code != LeaseLost.code
                if not mine or outcome["status"] != JobStatus.SUCCESSFUL:
                    raise
                refusal = error
            return (yield from self._tell(_failed(job, refusal)))
        except ClientError as error:
            if not self.looping:
                raise
            logger.error("job %s: how it ended cannot be told: %s", job["id"], error)  # noqa: TRY400 - no bug of ours
            return None

    def _tell(self, outcome: Mapping[str, Any]) -> Steps:
        """The job with that outcome; the same again is a success, so a lost answer does no harm (section 0, point 6)."""
        operation = operations.update(outcome)
        for failures in range(1, _TELL):
            try:
                job: Job = yield Ask(operation)
            except Unreachable as error:
                logger.warning("cannot tell how job %s ended, trying again: %s", outcome["id"], error)
                if (yield Wait(max(_pause(failures), error.retry_after or 0.0))):
                    break
            else:
                return job
        last: Job = yield Ask(operation)
        return last


class Updates:
    """What a function is given besides its job: `updateProcessingInfo` (section 11), under its name in Python.

    Args:
        job: The job.
        cancel_on_request: Whether an answer that tells of a requested cancellation raises `CancelRequested`.
        ask: Asks the server.
    """

    def __init__(self, job: Job, cancel_on_request: bool, ask: Callable[[Operation], Any]) -> None:  # noqa: FBT001
        self._job = job
        self._cancel = cancel_on_request
        self._ask = ask

    def update_processing_info(self, info: Any) -> Any:
        """Replaces the job's processingInfo, of whose steps those named keep their attributes (section 7).

        In `check_for_jobs_async` it is to be awaited. Raises `ClientError`, `InvalidInput`; `CancelRequested` where that
        is asked for.
        """
        answer = self._ask(operations.update({**_fence(self._job), "processingInfo": info}))
        return self._later(answer) if inspect.isawaitable(answer) else self._check(answer)

    async def _later(self, answer: Any) -> None:
        self._check(await answer)

    def _check(self, job: Job) -> None:
        if self._cancel and job["status"] == JobStatus.CANCEL_REQUESTED:
            raise CancelRequested(CANCELLED)


def drive(steps: Steps, carry_out: Callable[[Ask | Call | Wait], Any]) -> Job | None:
    """Carries out steps in this thread; what they end with."""
    go, value = _first(steps)
    while True:
        try:
            step = go(value)
        except StopIteration as end:
            return _ended(end)
        try:
            go, value = steps.send, carry_out(step)
        except BaseException as error:  # noqa: BLE001 - the steps decide what it means
            go, value = steps.throw, error


async def drive_async(steps: Steps, carry_out: Callable[[Ask | Call | Wait], Awaitable[Any]]) -> Job | None:
    """Likewise on an event loop."""
    go, value = _first(steps)
    while True:
        try:
            step = go(value)
        except StopIteration as end:
            return _ended(end)
        try:
            go, value = steps.send, await carry_out(step)
        except BaseException as error:  # noqa: BLE001 - likewise
            go, value = steps.throw, error


def _first(steps: Steps) -> tuple[Callable[[Any], Ask | Call | Wait], Any]:
    return steps.send, None


def _ended(end: StopIteration) -> Job | None:
    job: Job | None = end.value
    return job


def takes_updates(fn: object) -> bool:
    """Whether a function is called with a job and `Updates`, not with a job alone. Raises `InvalidInput`."""
    if not callable(fn):
        raise InvalidInput("a function must be given that runs a job")
    try:
        parameters = inspect.signature(fn).parameters.values()
    except (TypeError, ValueError):
        return False
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(parameter.kind in positional for parameter in parameters) > 1


def _fence(job: Job) -> dict[str, Any]:
    return {"id": job["id"], "attempt": job["attempt"]}


def _outcome(job: Job, status: JobStatus, output: Any) -> dict[str, Any]:
    """None leaves the output as it is, as undefined does in the original."""
    told = {**_fence(job), "status": status.value}
    return told if output is None else {**told, "output": output}


def _failed(job: Job, error: Exception) -> dict[str, Any]:
    return _outcome(job, JobStatus.FAILED, {"error": _described(error)})


def _described(error: Exception) -> str:
    """`[ValueError: no] Stack: Traceback …`: the shape that readers of the original's outputs know."""
    begin = error.__traceback__
    while begin is not None and begin.tb_frame.f_code.co_filename.startswith(_HERE):
        begin = begin.tb_next
    try:
        said = str(error)
        stack = "".join(traceback.format_exception(type(error), error, begin))
        return clean_text(f"[{type(error).__name__}{': ' if said else ''}{said}] Stack: {stack}")
    except Exception:  # noqa: BLE001 - an exception of the function may be broken itself
        return f"[{type(error).__name__}] Stack: none available"


def _pause(failures: int) -> float:
    return _WAIT.wait(min(failures, 20), SystemRandom().random)


def _own_name() -> str:
    return f"{socket.gethostname()[:100]}-{secrets.token_hex(6)}"
