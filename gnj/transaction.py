"""The transaction of a custom operation: the queue's verbs, in the caller's tenant, committed or rolled back as one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from gnj.access import Principal
from gnj.queue import claims, lists
from gnj.queue.errors import InvalidInput
from gnj.queue.inputs import check_types
from gnj.queue.model import DEFAULT_PRIORITY, Hold, Job, NewJob
from gnj.queue.retry import Backoff
from gnj.queue.service import Queue
from gnj.queue.storage import Rows
from gnj.queue.values import Json, check_word, shown
from gnj.queue.where import Where

if TYPE_CHECKING:
    from sqlalchemy import Connection

T = TypeVar("T")


class Transaction:
    """An open transaction: what is done through it is done when it commits, or not at all.

    It sees and changes what belongs to the caller's tenant, and nothing else. It ends with the operation it was given to: when
    that returns it is committed, when it raises it is rolled back. Workers, hooks and subscribers are told after the commit.
    Threads may share it; they take turns.

    Args:
        queue: The queue inside the transaction (`Runner.transaction`).
        rows: The transaction's rows.
        principal: On whose behalf.
    """

    def __init__(self, queue: Queue, rows: Rows, principal: Principal) -> None:
        self.principal = principal
        self._queue = queue
        self._rows = rows
        self._lock = threading.RLock()
        self._over = False

    @property
    def tenant(self) -> str:
        """Whose rows it sees and changes."""
        return self.principal.tenant

    @property
    def now(self) -> datetime:
        """The storage's present, aware and in UTC."""
        with self._used():
            return self._rows.now()

    @property
    def connection(self) -> Connection | None:
        """The SQLAlchemy connection the transaction is on, for statements of the host's own; None in memory.

        It must be neither committed nor rolled back nor closed: that is done when the operation ends.
        """
        with self._used():
            found: Connection | None = getattr(self._rows, "connection", None)
            return found

    def enqueue(
        self,
        type: str,
        input: Json = None,
        *,
        name: str | None = None,
        start_after: datetime | timedelta | None = None,
        priority: int = DEFAULT_PRIORITY,
        unique_id: str | None = None,
        recoverable: bool = False,
        max_attempts: int | None = None,
        backoff: Backoff | Mapping[str, Json] | None = None,
        timeout: float | timedelta | None = None,
        on_lost: str | None = None,
        lifo: bool = False,
    ) -> Job:
        """Stores one job and gives it back; the one that has its `unique_id` already, if one has. See `GNJ.enqueue`."""
        job = NewJob(
            type,
            input,
            name=name,
            start_after=start_after,
            priority=priority,
            unique_id=unique_id,
            recoverable=recoverable,
            max_attempts=max_attempts,
            backoff=backoff,
            timeout=timeout,
            on_lost=on_lost,
            lifo=lifo,
        )
        return self.enqueue_many([job])[0]

    def enqueue_many(self, jobs: Iterable[NewJob]) -> list[Job]:
        """Stores jobs, in order. Raises `InvalidInput` for one that names another tenant."""
        with self._used():
            return self._queue.enqueue_many(self._mine(job) for job in jobs)

    def acquire(
        self,
        types: Sequence[str],
        *,
        where: Where | None = None,
        order: Sequence[str] | None = None,
        worker_id: str | None = None,
        lease: float | None = None,
    ) -> Job | None:
        """Claims the first free job of `types`, or None: priority first, then age.

        With `where` and `order`, as `list` has them, the first that meets the one in the order of the other. No two callers are
        given the same job; a claim that is rolled back was none. The cost of such a choice depends on how many jobs wait.

        Args:
            types: Of which types; those that are held are passed over.
            where: What else the job must meet.
            order: What comes before priority and age.
            worker_id: Who works it.
            lease: Seconds the claim lasts; the queue's default unless given.

        Raises `InvalidInput`.
        """
        with self._used():
            if where is None and order is None:
                return self._queue.acquire(types, worker_id=worker_id, lease=lease, tenants=[self.tenant])
            asked: dict[str, Any] = {
                "where": lists.condition(Job, where, {}),
                "order": lists.order(Job, order or ()),
                "lease": self._queue.lease_of(lease),
                "who": {
                    "worker_id": None if worker_id is None else check_word(worker_id, "workerId"),
                    "worker_type": None,
                },
                "tenant": self.tenant,
                "policies": self._queue.policies,
            }
            words = check_types(types)
            return self._queue.run(lambda unit: claims.choose(unit, words, **asked)) if words else None

    def get(self, id: int) -> Job | None:
        """The job with that id, or None."""
        with self._used():
            return self._queue.get(Job, id, tenant=self.tenant)

    def count(self, where: Where | None = None, /, **equals: Any) -> int:
        """How many jobs meet `where` and have these values."""
        with self._used():
            return self._queue.count(Job, where, tenant=self.tenant, **self._equals(equals))

    def cancel(self, id: int) -> Job:
        """Cancels a waiting job at once and asks a running one to stop. Raises `JobNotFound`, `IllegalTransition`."""
        with self._used():
            return self._queue.cancel(id, tenant=self.tenant)

    def recover(self, id: int) -> Job:
        """Queues a failed, recoverable job again. Raises `JobNotFound`, `IllegalTransition`."""
        with self._used():
            return self._queue.recover(id, tenant=self.tenant)

    def retry(self, id: int) -> Job:
        """A new job in the place of a failed or cancelled one. Raises `JobNotFound`, `IllegalTransition`."""
        with self._used():
            return self._queue.retry(id, tenant=self.tenant)

    def hold(self, type: str) -> Hold:
        """Hands out no more of the tenant's jobs of `type`; "all": of any."""
        with self._used():
            return self._queue.hold(type, tenant=self.tenant)

    def release(self, type: str) -> bool:
        """Hands out jobs of `type` again; whether the tenant held it."""
        with self._used():
            return self._queue.release_hold(type, tenant=self.tenant)

    def end(self) -> None:
        """Lets nobody use it any more: called before the commit, and waits for a use that is under way."""
        with self._lock:
            self._over = True

    def run(self, use: Callable[[Transaction], T]) -> T:
        """Gives the transaction to `use` alone, whatever other threads want of it meanwhile; what that gives."""
        with self._used():
            return use(self)

    @contextmanager
    def _used(self) -> Iterator[None]:
        with self._lock:
            if self._over:
                raise RuntimeError("the transaction is over: it ended with the operation it was given to")
            yield

    def _mine(self, job: Any) -> Any:
        if not isinstance(job, NewJob):
            return job  # which is refused, by name, where all are
        if job.tenant not in ("", self.tenant):
            raise InvalidInput(f"tenant must be that of the transaction, not {shown(job.tenant)}")
        return replace(job, tenant=self.tenant)

    @staticmethod
    def _equals(equals: Mapping[str, Any]) -> Mapping[str, Any]:
        if "tenant" in equals:
            raise InvalidInput("tenant cannot be asked for: a transaction sees only its own")
        return equals

    # last: its name would hide the builtin from the annotations of this class
    def list(
        self,
        where: Where | None = None,
        /,
        *,
        order: Sequence[str] = (),
        limit: int | None = None,
        offset: int = 0,
        **equals: Any,
    ) -> Sequence[Job]:
        """Jobs that meet `where` and have these values; at most 1,000 unless `limit` says otherwise. See `GNJ.list`."""
        with self._used():
            return self._queue.list(
                Job, where, order=order, limit=limit, offset=offset, tenant=self.tenant, **self._equals(equals)
            )


