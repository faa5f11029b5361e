"""What those who read sources work with: requests held to the limits, and their answers as records."""

from __future__ import annotations

import ssl
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

from gnj.fetch.connection import Failure, Malformed, Pool
from gnj.fetch.messages import TooLong, phrase_of
from gnj.fetch.policy import Blocked, Policy, Resolve
from gnj.fetch.stream import Bounds, Misdirected, Outgoing, Patience, Stream, stream
from gnj.fetch.waits import GoOn
from gnj.queue import deadline
from gnj.settings_transform import SourceLimits
from gnj.transform.errors import BadSource, SourceBlocked, SourceFailed
from gnj.transform.sources import documents
from gnj.transform.sources.items import Bad, Validators
from gnj.transform.sources.packing import Budget, unpacked
from gnj.transform.sources.source import Source, headers_of, method_of, outgoing, url_of
from gnj.transform.sources.templates import check_credentials, filled, has_credentials
from gnj.transform.values import Record

_DEFAULTS: Final = {"User-Agent": "gnj", "Accept": "*/*"}
_TRIED: Final = 64 * 1024 * 1024
"""Bytes, decoded, that a request which tries a source reads of it: half a second of decompression."""
_LONGEST: Final = 1_000
"""Characters of a validator; a longer one is not kept."""


