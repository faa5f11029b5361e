"""`GNJ`: one object that wires a storage, the queue, the handlers and the faces. No globals: two in one process work."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from gnj.queue.builder import PipelineBuilder
from gnj.queue.model import DEFAULT_PRIORITY, Hold, Job, NewJob, Pipeline
from gnj.queue.retry import Backoff
from gnj.queue.service import Queue
from gnj.queue.storage import Storage
from gnj.queue.values import Json
from gnj.queue.where import Where
from gnj.settings import Settings
from gnj.worker import Handlers, Worker

if TYPE_CHECKING:
    from graphql import GraphQLSchema
    from sqlalchemy import Engine

    from gnj.api.hooks import Authenticate, Authorize, Guard, Principal
    from gnj.api.http import Route
    from gnj.graphql.engine import Engine as GraphQLEngine
    from gnj.graphql.limits import Limits


class GNJ:
    """A job queue: where its jobs are, what runs them, and how others reach them.

    Args:
        database: A URL (`sqlite:///jobs.db`, `postgresql://…`, `memory://`), a SQLAlchemy Engine, or a Storage; what
            `GNJ_DATABASE` says, or `sqlite:///gnj.db`, unless given.
        handlers: The registry of handlers; one of its own unless given.
        authenticate: `(RequestContext) -> Principal | None`, sync or async: who is asking?
        authorize: `(Principal, Action, target) -> bool`, sync or async: may they? Everybody authenticated may, unless given.
        settings: The fields of `Settings`, which each have an environment variable as well.

    Nothing is connected before it is needed. Databases inside the process (SQLite, memory) are migrated on first use;
    others by `migrate` or `gnj migrate`.
    """

    def __init__(
        self,
        database: str | Engine | Storage | None = None,
        *,
        handlers: Handlers | None = None,
        authenticate: Authenticate | None = None,
        authorize: Authorize | None = None,
        **settings: Any,
    ) -> None:
        if isinstance(database, str):
            settings["database"] = database
        self.settings = Settings.of(settings)
        self.handlers = Handlers() if handlers is None else handlers
        self._authenticate = authenticate
        self._authorize = authorize
        self.storage = database if isinstance(database, Storage) else self._open(database)
        self._owns_storage = not isinstance(database, Storage)
        self._queue = Queue(self.storage, lease=self.settings.lease, policies=self.handlers.policies)
        self._ready = False
        self._lock = threading.RLock()

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

    def worker(self, types: Sequence[str] | None = None, **options: Any) -> Worker:
        """A worker for the registered handlers, in this process; see `Worker` for the options."""
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
        tenant: str = "",
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
            tenant: Whose job it is.

        Raises:
            InvalidInput: An argument is wrong; the message names it.
        """
        return self.queue.enqueue(
            NewJob(
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
                tenant=tenant,
            )
        )

    def enqueue_many(self, jobs: Iterable[NewJob]) -> list[Job]:
        """Stores jobs, all or none, in order."""
        return self.queue.enqueue_many(jobs)

    def pipeline(self, name: str | None = None, *, start: bool = True, tenant: str = "") -> PipelineBuilder:
        """A pipeline to be written down in a `with` block, created whole at its end and started unless told not to."""
        return PipelineBuilder(self.queue, name, start=start, tenant=tenant)

    def start_pipeline(self, id: int) -> Pipeline:
        """Starts a planned pipeline. Raises `NotFound`, `IllegalTransition`."""
        return self.queue.start_pipeline(id)

    def get(self, id: int) -> Job | None:
        """The job with that id, or None."""
        return self.queue.get(Job, id)

    def count(self, where: Where | None = None, /, **equals: Any) -> int:
        """How many jobs meet `where` and have these values."""
        return self.queue.count(Job, where, **equals)

    def cancel(self, id: int) -> Job:
        """Cancels a waiting job at once and asks a running one to stop. Raises `JobNotFound`, `IllegalTransition`."""
        return self.queue.cancel(id)

    def recover(self, id: int) -> Job:
        """Queues a failed, recoverable job again. Raises `JobNotFound`, `IllegalTransition`."""
        return self.queue.recover(id)

    def retry(self, id: int) -> Job:
        """A new job in the place of a failed or cancelled one. Raises `JobNotFound`, `IllegalTransition`."""
        return self.queue.retry(id)

    def hold(self, type: str) -> Hold:
        """Hands out no more jobs of `type`; "all": of any."""
        return self.queue.hold(type)

    def release(self, type: str) -> bool:
        """Hands out jobs of `type` again; whether it was held."""
        return self.queue.release_hold(type)

    # The faces

    @property
    def authenticate(self) -> Authenticate | None:
        """The host's hook that says who is asking; may be set at any time."""
        return self._authenticate

    @authenticate.setter
    def authenticate(self, hook: Authenticate | None) -> None:
        self._authenticate = hook
        self._guard.use(hook, self._authorize)

    @property
    def authorize(self) -> Authorize | None:
        """The host's hook that says what somebody may do; may be set at any time."""
        return self._authorize

    @authorize.setter
    def authorize(self, hook: Authorize | None) -> None:
        self._authorize = hook
        self._guard.use(self._authenticate, hook)

    @property
    def schema(self) -> GraphQLSchema:
        """The GraphQL schema of the jobs face, built when first asked for."""
        return self._engine.schema

    def execute(
        self, query: str, variables: Mapping[str, Any] | None = None, *, principal: Principal | None = None
    ) -> dict[str, Any]:
        """Runs a GraphQL operation in this process, past all hooks: `{"data": …, "errors": […]}`."""
        from gnj.api.hooks import Principal
        from gnj.api.jobs import context

        caller = Principal("in-process") if principal is None else principal
        return self._engine.execute(query, variables, context=context(self.queue, caller)).body

    @property
    def limits(self) -> Limits:
        """The bounds of a request."""
        from gnj.graphql.limits import Limits

        return Limits()

    @property
    def threads(self) -> int:
        """How many requests are served at once: as many as have a database connection."""
        return self.settings.pool_size

    def routes(self, faces: Sequence[str] | None = None) -> list[Route]:
        """The routes of the named faces, of all unless named: what an adapter mounts.

        Raises `ValueError`, naming the face, for one that does not exist.
        """
        from gnj.api import health, jobs

        makers: dict[str, Callable[[], list[Route]]] = {
            "graphql": lambda: jobs.routes(self._engine, self.queue, self._guard),
            "health": lambda: health.routes(self.storage.check),
        }
        chosen = list(makers) if faces is None else list(faces)
        if unknown := [face for face in chosen if face not in makers]:
            raise ValueError(f"there is no face {unknown[0]!r}; there are: {', '.join(makers)}")
        return [route for face in chosen for route in makers[face]()]

    def asgi_app(self, faces: Sequence[str] | None = None) -> Callable[..., Any]:
        """An ASGI application that serves the faces; needs `gnj_starlette`."""
        from gnj_starlette import asgi_app

        return asgi_app(self, faces)

    def start(self) -> None:
        """Makes ready what the first request would have to wait for. Adapters call it."""
        _ = self.queue

    def close(self) -> None:
        """Gives back what this object opened: connections of engines of its own."""
        if self._owns_storage:
            self.storage.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @cached_property
    def _engine(self) -> GraphQLEngine:
        from gnj.api.jobs import build_schema
        from gnj.graphql.engine import Engine
        from gnj.graphql.rules import Rules

        # who has configured a token has left development: the schema is not for everybody (security.md, section 1)
        return Engine(build_schema(), Rules(introspection=self.settings.token is None))

    @cached_property
    def _guard(self) -> Guard:
        from gnj.api.hooks import Guard

        return Guard(token=self.settings.token, authenticate=self._authenticate, authorize=self._authorize)

    def _prepare(self) -> None:
        with self._lock:
            if "embedded" in self.storage.capabilities:
                self.storage.migrate()
            self._ready = True

    def _open(self, database: str | Engine | None) -> Storage:
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
