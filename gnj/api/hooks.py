"""Who may: one Guard for every face (security.md, section 3; api.md, "Who may")."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import inspect
import ipaddress
import logging
import re
from collections.abc import Awaitable
from typing import Any, TypeVar

from gnj.access import Action, Authenticate, Authorize, Kind, Principal, RequestContext
from gnj.api.http import Request
from gnj.queue.errors import Forbidden, GnjError, Unauthenticated

__all__ = [
    "Action",
    "Authenticate",
    "Authorize",
    "Guard",
    "Kind",
    "Principal",
    "RequestContext",
    "context_of",
    "is_local",
]

logger = logging.getLogger("gnj.api")

T = TypeVar("T")


def context_of(request: Request) -> RequestContext:
    """The part of a request that hooks see."""
    return RequestContext(
        headers=request.headers,
        cookies=request.cookies,
        query=request.query,
        client_host=request.client_host,
        transport=request.transport,
        raw=request.raw,
        run_async=request.run_async,
    )


class Guard:
    """Decides who calls and what they may.

    - `token`: whoever sends it (`Authorization: Bearer …`) is the principal "token"
    - `authenticate`: the host's hook, asked about everybody else
    - neither: only direct calls from this machine are answered, as the principal "local"
    - `authorize`: the host's hook, asked about every action of every principal; without it, all is allowed

    Hooks may be async: each call then runs on an event loop of its own in the worker thread of the request (about
    0.1 ms), and so must not use what belongs to the host's loop. A hook that raises refuses, and the log has the reason.
    ValueError: the token is empty.
    """

    def __init__(
        self,
        *,
        token: str | None = None,
        authenticate: Authenticate | None = None,
        authorize: Authorize | None = None,
    ) -> None:
        if token is not None and not token.strip():
            raise ValueError("the token is empty: leave it out to serve local callers only")
        # a digest: comparing takes the same time whatever the length, and a dump of the memory has no token
        self._digest = hashlib.sha256(token.encode()).digest() if token is not None else None
        self._authenticate = authenticate
        self._authorize = authorize

    def use(self, authenticate: Authenticate | None, authorize: Authorize | None) -> None:
        """Puts these hooks in the place of those there are."""
        self._authenticate = authenticate
        self._authorize = authorize

    def authenticate(self, context: RequestContext) -> Principal:
        """Who is calling. Raises `Unauthenticated`, alike for missing, malformed and wrong credentials."""
        if self._digest is not None and self._has_token(context):
            return Principal("token")
        if self._authenticate is not None:
            return self._ask(self._authenticate, context)
        if self._digest is None and is_local(context):
            return Principal("local")
        if self._digest is None:
            raise Unauthenticated(
                "Only direct requests from this machine are answered until a token is configured: set GNJ_TOKEN, or "
                "give GNJ(...) an authenticate hook."
            )
        raise Unauthenticated

    def authorize(self, principal: Principal, action: Action, target: Any = None) -> None:
        """Raises `Forbidden` unless the principal may do this to the target (a record, an id, or None)."""
        if self._authorize is None:
            return
        try:
            allowed = bool(_settled(self._authorize(principal, action, target)))
        except GnjError:
            raise
        except Exception:
            logger.exception("The authorize hook failed for %s; the action is refused", action.name)
            allowed = False
        if not allowed:
            raise Forbidden

    def _has_token(self, context: RequestContext) -> bool:
        scheme, _, given = context.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or self._digest is None:
            return False
        # headers are bytes that were decoded as Latin-1
        digest = hashlib.sha256(given.strip().encode("latin-1", "replace")).digest()
        return hmac.compare_digest(digest, self._digest)

    @staticmethod
    def _ask(hook: Authenticate, context: RequestContext) -> Principal:
        try:
            principal: object = _settled(hook(context))
        except GnjError:
            raise
        except Exception:
            logger.exception("The authenticate hook failed; the request is refused")
            raise Unauthenticated from None
        if principal is None:
            raise Unauthenticated
        if not isinstance(principal, Principal):
            logger.error("The authenticate hook gave a %s, not a Principal; the request is refused", type(principal))
            raise Unauthenticated
        return principal


_LOCAL_HOST = re.compile(r"(?:localhost|127(?:\.[0-9]{1,3}){3}|\[::1\])(?::[0-9]{1,5})?", re.IGNORECASE)
_PROXIED = ("forwarded", "via", "x-forwarded-", "x-real-ip")


def is_local(context: RequestContext) -> bool:
    """Whether the peer is this machine, without a proxy between, and meant it.

    The Host header must name this machine: a page of evil.example whose name was rebound to 127.0.0.1 sends its own name.
    """
    return (
        _is_loopback(context.client_host)
        and _LOCAL_HOST.fullmatch(context.headers.get("host", "")) is not None
        and not any(name.startswith(_PROXIED) for name in context.headers)
    )


def _is_loopback(host: str | None) -> bool:
    try:
        address = ipaddress.ip_address(host or "")
    except ValueError:
        return False
    # a socket that listens on both families shows IPv4 peers as ::ffff:127.0.0.1, which Python calls loopback from 3.13
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def _settled(result: T | Awaitable[T]) -> T:
    if not inspect.isawaitable(result):
        return result

    async def wait() -> T:
        return await result

    return asyncio.run(wait())
