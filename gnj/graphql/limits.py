"""How much one request may ask for (security.md, sections 1 to 3). Imports next to nothing, so that every room can read it."""

from __future__ import annotations

from dataclasses import dataclass

from gnj.queue.bounds import check_bounds


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """The bounds of one request; the defaults are those of security.md, sections 1 to 3.

    Each is a number greater than 0, those in seconds may have a fraction; `InvalidInput`, naming the field, for any other.
    `GNJ(limits=…)` takes them, and the environment: `GNJ_LIMIT_MAX_BODY` for `max_body`, and so on.
    """

    max_body: int = 10 * 1024 * 1024
    """Bytes of a request body, counted while they arrive; more is answered 413."""

    body_seconds: float = 10.0
    """Seconds for a whole body to arrive, against clients that send a byte now and then; later is answered 408."""

    max_headers: int = 16 * 1024
    """Bytes of all header names and values; more is answered 431."""

    max_url: int = 8 * 1024
    """Bytes of path and query string; more is answered 414."""

    keep_alive: float = 15.0
    """Seconds that a connection to `gnj serve` may be idle, and that the head of a request may take to arrive."""

    operation_seconds: float = 10.0
    """Seconds that one operation may take; longer is answered 503, and what it has not committed is undone."""

    statement_seconds: float = 5.0
    """Seconds that the database may take over one statement of an operation."""

    waiting_seconds: float = 10.0
    """Seconds that a request may wait for a thread while all are busy; longer is answered 503."""

    wsgi_streams: int = 16
    """Streams that each mounted instance sends at once under WSGI, and parts of uploads that it takes: each has one of the
    server's threads for as long as it is open; one more is answered 503."""

    characters: int = 100 * 1024
    """Characters of a GraphQL document."""

    tokens: int = 2_000
    """Lexical tokens of a document, comments counted. The dearest 2,000 found (280 times `batch{job{id}}` in one
    selection) take 0.5 s to validate, 30 us a token is usual."""

    depth: int = 12
    """Levels of nested fields of an operation, leaves counted, fragments expanded."""

    introspection_depth: int = 15
    """The same below `__schema` and `__type`; the introspection query of GraphiQL has 15."""

    aliases: int = 30
    """Aliases of an operation, fragments expanded."""

    root_fields: int = 20
    """Root fields of a query, fragments expanded."""

    root_mutations: int = 10
    """Root fields of a mutation, fragments expanded."""

    directives: int = 50
    """Directives of an operation, fragments expanded."""

    validation_errors: int = 5
    """Errors told about one document or one set of variables."""

    rows: int = 20_000
    """Rows an operation may ask for: a `limit` multiplies what stands below it."""

    rows_without_limit: int = 10
    """Rows counted for a list without a `limit`."""

    page: int = 1_000
    """Rows of a list that names no `limit`."""

    max_page: int = 10_000
    """The greatest `limit` of a list."""

    max_offset: int = 100_000
    """The greatest `offset` of a list."""

    items: int = 10_000
    """Items of all lists in the variables, JSON values not counted: each is coerced before anything runs, an input object
    at 8 us and more, so that 10 MiB of them would take half a minute."""

    echo: int = 200
    """Characters of an error message that graphql-core made, and so the most of the request it can repeat."""

    cached_documents: int = 1_000
    """Documents in the cache of one schema."""

    cached_bytes: int = 32 * 1024 * 1024
    """Estimated memory of the cached documents (see `gnj.graphql.cache`)."""

    message: int = 64 * 1024
    """Bytes of one message of a WebSocket client."""

    init_seconds: float = 5.0
    """Seconds from the opening of a WebSocket to its `connection_init`."""

    ping_seconds: float = 20.0
    """Seconds between two pings of the server; a client that is silent until the next one is gone."""

    operations: int = 100
    """Operations under way at once on one WebSocket."""

    sockets: int = 1_000
    """WebSockets of one tenant, and as many that have not said yet who they are; likewise streams of Server-Sent Events."""

    buffered: int = 100
    """Events that wait for one subscriber that has not taken any for a second; it is dropped when there is one more."""

    burst: int = 10_000
    """The same for one that does take them: one transaction may change thousands of jobs, faster than anybody reads."""

    buffered_bytes: int = 16 * 1024 * 1024
    """Bytes that wait for one WebSocket or stream, unless it is a single answer."""

    generators: int = 200
    """Subscriptions whose events a function makes, which has a thread for each, in one process."""

    def __post_init__(self) -> None:
        check_bounds(self, "limits")


DEFAULTS = Limits()
"""The bounds that hold where nobody has set others."""
