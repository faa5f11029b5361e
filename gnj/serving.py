"""What `GNJ` serves: its faces, who may ask them, and what runs beside them for as long as it serves."""

from __future__ import annotations

import importlib.util
import threading
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from gnj.operations.door import CustomOperations
from gnj.queue.errors import InvalidInput, StorageError
from gnj.queue.events import Hooks
from gnj.queue.service import Queue
from gnj.queue.storage import Storage
from gnj.settings import Settings

if TYPE_CHECKING:
    from ariadne import SchemaBindable
    from graphql import GraphQLSchema

    from gnj.api.content import Face as ContentFace
    from gnj.api.hooks import Authenticate, Authorize, Guard, Principal
    from gnj.api.http import Route
    from gnj.api.jobs import Custom
    from gnj.api.queues.declare import Face
    from gnj.api.streams import Streams
    from gnj.api.transform import Face as TransformFace
    from gnj.background import Background, Ticker
    from gnj.content import Content, ContentStore, FileStore
    from gnj.graphql.engine import Engine as GraphQLEngine
    from gnj.graphql.limits import Limits
    from gnj.queue.tokens import Tokens
    from gnj.queue.upkeep import Upkeep
    from gnj.transform.application import Hosts, Transform
    from gnj.transform.jobs import TransformJobs
    from gnj_starlette import App

_FLUSH = 5.0
"""Seconds for which `close` waits for hooks."""


