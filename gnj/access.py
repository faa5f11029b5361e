"""Who is asking, and for what: the words that a host's hooks are written in. Light: `import gnj` loads it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeAlias

RunAsync: TypeAlias = Callable[[Callable[[], Awaitable[Any]]], Any]
"""Called in a request's worker thread with a coroutine function without arguments; gives what that gives."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestContext:
    """What a hook may look at, alike for every transport."""

    headers: Mapping[str, str] = field(default_factory=dict)
    """Names in lower case."""
    cookies: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    path: str = ""
    """As the web framework saw it, percent-decoded, with what the application is mounted below."""
    path_params: Mapping[str, str] = field(default_factory=dict)
    """What stood in the places of the route's path, percent-decoded, such as `organization`."""
    scheme: str = "http"
    """`http` or `https`, as the server sees it; of WebSockets too."""
    client_host: str | None = None
    """The address of the peer; None if unknown."""
    transport: str = "http"
    """`http`, `ws` or `sse`."""
    connection_params: Mapping[str, Any] | None = None
    """What the client sent with `connection_init` (WebSocket only)."""
    raw: Any = None
    """The web framework's own request or socket."""
    run_async: RunAsync | None = field(default=None, repr=False)
    """Runs a coroutine function on the host's event loop and waits for it; None where there is none (WSGI)."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is calling."""

    id: str
    tenant: str = ""
    """Whose rows the caller sees; "" is the tenant of those who need no tenants."""
    roles: frozenset[str] = frozenset()
    """For the host's own `authorize`; gnj gives them no meaning."""
    scopes: frozenset[str] | None = None
    """The kinds of action (`Kind`) the caller may do at most, before any hook is asked; "admin" is all of them. None: any."""
    expires_at: datetime | None = None
    """From then on the caller is nobody, and a socket is closed; None: never."""
    credential: str | None = field(default=None, repr=False)
    """The digest of the stored token that the caller sent, which gnj sets: by it what is open for long learns of a revocation."""
    name: str | None = None
    """What people call the caller: shown as who made a content job. None: told from `id`."""
    email: str | None = None
    """Shown beside `name`."""
    everywhere: bool = False
    """Whether the caller may act for every organisation of the content face, not for that of `tenant` alone: an operator."""


class Kind(StrEnum):
    """What sort of thing an action does."""

    READ = "read"
    ENQUEUE = "enqueue"
    WORK = "work"
    """Claims jobs and ends them."""
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Action:
    """What the caller wants to do: `name` is the GraphQL root field or the REST route."""

    name: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class Target:
    """What a REST route acts upon, as it is asked for."""

    queue: str
    id: str | None = None
    """The job of the queue: by the `jobId` that it was given, else by its number. None: the queue itself is meant."""


Authenticate: TypeAlias = Callable[[RequestContext], "Principal | Awaitable[Principal | None] | None"]
Authorize: TypeAlias = Callable[[Principal, Action, Any], "bool | Awaitable[bool]"]
