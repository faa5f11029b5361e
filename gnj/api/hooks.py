"""Who may: one Guard for every face (security.md, section 3; api.md, "Who may"; docs/security.md)."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import hmac
import inspect
import ipaddress
import logging
import re
import threading
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

from gnj.access import Action, Authenticate, Authorize, Kind, Principal, RequestContext
from gnj.api.http import Request
from gnj.queue.errors import Forbidden, GnjError, Unauthenticated
from gnj.queue.later import may_wait
from gnj.queue.tokens import PREFIX, Tokens

__all__ = [
    "Action",
    "Authenticate",
    "Authorize",
    "Guard",
    "Kind",
    "Principal",
    "RequestContext",
    "bearer",
    "context_of",
    "is_local",
]

logger = logging.getLogger("gnj.api")

T = TypeVar("T")


def context_of(request: Request) -> RequestContext:
    """The part of a request that hooks see."""
    return RequestContext(
        headers=request.headers,
        cookies=request.cookies if "cookie" in request.headers else {},
        query=request.query,
        path=request.path,
        path_params=request.path_params,
        scheme=_HTTP.get(request.scheme, request.scheme),
        client_host=request.client_host,
        transport=request.transport,
        raw=request.raw,
        run_async=request.run_async,
    )


class Guard:
    """Decides who calls and what they may.

    - `token`: whoever sends it (`Authorization: Bearer …`) is the principal "token", who may do everything, everywhere
    - `tokens`: whoever sends a stored one is the principal "token:" and its name, in its tenant, who may do what its scopes
      say; one that begins as they do and is none is refused unless the hook knows better
    - `authenticate`: the host's hook, asked about everybody else
    - none of the three: only direct calls from this machine are answered, as the principal "local"; the first other one is
      a warning in the log, for who forgot the token
    - `authorize`: the host's hook, asked about every action of every principal; without it, all is allowed that the scopes
      allow

    Hooks may be async: they run on the host's event loop where the request came over one (`RequestContext.run_async`), else
    on a loop of their own in the thread of the request (about 0.1 ms). A hook that raises refuses, and the log has the
    reason. ValueError: the token is empty.
    """

    def __init__(
        self,
        *,
        token: str | None = None,
        tokens: Tokens | None = None,
        authenticate: Authenticate | None = None,
        authorize: Authorize | None = None,
    ) -> None:
        if token is not None and not token.strip():
            raise ValueError("the token is empty: leave it out to serve local callers only")
        # a digest: comparing takes the same time whatever the length, and a dump of the memory has no token
        self._digest = hashlib.sha256(token.encode()).digest() if token is not None else None
        self._tokens = tokens
        self._authenticate = authenticate
        self._authorize = authorize
        self._untold = threading.Lock()

    def use(self, authenticate: Authenticate | None, authorize: Authorize | None) -> None:
        """Puts these hooks in the place of those there are."""
        self._authenticate = authenticate
        self._authorize = authorize

    @property
    def local_only(self) -> bool:
        """Whether only this machine is answered, because nothing says who else may ask."""
        return self._digest is None and self._authenticate is None and not self._has_tokens()

    def authenticate(self, context: RequestContext) -> Principal:
        """Who is calling.

        Raises `Unauthenticated`, alike for missing, malformed, unknown, expired and revoked credentials; `StorageError` where
        the database has to be asked about a token and does not answer.
        """
        given = bearer(context)
        if given is not None and self._is_token(given):
            return _TOKEN
        stored = given is not None and given.startswith(PREFIX) and self._tokens is not None
        if stored and given is not None and (principal := self._of_stored(given)) is not None:
            return principal
        if self._authenticate is not None:
            return self._ask(self._authenticate, context)
        if self.local_only and not stored:
            if is_local(context):
                return _LOCAL
            if self._untold.acquire(blocking=False):  # never given back: one line, however many requests
                logger.warning(
                    "A request was refused because it did not come directly from this machine and no token is configured: "
                    "set GNJ_TOKEN (docs/security.md). This is said once."
                )
            raise Unauthenticated(
                "Only direct requests from this machine are answered until a token is configured: set GNJ_TOKEN, or "
                "give GNJ(...) an authenticate hook."
            )
        raise Unauthenticated

    def authorize(
        self, principal: Principal, action: Action, target: Any = None, context: RequestContext | None = None
    ) -> None:
        """Raises `Forbidden` unless the principal may do this to the target (a record, an id, or None).

        `context` is that of the request, on whose event loop an async hook runs. Raises `Unauthenticated` when the principal
        has expired meanwhile.
        """
        if principal.expires_at is not None and principal.expires_at <= datetime.now(UTC):
            raise Unauthenticated
        scopes = principal.scopes
        if scopes is not None and action.kind not in scopes and Kind.ADMIN not in scopes:
            raise Forbidden(f"{action.name} needs the scope {action.kind}, which the token does not have.")
        hook = self._authorize
        if hook is None:
            return
        try:
            allowed = bool(_settled(lambda: hook(principal, action, target), context))
        except GnjError:
            raise
        except Exception:
            logger.exception("The authorize hook failed for %s; the action is refused", action.name)
            allowed = False
        if not allowed:
            raise Forbidden

    def recheck(self, principal: Principal) -> None:
        """Raises `Unauthenticated` when the stored token was revoked, or has expired, of who was authenticated a while ago.

        What is open for long asks before each thing it does. Raises `StorageError` where the database does not tell.
        """
        digest = principal.credential
        if digest is not None and (self._tokens is None or self._tokens.known(digest) is None):
            raise Unauthenticated

    def _is_token(self, given: str) -> bool:
        if self._digest is None:
            return False
        # headers are bytes that were decoded as Latin-1
        digest = hashlib.sha256(given.encode("latin-1", "replace")).digest()
        return hmac.compare_digest(digest, self._digest)

    def _of_stored(self, given: str) -> Principal | None:
        if self._tokens is None:
            return None
        token = self._tokens.find(given)
        if token is None:
            return None
        scopes = frozenset(token.scopes if isinstance(token.scopes, list) else ())
        return Principal(
            f"token:{token.name}",
            token.tenant,
            roles=scopes,
            scopes=scopes,
            expires_at=token.expires_at,
            credential=token.hash,
        )

    def _has_tokens(self) -> bool:
        if self._tokens is None:
            return False
        return self._tokens.exist()

    @staticmethod
    def _ask(hook: Authenticate, context: RequestContext) -> Principal:
        try:
            principal: object = _settled(lambda: hook(context), context)
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


_LOCAL = Principal("local", everywhere=True)
_TOKEN = Principal("token", everywhere=True)
_HTTP = {"ws": "http", "wss": "https"}
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


@functools.lru_cache(maxsize=256)  # to parse an address takes 9 us
def _is_loopback(host: str | None) -> bool:
    try:
        address = ipaddress.ip_address(host or "")
    except ValueError:
        return False
    # a socket that listens on both families shows IPv4 peers as ::ffff:127.0.0.1, which Python calls loopback from 3.13
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def bearer(context: RequestContext) -> str | None:
    """What stands behind `Authorization: Bearer`, or None."""
    scheme, _, given = context.headers.get("authorization", "").partition(" ")
    return given.strip() if scheme.lower() == "bearer" else None


def _settled(call: Callable[[], T | Awaitable[T]], context: RequestContext | None) -> T:
    may_wait()
    result = call()
    if not inspect.isawaitable(result):
        return result

    async def wait() -> T:
        return await result

    if context is not None and context.run_async is not None:
        settled: T = context.run_async(wait)
        return settled
    return asyncio.run(wait())
