"""What workers tell of a job that they hold - its progress, lines of its log - and the token by which they show that they do."""

from __future__ import annotations

from typing import Final

from gnj.queue import claimtokens, jobs, naming
from gnj.queue.errors import InvalidInput, LeaseLost, Unauthenticated
from gnj.queue.lists import MAX_LIMIT
from gnj.queue.model import Job, JobLog, attributes
from gnj.queue.shared_secret import SharedSecret
from gnj.queue.states import JOB_CLAIMED
from gnj.queue.storage import Select
from gnj.queue.unit import Unit
from gnj.queue.values import Json, check_int, check_json, check_text
from gnj.queue.where import And, Compare, equal

MAX_LINES: Final = 10_000
"""Lines of a job's log that are kept."""
MAX_LINE: Final = 64 * 1024
"""Bytes of a line, as UTF-8."""
CHECKED: Final = 16
"""With one of so many lines it is looked whether there are too many: to find the last one to keep takes a walk over all."""
_SPARE: Final = 1_000
"""Lines too many that go at once at most."""


class Logging(SharedSecret):
    """Claim tokens, and the commands that need one."""

    def claim_token(self, job: Job) -> str:
        """The token of the claim that holds the job, as it was claimed: proof of it, for who cannot reach the queue itself."""
        return claimtokens.token_of(self.shared_secret(), job)

    def by_claim_token(self, queue: str, id: str, token: str) -> Job:
        """The job with that id in that queue, which the claim of the token holds. Raises `Unauthenticated` for anything else."""
        shown = claimtokens.read(token)
        if shown is None:
            raise Unauthenticated
        secret = self.shared_secret()
        with self.storage.begin(write=False) as tx:
            job, now = tx.get(Job, shown.id), tx.now()
        if job is None or not claimtokens.holds(secret, shown, job, now):
            raise Unauthenticated
        if (job.type, naming.id_of(job)) != (queue, id):
            raise Unauthenticated
        return job

    def set_progress(self, claim: Job, progress: Json) -> Job:
        """Puts `progress`, any JSON of at most 4 MiB, in the place of what is stored as that of a claimed job.

        Steps that are named in both are laid over each other, as with every progress (`gnj.queue.progress`). Raises
        `InvalidInput`, `LeaseLost`.
        """
        values = {"progress": check_json(progress, "progress")}
        change = jobs.Update(id=claim.id, values=values, attempt=claim.attempt, replace=True)
        return self.run(lambda unit: jobs.update(unit, claim.tenant, change))

    def add_log(self, job: Job, line: str) -> None:
        """Adds a line to the log of a claimed job; beyond 10,000 the oldest goes.

        Args:
            job: As it was claimed.
            line: At most 64 KiB as UTF-8, without NUL and lone surrogates.

        Raises `InvalidInput`; `LeaseLost` where that claim does not hold the job any more.
        """
        text = check_text(line, "the log line", maximum=MAX_LINE)
        if (size := len(text.encode())) > MAX_LINE:
            raise InvalidInput(f"the log line must have at most {MAX_LINE:,} bytes, not {size:,}")

        def command(unit: Unit) -> None:
            now = unit.tx.get(Job, job.id, tenant=job.tenant)
            if now is None or now.attempt != job.attempt or now.status not in JOB_CLAIMED:
                raise LeaseLost
            unit.tx.insert(JobLog, [{"tenant": job.tenant, "job_id": job.id, "line": text}])
            if unit.random() * CHECKED >= 1:
                return
            own = equal(JobLog, job_id=job.id)
            beyond = Select(own, order=(("id", True),), offset=MAX_LINES, limit=1)
            for oldest in unit.tx.find(JobLog, beyond):
                unit.tx.trim(JobLog, And((own, Compare(_ID, (), "lte", oldest.id))), _SPARE)

        self.run(command)

    def logs(self, queue: str, id: str, start: int, length: int, *, tenant: str) -> tuple[list[str], int]:
        """Lines of a job's log, the oldest first, and how many there are; none of a job there is not.

        Args:
            queue: The queue of the job.
            id: The job, as its clients know it.
            start: How many lines to leave out.
            length: How many to give at most.
            tenant: Whose job it is.
        """
        skip, most = check_int(start, "start", low=0), check_int(length, "length", low=0, high=MAX_LIMIT)
        with self.storage.begin(write=False) as tx:
            job = naming.find(tx, queue, id, tenant)
            if job is None:
                return [], 0
            own = equal(JobLog, job_id=job.id)
            there = tx.count(JobLog, own)
            count = min(there, MAX_LINES)
            page = Select(own, order=(("id", False),), offset=there - count + skip, limit=most)
            lines = tx.find(JobLog, page) if most and skip < count else []
        return [each.line for each in lines], count


_ID: Final = attributes(JobLog)["id"]
