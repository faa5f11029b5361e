"""`GNJ`: one object that wires a storage, the queue, the handlers and the faces. No globals: two in one process work."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from weakref import WeakKeyDictionary

from gnj.joining import Joining
from gnj.queue.builder import PipelineBuilder
from gnj.queue.errors import NotMigrated, StorageError
from gnj.queue.events import Event, Hooks, told
from gnj.queue.kinds import SCHEDULE, SYNC
from gnj.queue.model import DEFAULT_PRIORITY, Hold, Job, NewJob, Pipeline, Token
from gnj.queue.retry import Backoff, Exponential
from gnj.queue.run_maker import RunMaker
from gnj.queue.schedules import Maker
from gnj.queue.service import Queue
from gnj.queue.storage import Storage
from gnj.queue.syncs import SyncMaker
from gnj.queue.values import Json
from gnj.queue.where import Where
from gnj.recurring import Recurring
from gnj.serving import Serving
from gnj.settings import Settings
from gnj.worker.handlers import Handlers

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection, Engine
    from sqlalchemy.orm import Session, scoped_session

    from gnj.api.hooks import Authenticate, Authorize
    from gnj.content import ContentStore, FileStore
    from gnj.operations.spec import Operation
    from gnj.worker.beside import Register
    from gnj.worker.worker import Worker

_HOOK_BACKOFF = Exponential(1.0, maximum=300, jitter=0.2)


def _hook_handler(names: Sequence[str], fn: Callable[[Event], Any]) -> Callable[[Job], Any]:
    """What runs the jobs of a durable hook."""

    def handle(hook: Job) -> Any:
        event = told(hook)
        # an older version of the application may have wanted more
        return fn(event) if event.name in names else None

    async def handle_async(hook: Job) -> None:
        if (result := handle(hook)) is not None:
            await result

    def handle_sync(hook: Job) -> None:
        handle(hook)

    return handle_async if inspect.iscoroutinefunction(fn) else handle_sync


def _makers(settings: Settings) -> Mapping[str, Maker]:
    # whether or not content is served here: whoever looks at schedules must know what those of others make
    return {SYNC: SyncMaker(settings.content_limits.logs), SCHEDULE: RunMaker()}


class GNJ(Serving, Joining, Recurring):
    """A job queue: where its jobs are, what runs them, and how others reach them.

    Args:
        database: A URL (`sqlite:///jobs.db`, `postgresql://…`, `memory://`), a SQLAlchemy Engine, or a Storage; what
            `GNJ_DATABASE` says, or `sqlite:///gnj.db`, unless given.
        handlers: The registry of handlers; one of its own unless given.
        hooks: The hooks of another `GNJ` (`jobs.hooks`); its own unless given.
        authenticate: `(RequestContext) -> Principal | None`, sync or async: who is asking?
        authorize: `(Principal, Action, target) -> bool`, sync or async: may they? Everybody authenticated may, unless given.
        on_job_fail: `(job)`, sync or async: called for every job that has failed for good; as `@jobs.on("failed")`.
        custom_mutations: Mutations of the host's by their names; see `Operation`, and `mutation` for the shorter way.
        content: A content store of the host's own, for content jobs; that of the database unless given, where there is one: on
            SQLite and PostgreSQL.
        files: A `FileStore` of the host's own, or the setting of that name.
        settings: The fields of `Settings`, which each have an environment variable as well.

    Nothing is connected before it is needed. Databases inside the process (SQLite, memory) are migrated on first use;
    others by `migrate` or `gnj migrate`.
    """

    def __init__(
        self,
        database: str | URL | Engine | Storage | None = None,
        *,
        handlers: Handlers | None = None,
        hooks: Hooks | None = None,
        authenticate: Authenticate | None = None,
        authorize: Authorize | None = None,
        on_job_fail: Callable[[Job], Any] | None = None,
        custom_mutations: Mapping[str, Operation] | None = None,
        content: ContentStore | None = None,
        files: str | FileStore | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(custom_mutations)
        if isinstance(database, str):
            settings["database"] = database
        self.given_store = content
        self.given_files = None if isinstance(files, str) else files
        if isinstance(files, str):
            settings["files"] = files
        self.settings = Settings.of(settings)
        self.handlers = Handlers() if handlers is None else handlers
        self.hooks = Hooks() if hooks is None else hooks
        self._authenticate = authenticate
        self._authorize = authorize
        self.storage = database if isinstance(database, Storage) else self._open(database)
        self._owns_storage = not isinstance(database, Storage)
        self._queue = Queue(
            self.storage,
            lease=self.settings.lease,
            policies=self.handlers.policies,
            hooks=self.hooks,
            declarations=self.handlers.declarations,
            makers=_makers(self.settings),
        )
        self._ready = False
        self._lock = threading.RLock()
        self._gatherings = WeakKeyDictionary()
        if on_job_fail is not None:
            fail_hook = on_job_fail
            self.on("failed")(lambda event: fail_hook(event.job))

    # The core

    @property
    def queue(self) -> Queue:
        """The core, for those who build on it."""
        if not self._ready:
            self._prepare()
        return self._queue

    def migrate(self) -> None:
        """Brings the database's tables up to this version. Any number of processes may do so at once."""
        self.storage.migrate()

    def handler(
        self,
        type: str,
        *,
        max_attempts: int | None = None,
        backoff: Backoff | None = None,
        timeout: float | timedelta | None = None,
        on_lost: str | None = None,
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Registers the decorated function, `(job)` or `(job, ctx)`, sync or async, for jobs of `type`.

        The keywords are the policy of its jobs where these have none of their own; see `NewJob`.
        """
        return self.handlers.handler(type, max_attempts=max_attempts, backoff=backoff, timeout=timeout, on_lost=on_lost)

    def on(
        self, *names: str, durable: bool = False, name: str | None = None
    ) -> Callable[[Callable[[Event], Any]], Callable[[Event], Any]]:
        """Has the decorated function, sync or async, called with an `Event` for what happens to jobs, after the commit.

        Args:
            names: Of `created`, `started`, `progressed`, `succeeded`, `retrying`, `failed`, `cancelled`, `recovered`,
                `deleted`; a try that is followed by another one is `retrying`, not `failed`.
            durable: Called for the changes of all processes, at least once, by a worker: as a job of the type
                `hook:NAME`, enqueued in the transaction of the change. Otherwise only for changes that this process makes,
                on a thread of its own; an exception is logged.
            name: Names a durable hook; that of the function, unless given.

        Raises `InvalidInput` for an event there is not, and for a second durable hook of a name.
        """

        def decorate(fn: Callable[[Event], Any]) -> Callable[[Event], Any]:
            if not durable:
                self.hooks.add(names, fn)
                return fn
            type = self.hooks.add_durable(fn.__name__ if name is None else name, names)
            self.handlers.register(type, _hook_handler(names, fn), max_attempts=10, backoff=_HOOK_BACKOFF)
            return fn

        return decorate

    def worker(
        self, types: Sequence[str] | None = None, *, content: bool = False, transform: bool = False, **options: Any
    ) -> Worker:
        """A worker for the registered handlers, in this process; see `Worker` for the options.

        With `content` it does the tasks of content jobs as well, beside those of `types`; with `transform` the runs of
        transformation jobs, and calls their webhooks. Raises `ValueError` where there is no content store, or gnj[transform] is not
        installed.
        """
        own: list[Register] = []
        if content:
            from gnj.content.handlers import register

            own.append(partial(register, content=self.content))
        if transform:
            transforms = self.transform  # first: it says which library is missing
            from gnj.transform import running

            own.append(partial(running.register, transform=transforms))
        if own:
            from gnj.worker.beside import worker_beside

            return worker_beside(self.queue, self.handlers, types, own, **options)
        from gnj.worker.worker import Worker

        return Worker(self.queue, self.handlers, types, **options)

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
        tenant: str = "",
        session: Session | scoped_session[Any] | None = None,
        connection: Connection | None = None,
    ) -> Job:
        """Stores one job and gives it back; the one that has its `unique_id` already, if one has.

        Args:
            type: Which handler runs it.
            input: Any JSON value.
            name: For people.
            start_after: When it may start at the earliest, or how long from now.
            priority: The greater, the earlier.
            unique_id: At most one job of the tenant has it.
            recoverable: Whether `recover` may queue it again after it failed.
            max_attempts: Tries that may end in an error; 1 unless given here or by the handler.
            backoff: The wait between tries.
            timeout: Seconds a try may take.
            on_lost: What a lost lease does: "requeue" (also None), "fail" or "hold".
            lifo: Whether it comes before the jobs of its priority that are there already, not after them.
            tenant: Whose job it is.
            session: Of the host's: the job is stored in its transaction, which the host ends; see `joined`.
            connection: Likewise.

        Raises:
            InvalidInput: An argument is wrong; the message names it.
        """
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
            tenant=tenant,
        )
        with self._in("enqueue", session, connection) as queue:
            return queue.enqueue(job)

    def enqueue_many(
        self,
        jobs: Iterable[NewJob],
        *,
        session: Session | scoped_session[Any] | None = None,
        connection: Connection | None = None,
    ) -> list[Job]:
        """Stores jobs, all or none, in order; `session` and `connection` as in `enqueue`."""
        with self._in("enqueue_many", session, connection) as queue:
            return queue.enqueue_many(jobs)

    def pipeline(
        self,
        name: str | None = None,
        *,
        start: bool = True,
        tenant: str = "",
        session: Session | scoped_session[Any] | None = None,
        connection: Connection | None = None,
    ) -> PipelineBuilder:
        """A pipeline to be written down in a `with` block, created whole at its end and started unless told not to.

        `session` and `connection` as in `enqueue`.
        """
        within = self._in("pipeline", session, connection)
        return PipelineBuilder(self._queue, name, start=start, tenant=tenant, within=within)

    def start_pipeline(self, id: int) -> Pipeline:
        """Starts a planned pipeline. Raises `NotFound`, `IllegalTransition`."""
        return self.queue.start_pipeline(id)

    def get(self, id: int) -> Job | None:
        """The job with that id, or None."""
        return self.queue.get(Job, id)

    def count(self, where: Where | None = None, /, **equals: Any) -> int:
        """How many jobs meet `where` and have these values."""
        return self.queue.count(Job, where, **equals)

    def cancel(
        self,
        id: int,
        *,
        session: Session | scoped_session[Any] | None = None,
        connection: Connection | None = None,
    ) -> Job:
        """Cancels a waiting job at once and asks a running one to stop. Raises `JobNotFound`, `IllegalTransition`.

        `session` and `connection` as in `enqueue`.
        """
        with self._in("cancel", session, connection) as queue:
            return queue.cancel(id)

    def recover(self, id: int) -> Job:
        """Queues a failed, recoverable job again. Raises `JobNotFound`, `IllegalTransition`."""
        return self.queue.recover(id)

    def retry(self, id: int) -> Job:
        """A new job in the place of a failed or cancelled one. Raises `JobNotFound`, `IllegalTransition`."""
        return self.queue.retry(id)

    def delete(self, id: int) -> Job:
        """Deletes a job, which is then neither listed nor handed out; the job as it was.

        Raises `JobNotFound`, or `IllegalTransition` while it is being processed.
        """
        return self.queue.delete(Job, id)

    def prune(self, retention: float | timedelta | None = None) -> int:
        """Removes for good, bounded, what was deleted a day ago and what ended longer ago than `retention`; how many rows.

        Call it until it gives 0, or let `retention=` of this object, or `gnj serve`, do it in the background.
        """
        return self.queue.prune(retention=retention)

    def hold(self, type: str) -> Hold:
        """Hands out no more jobs of `type`; "all": of any."""
        return self.queue.hold(type)

    def release(self, type: str) -> bool:
        """Hands out jobs of `type` again; whether it was held."""
        return self.queue.release_hold(type)

    # Who may

    def claim_token(self, job: Job) -> str:
        """The token with which somebody else writes progress and logs of a claimed job over REST, as long as the claim holds.

        `job` as it was claimed, such as a handler's.
        """
        return self.queue.claim_token(job)

    def create_token(
        self, name: str, *, scopes: Collection[str], tenant: str = "", expires: float | timedelta | None = None
    ) -> str:
        """Makes a stored token and gives it, this once: only its digest is kept.

        Args:
            name: Names it, for people and for `revoke_token`.
            scopes: What it allows: some of "read", "enqueue", "work", and "admin", which is everything.
            tenant: Whose jobs it is for.
            expires: Seconds, or a timedelta, until it is of no use any more; never unless given.

        Raises `InvalidInput`, also for a name that a token has already.
        """
        return self._tokens.create(name, scopes=scopes, tenant=tenant, expires=expires)

    def tokens(self) -> Sequence[Token]:
        """The stored tokens that are not revoked, the oldest first: all that is known of them, which they are not."""
        return self._tokens.live()

    def answers_only_here(self) -> bool:
        """Whether only direct requests from this machine are answered: there is no token of either sort, and no
        `authenticate`. Asks the database whether there are stored ones.
        """
        return self._guard.local_only

    def revoke_token(self, which: int | str) -> Token:
        """Takes the token with that id or name away: at once here, within two seconds in other processes.

        Raises `NotFound`.
        """
        return self._tokens.revoke(which)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _prepare(self) -> None:
        with self._lock:
            if "embedded" in self.storage.capabilities:
                try:
                    self.storage.check()  # reads only: somebody may be writing, a session of this very thread too
                except NotMigrated:
                    self.storage.migrate()
            self._ready = True
        with suppress(StorageError):  # whoever uses the queue will be told; the hooks are tried again with what it does
            self.hooks.keep_known(self._queue.run)
        self._queue.declare()

    def _open(self, database: str | URL | Engine | None) -> Storage:
        from gnj.storage import open_storage

        chosen = self.settings.database if database is None else database
        options = self.settings
        return open_storage(chosen, prefix=options.prefix, schema=options.schema, pool_size=options.pool_size)

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
        """Jobs that meet `where` and have these values; at most 1,000 unless `limit` says otherwise.

        `order` names attributes, with a minus for descending: `("-priority", "id")`.
        """
        return self.queue.list(Job, where, order=order, limit=limit, offset=offset, **equals)