class Serving(CustomOperations):
    """The part of `GNJ` that answers requests."""

    storage: Storage
    settings: Settings
    hooks: Hooks
    _queue: Queue
    _ready: bool
    _owns_storage: bool
    _lock: threading.RLock
    _authenticate: Authenticate | None
    _authorize: Authorize | None
    _upkeep: Upkeep | None = None
    _background: Background | None = None
    _has_queues = False
    """Whether the routes of the face "queues" were asked for: then `start` begins what it needs in the background."""
    _has_content = False
    """The same of the face "content"."""
    _has_transform = False
    """The same of transformation jobs: whoever serves them sets it."""
    given_store: ContentStore | None = None
    """The content store of the host's own, if it has one."""
    given_files: FileStore | None = None
    """Its file store, likewise."""
    given_hosts: Hosts | None = None
    """What the host has registered for transformation jobs, at another `GNJ` whose place this one takes."""

    @property
    @abstractmethod
    def queue(self) -> Queue:
        """The core, for those who build on it."""

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

    def schema_parts(self, *, define_roots: bool = False, scalars: bool = True) -> tuple[str, Sequence[SchemaBindable]]:
        """The jobs schema for a host that has an Ariadne schema of its own: `(type_defs, bindables)`.

        `make_executable_schema([mine, type_defs], *my_bindables, *bindables)`; its context value must have what `context` gives.

        Args:
            define_roots: Define Query, Mutation and Subscription, rather than extend the host's.
            scalars: Define SequelizeJSON and Date as well; else the host has its own.

        Raises `SchemaError`.
        """
        from gnj.api.jobs import hosted

        return hosted.parts(self._custom, define_roots=define_roots, with_scalars=scalars)

    def context(self, request: Any) -> dict[str, Any]:
        """What the context value of a host's own schema must have for gnj's fields: `{**jobs.context(request), …}`.

        Who asks is asked, by the hooks that gnj's own faces ask, when a field of gnj's is resolved; then `Unauthenticated` may be
        raised, which is the error of that field.

        Args:
            request: Starlette's or Flask's; or a `RequestContext`.
        """
        from gnj.api.jobs import hosted

        return hosted.context(lambda: self.queue, self._guard, self.limits, request)

    def execute(
        self, query: str, variables: Mapping[str, Any] | None = None, *, principal: Principal | None = None
    ) -> dict[str, Any]:
        """Runs a GraphQL operation in this process, past all hooks: `{"data": …, "errors": […]}`."""
        from gnj.api.hooks import Principal
        from gnj.api.jobs import context

        caller = Principal("in-process") if principal is None else principal
        return self._engine.execute(query, variables, context=context(self.queue, caller, limits=self.limits)).body

    @property
    def limits(self) -> Limits:
        """The bounds of a request."""
        return self.settings.limits

    @property
    def threads(self) -> int:
        """How many requests are served at once: as many as have a database connection."""
        return self.settings.pool_size

    def routes(self, faces: Sequence[str] | None = None, *, asynchronous: bool = True) -> list[Route]:
        """The routes of the named faces, of all unless named: what an adapter mounts. "content" is among all only where there is
        a content store, "transform" where gnj[transform] is installed.

        An adapter without an event loop (WSGI) says `asynchronous=False`. Raises `ValueError`, naming the face, for one that
        does not exist, and for one of these where it cannot be; `SchemaError` for what is wrong with a custom operation, which is
        also to be async where that cannot be.
        """
        from gnj.api import health, jobs, metrics, queues

        makers: dict[str, Callable[[], list[Route]]] = {
            # not self.queue: mounting must not connect, for a server may fork after it
            "graphql": lambda: jobs.routes(
                self._engine,
                self._queue,
                self._guard,
                graphiql=self.settings.graphiql,
                subscribed=self._streams,
                origins=self.settings.origins,
            ),
            "queues": lambda: queues.routes(self._face),
            "metrics": lambda: metrics.routes(self._face),
            "health": lambda: health.routes(self.storage.check),
            "content": self._content_routes,
            "transform": self._transform_routes,
        }
        chosen = [face for face in makers if self._is_default(face)] if faces is None else list(faces)
        if unknown := [face for face in chosen if face not in makers]:
            raise ValueError(f"there is no face {unknown[0]!r}; there are: {', '.join(makers)}")
        routes = [route for face in chosen for route in makers[face]()]
        if not asynchronous and "graphql" in chosen:
            self._custom.refuse_asynchronous()
        self._has_queues = self._has_queues or "queues" in chosen
        self._has_content = self._has_content or "content" in chosen
        self._has_transform = self._has_transform or "transform" in chosen
        return routes

    @cached_property
    def content(self) -> Content:
        """What content jobs work with: the store, the files and their bounds. Nothing is connected for it.

        Raises `ValueError`, saying why, where there is no content store; `InvalidInput` for the setting `files`.
        """
        from gnj.content import Content
        from gnj.content.application import open_files

        store, settings = self._content_store, self.settings
        if store is None:
            raise ValueError(
                f"content jobs need a content store: gnj has one on SQLite and PostgreSQL, and this database is "
                f"{self._kind()}; give GNJ(content=…) one of your own"
            )
        return Content(
            queue=self._queue,
            store=store,
            files=self.given_files
            or open_files(settings.files, settings.files_endpoint, limits=settings.content_limits),
            limits=settings.content_limits,
            time_zone=settings.time_zone,
        )

    @cached_property
    def transform(self) -> Transform:
        """What transformation jobs work with, and where a host registers sources of its own. Nothing is connected for it.

        Raises `ValueError`, saying so, where what the extra `transform` brings is not installed; `InvalidInput` for the settings
        `fetch_allow`, `secret_keys` and `phone_region`.
        """
        self._need_transform()
        from gnj import __version__
        from gnj.transform.application import Hosts, Transform
        from gnj.transform.formats.phones import phones
        from gnj.transform.parts import ShippedParts
        from gnj.transform.sources import Http, Secrets

        settings, hosts = self.settings, Hosts() if self.given_hosts is None else self.given_hosts
        try:
            phones(settings.phone_region)
        except InvalidInput as error:
            raise InvalidInput(f"phone_{error}") from None
        try:
            http = Http(settings.fetch_allow, settings.source_limits)
        except ValueError as error:
            raise InvalidInput(f"fetch_allow: {error}") from None
        secrets = Secrets(settings.secret_keys)
        parts = ShippedParts(hosts, http, secrets, region=settings.phone_region, release=__version__)
        return Transform(queue=self._queue, parts=parts, limits=settings.transform_limits, hosts=hosts)

    @cached_property
    def transform_jobs(self) -> TransformJobs:
        """The commands and lists of transformation jobs, in a database that is made ready as for `queue`. Raises as `transform`."""
        transform = self.transform  # first: it says which library is missing
        from gnj.transform.jobs import TransformJobs

        _ = self.queue
        return TransformJobs(transform)

    @property
    def serves_content(self) -> bool:
        """Whether the face "content" is among those that are served where none is named."""
        return self._is_default("content")

    @property
    def serves_transform(self) -> bool:
        """Whether the face "transform" is."""
        return self._is_default("transform")

    def asgi_app(self, faces: Sequence[str] | None = None) -> App:
        """An ASGI application that serves the faces; needs `gnj_starlette`."""
        from gnj_starlette import asgi_app

        return asgi_app(self, faces)

    def wsgi_app(self, faces: Sequence[str] | None = None) -> Callable[..., Any]:
        """A WSGI application that serves the faces."""
        from gnj.api.wsgi import wsgi_app

        return wsgi_app(self, faces)

    def start(self) -> None:
        """Makes ready what the first request would have to wait for, and begins what runs in the background. Adapters call
        it.
        """
        queue = self.queue
        with self._lock:
            if self.settings.retention is not None and self._upkeep is None:
                from gnj.queue.upkeep import Upkeep

                self._upkeep = Upkeep(queue, self.settings.retention or None)
                self._upkeep.__enter__()
            if (self._has_queues or self._has_content or self._has_transform) and self._background is None:
                from gnj.background import Background

                more = [
                    *(self._content_tickers() if self._has_content else ()),
                    *(self._transform_tickers() if self._has_transform else ()),
                ]
                self._background = Background(queue, self.settings, queues=self._has_queues, more=more)
                self._background.start()

    def end_subscriptions(self) -> None:
        """Ends every open WebSocket and stream of this object's faces, so that their clients connect anew, and what waits for runs."""
        if "_streams" in self.__dict__:
            self._streams.close()
        if "_content_streams" in self.__dict__:
            self._content_streams.close()
        if "_transform_face" in self.__dict__:
            self._transform_streams.close()
            self._transform_face.waiting.close()
        if "_face" in self.__dict__:
            self._face.connections.end()

    def close(self) -> None:
        """Waits for hooks under way, and gives back what this object opened: connections of engines of its own."""
        with self._lock:
            upkeep, self._upkeep = self._upkeep, None
            background, self._background = self._background, None
        if background is not None:
            background.close()
        if upkeep is not None:
            upkeep.__exit__(None, None, None)
        self.end_subscriptions()
        if "transform" in self.__dict__:
            self.transform.close()
        self.hooks.flush(_FLUSH)
        self._queue.feed.close()
        if self._owns_storage:
            self.storage.close()
            # `sqlite://` has gone with its connection: who starts again finds an empty database
            self._ready = self._ready and "durable" in self.storage.capabilities

    @cached_property
    def _engine(self) -> GraphQLEngine:
        from gnj.api.jobs import build_schema
        from gnj.graphql.engine import Engine
        from gnj.graphql.rules import Rules

        return Engine(build_schema(self._custom), Rules(limits=self.limits), introspects=self._introspects)

    @cached_property
    def _streams(self) -> Streams:
        from gnj.api.jobs import streams

        return streams(self._engine, self._queue, self._guard, self._custom.subscriptions)

    @cached_property
    def _custom(self) -> Custom:
        from gnj.api.jobs import Custom

        return Custom(self.freeze())

    @cached_property
    def _guard(self) -> Guard:
        from gnj.api.hooks import Guard

        return Guard(
            token=self.settings.token,
            tokens=self._tokens,
            authenticate=self._authenticate,
            authorize=self._authorize,
        )

    @cached_property
    def _tokens(self) -> Tokens:
        from gnj.queue.tokens import Tokens

        return Tokens(lambda: self.queue.storage, seconds=self.limits.statement_seconds)

    def _introspects(self) -> bool:
        """Whether the schema is for everybody: not for who has configured a token, and so has left development
        (security.md, section 1). A stored one counts from the moment on that something is served.
        """
        if self.settings.token is not None or self.settings.env == "production":
            return False
        try:
            return not self._ready or not self._tokens.exist()
        except StorageError:  # as long as nobody knows
            return False

    @cached_property
    def _face(self) -> Face:
        from gnj import __version__
        from gnj.api.connections import Connections
        from gnj.api.origins import Origins
        from gnj.api.queues.declare import Face

        return Face(
            queue=self._queue,
            guard=self._guard,
            limits=self.limits,
            connections=Connections(self.limits.sockets),
            origins=Origins(self.settings.origins),
            fetch_allow=self.settings.fetch_allow,
            version=__version__,
            changed=self._nudge,
        )

    @cached_property
    def _content_store(self) -> ContentStore | None:
        if self.given_store is not None:
            return self.given_store
        if getattr(self.storage, "tables", None) is None:  # no SQL: nothing of it is to be imported either
            return None
        from gnj.storage.sql.storage import SqlStorage

        if not isinstance(self.storage, SqlStorage) or self.storage.tables.content is None:
            return None
        from gnj.storage.sql.content import SqlContentStore

        return SqlContentStore(self.storage)

    @cached_property
    def _content_face(self) -> ContentFace:
        from gnj.api.content import Face
        from gnj.content.maker import ContentJobs

        return Face(
            content=self.content,
            queue=self._queue,
            guard=self._guard,
            limits=self.limits,
            jobs=ContentJobs(self.content),
            origins=self.settings.origins,
            public_url=self.settings.public_url,
        )

    @cached_property
    def _content_engine(self) -> GraphQLEngine:
        from gnj.api.content import build_schema
        from gnj.graphql.engine import Engine
        from gnj.graphql.rules import Rules

        return Engine(build_schema(), Rules(limits=self.limits), introspects=self._introspects)

    @cached_property
    def _content_streams(self) -> Streams:
        from gnj.api.content import streams

        return streams(self._content_engine, self._content_face)

    def _content_routes(self) -> list[Route]:
        from gnj.api import content

        face = self._content_face  # first: it says why there is none
        return content.routes(self._content_engine, face, self._content_streams)

    def _content_tickers(self) -> list[Ticker]:
        from gnj.background_content import ContentSweep, ContentWorker

        tickers: list[Ticker] = [ContentSweep(self._queue, self.content)]
        if workers := self.settings.content_workers:
            tickers.append(ContentWorker(self._queue, self.content, concurrency=workers))
        return tickers

    @cached_property
    def _transform_face(self) -> TransformFace:
        from gnj.api.transform import Face, Waiting

        return Face(
            jobs=lambda: self.transform_jobs,
            feed=self._queue.feed,
            waiting=Waiting(self._queue, self.settings.transform_limits.wait_seconds),
            guard=self._guard,
            limits=self.limits,
            origins=self.settings.origins,
        )

    @cached_property
    def _transform_engine(self) -> GraphQLEngine:
        from gnj.api.transform import make_engine

        return make_engine(self.limits, self._introspects)

    @cached_property
    def _transform_streams(self) -> Streams:
        from gnj.api.transform import streams

        return streams(self._transform_engine, self._transform_face)

    def _transform_routes(self) -> list[Route]:
        self._need_transform()
        from gnj.api import transform

        return transform.routes(self._transform_engine, self._transform_face, self._transform_streams)

    def _transform_tickers(self) -> list[Ticker]:
        from gnj.background_transform import TransformSweep, TransformWorker, WebhookWorker

        transform = self.transform  # made here, by one thread: requests ask for it from many
        tickers: list[Ticker] = [TransformSweep(self._queue)]
        if workers := self.settings.transform_workers:
            tickers += [
                TransformWorker(self._queue, transform, concurrency=workers),
                WebhookWorker(self._queue, transform),
            ]
        return tickers

    def _is_default(self, face: str) -> bool:
        """Whether a face is served where none is named."""
        if face == "transform":
            return self._lacks_for_transform() is None
        return face != "content" or self._content_store is not None

    def _need_transform(self) -> None:
        """Raises `ValueError` where what the extra `transform` brings is not installed."""
        if (missing := self._lacks_for_transform()) is not None:
            raise ValueError(
                f'transformation jobs need what gnj[transform] brings, and there is no module {missing}: pip install "gnj[transform]"'
            )

    @staticmethod
    def _lacks_for_transform() -> str | None:
        """A module that transformation jobs need and that is not installed; none of them is imported."""
        from gnj.transform import NEEDS

        return next((name for name in NEEDS if importlib.util.find_spec(name) is None), None)

    def _kind(self) -> str:
        """What sort of database it is, for people."""
        dialect = getattr(self.storage, "dialect", None)
        return "MySQL" if getattr(dialect, "name", "") in ("mysql", "mariadb") else type(self.storage).__name__

    def _nudge(self) -> None:
        background = self._background
        if background is not None:
            background.nudge()
