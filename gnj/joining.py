"""What `GNJ` does inside a transaction of the host's: never committed, never rolled back, and told after its commit only."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from gnj.queue import deadline
from gnj.queue.builder import PipelineBuilder
from gnj.queue.errors import InvalidInput
from gnj.queue.model import Job, NewJob
from gnj.queue.service import Queue
from gnj.queue.storage import Storage
from gnj.queue.values import Json

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from weakref import WeakKeyDictionary

    from sqlalchemy import Connection
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, async_scoped_session
    from sqlalchemy.orm import Session, scoped_session

    from gnj.queue.gathering import Gathering

T = TypeVar("T")


class Joining:
    """The part of `GNJ` that joins transactions."""

    storage: Storage
    _queue: Queue
    _gatherings: WeakKeyDictionary[AbstractEventLoop, Gathering]

    @property
    @abstractmethod
    def queue(self) -> Queue:
        """The core, for those who build on it."""

    def joined(
        self, *, session: Session | scoped_session[Any] | None = None, connection: Connection | None = None
    ) -> AbstractContextManager[Queue]:
        """The core inside the transaction of a session or connection of the host's, for the block: `with … as queue:`.

        What its commands do is committed or rolled back by the host, with the rest of the transaction; workers, hooks and
        subscribers are told after the commit, and of what was rolled back never. A command that raises leaves nothing behind,
        and the transaction can go on, except after `Conflict`, which means that it has to be begun anew.

        Raises:
            TypeError: Not one of the two, or of another kind than that; the message names the right call.
            WrongDatabase: It is to another database than the jobs are in.
            InvalidInput: It is closed, has failed, or is in no transaction (AUTOCOMMIT); or the jobs are in memory.
        """
        return self._joined(self._target("joined", session, connection))

    async def joined_async(
        self,
        work: Callable[[Queue], T],
        *,
        session: AsyncSession | async_scoped_session[Any] | None = None,
        connection: AsyncConnection | None = None,
    ) -> T:
        """Calls `work(queue)`, a plain function, inside the transaction of an AsyncSession or AsyncConnection, and gives what
        that gives; see `joined`.
        """
        self._check_joinable()
        from gnj.storage.sql import hosts

        target = hosts.async_target("joined", session, connection)
        return await self._within_async(target, work)

    async def enqueue_async(
        self,
        type: str,
        input: Json = None,
        *,
        session: AsyncSession | async_scoped_session[Any] | None = None,
        connection: AsyncConnection | None = None,
        **options: Any,
    ) -> Job:
        """`enqueue` for asynchronous code, with its `options`: in the transaction of an AsyncSession or AsyncConnection, or
        in a transaction of its own, in a thread.
        """
        job = NewJob(type, input, **options)
        alone = deadline.current() is not None or self._queue._transacting  # noqa: SLF001 - of our own
        alone = alone or job.unique_id is not None  # it may have to wait for who is storing the same one (`Intake`)
        if session is None and connection is None and not alone:
            return await self._gathering().enqueue(job)
        return await self._run_async("enqueue", session, connection, lambda queue: queue.enqueue(job))

    async def enqueue_many_async(
        self,
        jobs: Iterable[NewJob],
        *,
        session: AsyncSession | async_scoped_session[Any] | None = None,
        connection: AsyncConnection | None = None,
    ) -> list[Job]:
        """`enqueue_many` for asynchronous code; see `enqueue_async`."""
        new = list(jobs)
        return await self._run_async("enqueue_many", session, connection, lambda queue: queue.enqueue_many(new))

    async def cancel_async(
        self,
        id: int,
        *,
        session: AsyncSession | async_scoped_session[Any] | None = None,
        connection: AsyncConnection | None = None,
    ) -> Job:
        """`cancel` for asynchronous code; see `enqueue_async`."""
        return await self._run_async("cancel", session, connection, lambda queue: queue.cancel(id))

    def pipeline_async(
        self,
        name: str | None = None,
        *,
        start: bool = True,
        tenant: str = "",
        session: AsyncSession | async_scoped_session[Any] | None = None,
        connection: AsyncConnection | None = None,
    ) -> AsyncPipeline:
        """`pipeline` for asynchronous code, to be written down in an `async with` block; see `enqueue_async`."""
        builder = PipelineBuilder(self._queue, name, start=start, tenant=tenant)
        return AsyncPipeline(builder, partial(self._run_async, "pipeline", session, connection))

    def _gathering(self) -> Gathering:
        """Gathers what the tasks of this event loop enqueue."""
        import asyncio

        loop = asyncio.get_running_loop()
        made = self._gatherings.get(loop)
        if made is None:
            from gnj.queue.gathering import Gathering

            made = self._gatherings[loop] = Gathering(self._enqueue_each)
        return made

    def _enqueue_each(self, new: Sequence[NewJob]) -> Sequence[Job | Exception]:
        return self.queue.enqueue_each(new)  # which, in memory and on SQLite, is made ready only now, in a thread

    def _in(self, verb: str, session: Any, connection: Any) -> AbstractContextManager[Queue]:
        """The queue for `verb`: inside a transaction of the host's, if there is one."""
        if session is None and connection is None:
            return nullcontext(self.queue)
        return self._joined(self._target(verb, session, connection))

    def _target(self, verb: str, session: Any, connection: Any) -> Any:
        self._check_joinable()
        from gnj.storage.sql import hosts

        return hosts.sync_target(verb, session, connection)

    @contextmanager
    def _joined(self, target: Any) -> Iterator[Queue]:
        from gnj.storage.sql import hosts

        # what `queue` makes ready on first use, it does over a connection of its own: in SQLite, for as long as the host
        # writes, that would wait for the host
        queue = self._queue if "embedded" in self.storage.capabilities else self.queue
        connection = hosts.connection_of(target)
        with self.storage.bind(target) as rows:
            yield queue.inside(rows, partial(hosts.after_commit, connection))

    async def _run_async(self, verb: str, session: Any, connection: Any, work: Callable[[Queue], T]) -> T:
        if session is None and connection is None:
            import asyncio

            return await asyncio.to_thread(lambda: work(self.queue))
        self._check_joinable()
        from gnj.storage.sql import hosts

        return await self._within_async(hosts.async_target(verb, session, connection), work)

    async def _within_async(self, target: Any, work: Callable[[Queue], T]) -> T:
        def inside(sync: Any) -> T:
            with self._joined(sync) as queue:
                return work(queue)

        result: T = await target.run_sync(inside)
        return result

    def _check_joinable(self) -> None:
        if "connections" not in self.storage.capabilities:
            raise InvalidInput(
                "these jobs are in memory, not in a database: there is no transaction of a session or connection to join"
            )


class AsyncPipeline:
    """A pipeline to be written down in an `async with` block, created whole at its end unless the block raised."""

    def __init__(self, builder: PipelineBuilder, run: Callable[[Callable[[Queue], Any]], Any]) -> None:
        self._builder = builder
        self._run = run

    async def __aenter__(self) -> PipelineBuilder:
        return self._builder

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            await self._run(self._builder.store)
