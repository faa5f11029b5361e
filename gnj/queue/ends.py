"""How claims end: one by one for those who want the job as it then is, many at once for workers."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

from gnj.queue import jobs
from gnj.queue.errors import Conflict, GnjError, InvalidInput, LeaseLost, StorageUnavailable
from gnj.queue.gate import Gated
from gnj.queue.making import quick
from gnj.queue.model import Batch, Job, Pipeline
from gnj.queue.states import JOB_CLAIMED, JOB_MOVES, JobStatus
from gnj.queue.unit import Unit
from gnj.queue.values import Json, check_int, check_json, check_seconds, clean_text, shown

_SUCCESSFUL: Final = JobStatus.SUCCESSFUL  # of the class it takes 0.1 µs each time
_RELEASED = JOB_MOVES["release"].changes(JobStatus.PROCESSING)


@quick
@dataclass(frozen=True, slots=True)
class Outcome:
    """How a claim ended: what a worker tells.

    Args:
        claim: The job as it was claimed.
        status: successful, failed or cancelled; queued: the claim is given back, nothing is counted.
        output: The job's output; None leaves it as it is.
        error: What the history keeps of a failure, such as a traceback.
        delay: Seconds after which one that is given back may be claimed again.
    """

    claim: Job
    status: JobStatus
    output: Json = None
    error: str | None = None
    delay: float | None = None


_MOMENT: Final = 0.02
"""Seconds after which who still has a batch locked is not just ending another of its jobs."""


class Locked(StorageUnavailable):
    """Somebody else's transaction has the job locked: nothing was changed yet, and trying again can help."""