class Http:
    """The way to sources. For many threads, and to be closed.

    Args:
        allow: Hosts, `host:port` and `:port` that may be called beside the ports 80 and 443 of public addresses, compared with what the
            URL has: a name that leads to an address in it is not allowed by that.
        limits: How much one source may take.
        resolve: Looks names up; that of the machine unless given.
        tls: How servers of https prove who they are; against the authorities of this machine unless given.
    """

    def __init__(
        self,
        allow: Collection[str] = (),
        limits: SourceLimits | None = None,
        *,
        resolve: Resolve | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.policy = Policy(allow, resolve, literal=True)
        self.limits = SourceLimits() if limits is None else limits
        self.pool = Pool(tls)

    def close(self) -> None:
        """Closes the connections that are kept."""
        self.pool.close()


class Unchanged(Exception):
    """The source answered that it has not changed."""


class Answer:
    """What a source answered: 200 to 299 but 206, which is a part of it."""

    def __init__(self, answer: Stream, budget: Budget, limits: SourceLimits) -> None:
        self.headers = answer.headers
        """Their names in lower case."""
        self._path = answer.place.target
        self._limits = limits
        self._content = unpacked(answer, answer.headers.get("content-encoding"), budget)

    def read(self, size: int) -> bytes:
        """The next `size` bytes, decompressed; fewer only at the end. Raises `SourceFailed`."""
        return self._content.read(size)

    def records(self) -> Iterator[Record | Bad]:
        """Its records, as its content type says, else its name, else how it begins. Raises `SourceFailed` while it iterates."""
        return documents.records(
            self._content,
            content_type=self.headers.get("content-type"),
            path=self._path,
            most=self._limits.record,
        )


class Fetch:
    """A source that is being read: what a fetcher is given.

    Args:
        source: Which.
        http: The way to it.
        validators: What it said when it was last read.
        go_on: Asked about every second while it is waited for, and with each piece that comes; what it raises ends the reading.

    Raises `BadSource`.
    """

    def __init__(self, source: Source, http: Http, validators: Validators | None, go_on: GoOn | None = None) -> None:
        self.source = source
        """As it is described."""
        self.credentials: Mapping[str, str] = check_credentials(source.credentials)
        self.validators = validators or Validators()
        """What the source said when it was last read."""
        self.seen = Validators()
        """What it says now; the fetcher may set it."""
        self.is_unchanged = False
        """Whether the source said that nothing has changed."""
        self._is_begun = False
        self._http = http
        self._request = outgoing(source, self.credentials)
        # a request that tries a source has less time than a run, and less of it to read
        self._limit = limit = deadline.current()
        self._seconds = http.limits.total if limit is None else max(0.0, min(http.limits.total, limit.left()))
        self._patience = Patience(self._seconds)
        self._budget = Budget(http.limits.size if limit is None else min(http.limits.size, _TRIED), self._check)
        self._go_on = go_on
        self.ended_by: Exception | None = None
        """What `go_on` has raised."""

    @property
    def url(self) -> str:
        """Of the source, with its credentials in it; empty where it has none."""
        return self._request.url

    @contextmanager
    def open(
        self,
        url: str | None = None,
        *,
        method: str | None = None,
        headers: Sequence[str] | None = None,
        body: str | None = None,
        conditional: bool = False,
    ) -> Iterator[Answer]:
        """Sends a request, and follows its redirects; the answer is read while it is open. All that a source sends counts together.

        Args:
            url: The source's unless given, as the others are; `${NAME}` is replaced in all of them.
            method: One of `METHODS`.
            headers: Each as `Name: value`. Those with credentials in them go to no other origin, whatever redirects there.
            body: What is sent.
            conditional: Whether a source that has not changed may say so, to the first request, by GET: that ends the reading, well.

        Raises `SourceFailed`; ValueError where `conditional` comes too late.
        """
        if conditional and self._is_begun:
            raise ValueError("only the first request of a source can be conditional")
        self._is_begun = True
        limits = self._http.limits
        try:
            request = self._asked(url, method, headers, body)
        except BadSource as error:
            raise SourceFailed(str(error), final=True) from None
        known = self.validators if conditional and request.method == "GET" else Validators()
        told = {"If-None-Match": known.etag, "If-Modified-Since": known.last_modified}
        request = replace(
            request,
            headers=_with_defaults(request.headers)
            | {name: value for name, value in told.items() if value is not None},
        )
        bounds = Bounds(
            connect=limits.connect,
            idle=limits.idle,
            patience=self._patience,
            most=limits.size,
            redirects=limits.redirects,
            go_on=self._check,
        )
        with self._told(), stream(request, bounds, self._http.policy, self._http.pool) as answer:
            if answer.status == 304 and known != Validators():
                raise Unchanged
            if not 200 <= answer.status < 300 or answer.status == 206:
                raise _refusal(answer.status)
            if conditional and request.method == "GET":
                self.seen = Validators(
                    etag=_kept(answer.headers.get("etag")), last_modified=_kept(answer.headers.get("last-modified"))
                )
            yield Answer(answer, self._budget, limits)

    def _asked(self, url: str | None, method: str | None, headers: Sequence[str] | None, body: str | None) -> Outgoing:
        request = self._request
        if url is not None:
            request = replace(request, url=url_of(url, self.credentials))
        if method is not None:
            request = replace(request, method=method_of(method))
        if headers is not None:
            lines, private = headers_of(headers, self.credentials)
            request = replace(request, headers=lines, private=private)
        if body is not None:
            content = filled(body, self.credentials, "body").encode()
            request = replace(request, body=content, is_body_private=has_credentials(body, self.credentials))
        if not request.url:
            raise BadSource("url is missing")
        return request

    def _check(self) -> None:
        """Raises what `go_on` raises, and `SourceFailed` once a request that tries the source has no time left."""
        if self._limit is not None and self._limit.left() <= 0:
            raise self._too_late()
        if self._go_on is not None:
            try:
                self._go_on()
            except Exception as error:
                self.ended_by = error
                raise

    def _too_late(self) -> SourceFailed:
        return SourceFailed(f"the source took more than {round(self._seconds, 2):,g} s in all", final=True)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """What goes wrong as `SourceFailed`; final is what the other side would do again: see docs/sources.md, "What is tried again"."""
        try:
            yield
        except Blocked as error:
            raise SourceBlocked(f"the source's address may not be called: {error}") from None
        except (TooLong, Malformed, Misdirected) as error:
            raise SourceFailed(f"the source cannot be read: {error}", final=True) from None
        except Failure as error:
            raise SourceFailed(f"the source cannot be reached: {error}", final=False) from None
        except TimeoutError as error:
            if self._patience.is_over:
                raise self._too_late() from None
            raise SourceFailed(f"the source took too long: {error}", final=True) from None


def _with_defaults(headers: Mapping[str, str]) -> dict[str, str]:
    given = {name.lower() for name in headers}
    return {name: value for name, value in _DEFAULTS.items() if name.lower() not in given} | dict(headers)


def _refusal(status: int) -> SourceFailed:
    """Why an answer is none; only 5xx may be another one soon (rulings: Jobs)."""
    return SourceFailed(f"the source answered {status} {phrase_of(status)}", final=status < 500)


def _kept(value: str | None) -> str | None:
    """A validator, if it can be sent back as it is."""
    return value if value and len(value) <= _LONGEST and value.isprintable() else None