class AsyncTransaction:
    """A `Transaction` for `async def` operations: each verb does its work in a thread, and the event loop goes on meanwhile.

    The transaction belongs to the request, which waits in its own thread: verbs awaited together take turns. On SQLite nobody
    else writes while it is open: what takes long is better awaited before or after.
    """

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    @property
    def principal(self) -> Principal:
        """On whose behalf."""
        return self._transaction.principal

    @property
    def tenant(self) -> str:
        """Whose rows it sees and changes."""
        return self._transaction.tenant

    @property
    def connection(self) -> Connection | None:
        """See `Transaction.connection`: a connection that blocks, to be used inside `run`."""
        return self._transaction.connection

    async def run(self, use: Callable[[Transaction], T]) -> T:
        """Calls a plain function with the `Transaction`, in a thread, and gives what that gives."""
        return await _in_thread(self._transaction.run, use)

    async def now(self) -> datetime:
        """See `Transaction.now`."""
        return await self.run(lambda transaction: transaction.now)

    async def enqueue(self, type: str, input: Json = None, **options: Any) -> Job:
        """See `Transaction.enqueue`."""
        return await _in_thread(self._transaction.enqueue, type, input, **options)

    async def enqueue_many(self, jobs: Iterable[NewJob]) -> Sequence[Job]:
        """See `Transaction.enqueue_many`."""
        return await _in_thread(self._transaction.enqueue_many, jobs)

    async def acquire(
        self,
        types: Sequence[str],
        *,
        where: Where | None = None,
        order: Sequence[str] | None = None,
        worker_id: str | None = None,
        lease: float | None = None,
    ) -> Job | None:
        """See `Transaction.acquire`."""
        return await _in_thread(
            self._transaction.acquire, types, where=where, order=order, worker_id=worker_id, lease=lease
        )

    async def get(self, id: int) -> Job | None:
        """See `Transaction.get`."""
        return await _in_thread(self._transaction.get, id)

    async def count(self, where: Where | None = None, /, **equals: Any) -> int:
        """See `Transaction.count`."""
        return await _in_thread(self._transaction.count, where, **equals)

    async def cancel(self, id: int) -> Job:
        """See `Transaction.cancel`."""
        return await _in_thread(self._transaction.cancel, id)

    async def recover(self, id: int) -> Job:
        """See `Transaction.recover`."""
        return await _in_thread(self._transaction.recover, id)

    async def retry(self, id: int) -> Job:
        """See `Transaction.retry`."""
        return await _in_thread(self._transaction.retry, id)

    async def hold(self, type: str) -> Hold:
        """See `Transaction.hold`."""
        return await _in_thread(self._transaction.hold, type)

    async def release(self, type: str) -> bool:
        """See `Transaction.release`."""
        return await _in_thread(self._transaction.release, type)

    async def list(
        self,
        where: Where | None = None,
        /,
        *,
        order: Sequence[str] = (),
        limit: int | None = None,
        offset: int = 0,
        **equals: Any,
    ) -> Sequence[Job]:
        """See `Transaction.list`."""
        return await _in_thread(self._transaction.list, where, order=order, limit=limit, offset=offset, **equals)


async def _in_thread(verb: Callable[..., T], *arguments: Any, **options: Any) -> T:
    import asyncio  # noqa: PLC0415 - `import gnj` does without it

    return await asyncio.to_thread(verb, *arguments, **options)
