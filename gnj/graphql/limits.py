"""How much one request may ask for (security.md, section 1). Imports nothing, so that every room can read it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """The bounds of one request; the defaults are those of security.md, section 1."""

    max_body: int = 10 * 1024 * 1024
    """Bytes of a request body, counted while they arrive; more is answered 413."""

    body_seconds: float = 10.0
    """Seconds for a whole body to arrive, against clients that send a byte now and then; later is answered 408."""

    max_headers: int = 16 * 1024
    """Bytes of all header names and values; more is answered 431."""

    max_url: int = 8 * 1024
    """Bytes of path and query string; more is answered 414."""

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

    items: int = 10_000
    """Items of all lists in the variables, JSON values not counted: each is coerced before anything runs, an input object
    at 8 us and more, so that 10 MiB of them would take half a minute."""

    echo: int = 200
    """Characters of an error message that graphql-core made, and so the most of the request it can repeat."""

    cached_documents: int = 1_000
    """Documents in the cache of one schema."""

    cached_bytes: int = 32 * 1024 * 1024
    """Estimated memory of the cached documents (see `gnj.graphql.cache`)."""