class Ends(Gated):
    """The commands that end claims."""

    def succeed(self, claim: Job, output: Json = None) -> Job:
        """Ends a claim well. Raises `LeaseLost`; telling the same end twice is a success."""
        return self._end(Outcome(claim, JobStatus.SUCCESSFUL, output))

    def fail(self, claim: Job, error: str | None = None, *, output: Json = None, traceback: str | None = None) -> Job:
        """Ends a try with an error: the job waits for its next one, or has failed when none is left.

        The output becomes `{"error": error}` unless one is given; the traceback goes to the history of attempts. A text
        that could not be stored as it is loses what stands in the way, for a failure must be told.
        """
        if not isinstance(error, (str, type(None))):
            raise InvalidInput(f"error must be a string, not {shown(error)}")
        if output is None:
            output = {"error": clean_text(error) if error is not None else "failed"}
        return self._end(Outcome(claim, JobStatus.FAILED, output, traceback or error))

    def cancelled(self, claim: Job, message: str) -> Job:
        """Ends a claim as cancelled, with the output `{"cancelMessage": message}`."""
        return self._end(Outcome(claim, JobStatus.CANCELLED, {"cancelMessage": message}))

    def settle(self, outcomes: Sequence[Outcome]) -> list[Job | GnjError]:
        """Ends many claims, each on its own: the job, or the error (`LeaseLost` …) in its place.

        Successes share one statement and one commit, and so does what their batches and pipelines do about them.
        """
        results: list[Job | GnjError | None] = [None] * len(outcomes)
        checked: list[tuple[int, Outcome]] = []
        for place, outcome in enumerate(outcomes):
            try:
                checked.append((place, replace(outcome, output=check_json(outcome.output, "output"))))
            except GnjError as error:
                results[place] = error
        succeeded = [(place, outcome) for place, outcome in checked if outcome.status is JobStatus.SUCCESSFUL]
        for (place, _), job in zip(succeeded, self._together([outcome for _, outcome in succeeded]), strict=True):
            results[place] = job
        for place, outcome in checked:
            if results[place] is None:
                results[place] = self._answer(outcome)
        return [result for result in results if result is not None]

    def finish(self, outcomes: Sequence[Outcome]) -> list[Job | GnjError | None]:
        """`settle` for who needs no more than the errors, and whose outputs are checked: None in the place of many a job.

        Where nobody has to be told of successes, those of jobs without batch and pipeline share one statement that sends no
        row back. None waits for a job that somebody else's transaction has locked, and keeps all others waiting: it is
        `Locked`, to be told again.
        """
        results: list[Job | GnjError | None] = [None] * len(outcomes)
        left: Sequence[int] = range(len(outcomes))
        if self.unheard("succeeded"):
            lean = [place for place in left if _is_lean(outcomes[place])]
            told = outcomes if len(lean) == len(outcomes) else [outcomes[place] for place in lean]
            ends = [((claim := outcome.claim).id, claim.attempt, outcome.output) for outcome in told]
            done = self._completed(told, ends) if ends else []
            if done.count(True) == len(outcomes):
                return results
            ended = {place for place, applied in zip(lean, done, strict=True) if applied}
            left = [place for place in left if place not in ended]
        locked = self._locked([outcomes[place].claim for place in left])
        for place in left:
            if outcomes[place].claim.id in locked:
                results[place] = Locked()
        left = [place for place in left if results[place] is None]
        for place, result in zip(left, self.settle([outcomes[place] for place in left]), strict=True):
            results[place] = result
        return results

    def release(self, claims: Iterable[Job]) -> list[Job]:
        """Gives claims back, counting nothing but the claim itself; those that are over already are left out."""
        released = []
        for claim in claims:
            with suppress(LeaseLost):
                released.append(self.snooze(claim.id, claim.attempt))
        return released

    def give_back(self, claims: Sequence[Job]) -> frozenset[int]:
        """`release` for who needs no answer: those of jobs without batch and pipeline share one statement. The ids of those whose jobs
        somebody else's transaction has locked: to be given back again a little later.
        """
        left = claims
        if self.unheard("cancelled"):
            ends = [(claim.id, claim.attempt, None) for claim in claims]

            def command(unit: Unit) -> list[bool]:
                unit.ready = True
                return unit.tx.complete(ends, (JobStatus.PROCESSING,), _RELEASED)

            left = [claim for claim, done in zip(claims, self.run(command) if ends else [], strict=True) if not done]
        locked = self._locked(left)
        self.release([claim for claim in left if claim.id not in locked])
        return locked

    def snooze(self, id: int, attempt: int, delay: float | None = None, *, tenant: str | None = None) -> Job:
        """Gives one claim back, to be handed out again after `delay` seconds at the earliest; nothing is counted.

        Cancelled instead, if that was asked for. Raises `LeaseLost`.
        """
        seconds = None if delay is None else check_seconds(delay, "delay")
        token = (check_int(id, "id"), check_int(attempt, "attempt"))

        def command(unit: Unit) -> Job:
            job = jobs.release(unit, tenant, *token, delay=seconds)
            self._frees(unit, job)
            return job

        return self.run(command)

    def _completed(self, outcomes: Sequence[Outcome], ends: Sequence[tuple[int, int, Json]]) -> list[bool]:
        done = self.alone(lambda: self.storage.complete(ends, JOB_CLAIMED, jobs.SUCCEEDED))
        if self._gates.limited:
            self._freed(outcome.claim.type for outcome, applied in zip(outcomes, done, strict=True) if applied)
        return done

    def _locked(self, claims: Sequence[Job]) -> frozenset[int]:
        """The ids of those jobs that somebody else's transaction has locked, or whose batch or pipeline it has."""
        if not claims:
            return frozenset()
        found = set(self._held(Job, {claim.id for claim in claims}))
        kinds: tuple[tuple[type[Batch | Pipeline], str], ...] = ((Batch, "batch_id"), (Pipeline, "pipeline_id"))
        for kind, name in kinds:
            held = self._held(kind, {getattr(claim, name) for claim in claims} - {None})
            if held:  # ends of other members have it for some milliseconds
                time.sleep(_MOMENT)
                held = self._held(kind, held)
            found.update(claim.id for claim in claims if getattr(claim, name) in held)
        return frozenset(found)

    def _held(self, kind: type[Job | Batch | Pipeline], ids: Collection[int]) -> frozenset[int]:
        return self.alone(lambda: self.storage.locked(kind, sorted(ids))) if ids else frozenset()

    def _end(self, outcome: Outcome) -> Job:
        (result,) = self.settle([outcome])
        if isinstance(result, GnjError):
            raise result
        return result

    def _together(self, outcomes: Sequence[Outcome]) -> list[Job | None]:
        if not outcomes:
            return []
        ends = [(outcome.claim, outcome.output) for outcome in outcomes]

        def command(unit: Unit) -> list[Job | None]:
            done = jobs.succeed_together(unit, ends)
            self._frees(unit, *done)
            return done

        try:
            return self.run(command, tries=1)
        except Conflict:  # alone, each finds the parents it has now
            return [None] * len(outcomes)

    def _answer(self, outcome: Outcome) -> Job | GnjError:
        try:
            return self._alone(outcome)
        except GnjError as error:
            return error

    def _alone(self, outcome: Outcome) -> Job:
        if outcome.status is JobStatus.QUEUED:
            return self.snooze(outcome.claim.id, outcome.claim.attempt, outcome.delay)
        values = {"status": outcome.status}
        if outcome.output is not None:
            values["output"] = outcome.output
        change = jobs.Update(id=outcome.claim.id, values=values, attempt=outcome.claim.attempt, error=outcome.error)

        def command(unit: Unit) -> Job:
            job = jobs.update(unit, None, change)
            self._frees(unit, job)
            return job

        return self.run(command)


def _is_lean(outcome: Outcome) -> bool:
    return outcome.status is _SUCCESSFUL and not outcome.claim.is_member
