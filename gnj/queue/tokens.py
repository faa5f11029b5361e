"""Stored tokens: bearer credentials that are kept beside the jobs, each with what it allows and for which tenant.

A token is 256 random bits and is shown once, to whoever makes it; the storage has its SHA-256 only. So nobody can read a
token out of the database, and none can be guessed. Each is looked up by that digest, and what was found is remembered for
a moment: a server asks the database once in `REMEMBERED` seconds for a token in use, and obeys a revocation by another
process as soon.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import threading
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from gnj.queue import deadline
from gnj.queue.clock import NOW, After
from gnj.queue.deadline import Deadline
from gnj.queue.errors import GnjError, InvalidInput, NotFound, NotMigrated, StorageError
from gnj.queue.inputs import check_tenant
from gnj.queue.later import may_wait
from gnj.queue.model import Token
from gnj.queue.storage import Rows, Select, Storage
from gnj.queue.values import check_int, check_seconds, check_word, shown
from gnj.queue.where import EVERYTHING, equal

PREFIX: Final = "gnj_"
"""How every token begins, so that it is known as one wherever it leaks to."""
SCOPES: Final = ("read", "enqueue", "work", "admin")
"""What a token can allow, the kinds of action of `gnj.access`; "admin" is all of them."""
REMEMBERED: Final = 2.0
"""Seconds for which a token that was found, and whether there are any, is taken as read."""
FAILED: Final = 0.5
"""The same, of a database that did not tell."""
USED_EVERY: Final = 60.0
"""Seconds after which the use of a token is written down again."""
KEPT: Final = 1_000
"""Tokens remembered at most."""
LONGEST: Final = 10 * 366 * 86_400.0
_SHAPE: Final = re.compile(r"gnj_[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True)
class _Found:
    token: Token
    until: float
    """By `time.monotonic`: then it is looked up again."""


class Tokens:
    """The tokens of one storage. Threads may share it.

    Args:
        storage: Gives the storage, ready to be used; called when it is needed.
        seconds: How long the database may take to tell who has a token, or whether there is one.
    """

    def __init__(self, storage: Callable[[], Storage], *, seconds: float = 5.0) -> None:
        self._storage = storage
        self._seconds = seconds
        self._lock = threading.Lock()
        self._found: dict[str, _Found] = {}
        self._any: tuple[bool | StorageError, float] | None = None

    def create(
        self,
        name: str,
        *,
        scopes: Collection[str],
        tenant: str = "",
        expires: float | timedelta | None = None,
    ) -> str:
        """Makes a token and gives it, this once.

        Args:
            name: Names it, for people and for `revoke`.
            scopes: What it allows: some of `SCOPES`.
            tenant: Whose rows it is for.
            expires: Seconds until it is of no use any more; None: it does not expire.

        Raises `InvalidInput`, also for a name that a token has already.
        """
        word, owner = check_word(name, "name"), check_tenant(tenant)
        given: Any = scopes
        if isinstance(given, str) or not isinstance(given, Collection) or not given:
            raise InvalidInput(f"scopes must be some of {', '.join(SCOPES)}, not {shown(scopes)}")
        if unknown := [scope for scope in scopes if scope not in SCOPES]:
            raise InvalidInput(f"there is no scope {shown(unknown[0])}; there are: {', '.join(SCOPES)}")
        seconds = None if expires is None else check_seconds(expires, "expires", low=0.001, high=LONGEST)
        secret = PREFIX + secrets.token_urlsafe(32)
        row: dict[str, Any] = {
            "tenant": owner,
            "name": word,
            "hash": _digest(secret),
            "scopes": [scope for scope in SCOPES if scope in scopes],
            "expires_at": None if seconds is None else After(seconds),
        }
        with self._storage().begin() as tx:
            if tx.exists(Token, equal(Token, name=word)):
                raise InvalidInput(f"there is a token {shown(word)} already: revoke it first, or choose another name")
            tx.insert(Token, [row])
        self._any = None
        return secret

    def live(self) -> list[Token]:
        """Those that are not revoked, the oldest first."""
        return self._storage().find(Token, Select(order=(("id", False),)))

    def revoke(self, which: int | str) -> Token:
        """Takes the token with that id or name away, at once in this process and within seconds in others; gives it.

        Raises `NotFound`.
        """
        by = {"id": check_int(which, "id")} if isinstance(which, int) else {"name": check_word(which, "name")}
        with self._storage().begin() as tx:
            rows = tx.find(Token, Select(equal(Token, **by)))
            if not rows:
                raise NotFound(f"there is no token {shown(which)}")
            gone = tx.edit(Token, [row.id for row in rows], {"deleted_at": NOW})
        with self._lock:
            for row in gone:
                self._found.pop(row.hash, None)
            self._any = None
        return gone[0]

    def exist(self) -> bool:
        """Whether there is a token that was not revoked, expired or not; as it was at most `REMEMBERED` seconds ago.

        One that has expired counts: a server must not open because nobody renewed its token. Raises `StorageError` when
        the database does not tell.
        """
        known, now = self._any, time.monotonic()
        if known is None or now >= known[1]:
            may_wait()
            try:
                # held to no caller's limit: what is remembered is told to all, also that the database did not tell
                with deadline.instead(Deadline(now + self._seconds, self._seconds)):
                    found = self._storage().exists(Token, EVERYTHING)
            except NotMigrated:  # where there are no tables, there are no tokens
                found = False
            except StorageError as error:
                # a request asks several times: it waits once
                self._any = (error, time.monotonic() + FAILED)
                raise
            self._any = known = (found, time.monotonic() + REMEMBERED)
        if isinstance(known[0], StorageError):
            raise known[0].with_traceback(None)
        return known[0]

    def find(self, secret: str) -> Token | None:
        """The token with that text; None if there is none, or it was revoked or has expired, which nobody can tell apart."""
        return self.known(_digest(secret)) if _SHAPE.fullmatch(secret) else None

    def known(self, digest: str) -> Token | None:
        """The token with that digest (`Token.hash`), as `find`."""
        now = time.monotonic()
        found = self._found.get(digest)
        if found is None or now >= found.until:
            found = self._looked_up(digest, now)
        if found is None or not hmac.compare_digest(found.token.hash, digest):
            return None
        return found.token

    def _looked_up(self, digest: str, now: float) -> _Found | None:
        may_wait()
        storage = self._storage()
        try:
            with deadline.within(self._seconds, self._seconds), storage.begin(write=False) as tx:
                token, present = _valid(tx, digest)
        except NotMigrated:
            token, present = None, None
        with self._lock:
            self._found.pop(digest, None)
            if token is None or present is None:
                return None
            left = LONGEST if token.expires_at is None else (token.expires_at - present).total_seconds()
            found = _Found(token, now + min(REMEMBERED, left))
            while len(self._found) >= KEPT:
                del self._found[next(iter(self._found))]
            self._found[digest] = found
        if token.last_used_at is None or (present - token.last_used_at).total_seconds() >= USED_EVERY:
            # who may only read the database serves its tokens as well
            with suppress(GnjError), deadline.within(self._seconds, self._seconds):
                storage.edit(Token, [token.id], {"last_used_at": NOW})
        return found


def _valid(tx: Rows, digest: str) -> tuple[Token | None, datetime | None]:
    rows = tx.find(Token, Select(equal(Token, hash=digest), limit=1))
    if not rows:
        return None, None
    present = tx.now()
    expires = rows[0].expires_at
    return (None if expires is not None and expires <= present else rows[0]), present


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
