"""Small requests, answered by the protocol itself: on the event loop, and without what ASGI has for requests of any kind.

A worker that claims jobs and ends them sends two small requests for each. ASGI makes a task, a scope and two events for each of them,
and has the answer sent in two messages; a thread makes it. That was half of all the server's CPU. What an endpoint
can begin without waiting (`gnj.api.http.Prompt`) is asked for here instead, and written in one piece when it is there. Every
other request goes uvicorn's way, as if nobody had looked at it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from functools import lru_cache, partial
from typing import Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from gnj.api.asgi import headers_of
from gnj.api.http import Prompt, Request, Response
from gnj.graphql.limits import Limits

logger = logging.getLogger("gnj.cli")

SMALL: Final = 4 * 1024
"""Bytes up to which a request is looked at here, if they come in one piece."""
PARTS: Final = 200
"""Commas and brackets up to which it is: a value in JSON takes 2 us until it is in a job, so that 8 KiB of lists took 25 ms of the event
loop, in which nobody else was answered."""


class _Silent:
    """What uvicorn wakes a waiting ASGI application with."""

    def set(self) -> None:
        """Nobody waits."""


class _Exchange:
    """A request that is answered here, as far as uvicorn's protocol looks at those under way."""

    __slots__ = ("disconnected", "keep_alive", "message_event", "response_complete")

    def __init__(self, *, keep_alive: bool) -> None:
        self.keep_alive = keep_alive
        self.disconnected = False
        self.response_complete = False
        self.message_event = _SILENT


class PromptProtocol(HttpToolsProtocol):
    """Answers small requests itself.

    A request is looked at that comes whole in one piece, while none is under way on its connection: one that does not end, or
    comes before the answer to another one, is not dealt with here.
    """

    prompt: Mapping[bytes, Prompt] = {}
    """What answers requests here, by the path as it is sent."""

    small = SMALL
    """No more than the bounds of a body and of a head, which are not looked at here."""

    _between = True
    """Whether the next bytes begin a request."""
    _whole = False
    """Whether what is being read is small, and began with a request."""
    _asked: Prompt | None = None
    """What is to answer the request whose head was read."""
    _body = b""

    def data_received(self, data: bytes) -> None:
        """Reads what has come."""
        self._whole = self._between and len(data) <= self.small and sum(map(data.count, _SIGNS)) <= PARTS
        super().data_received(data)
        if self._asked is not None:  # the rest of it is still to come
            self._go_on()

    def on_message_begin(self) -> None:
        """A request begins."""
        self._between = False
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Its head was read."""
        asked = self.prompt.get(self.url) if self._whole else None
        if asked is not None and self._is_plain():
            self._asked, self._body = asked, b""
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A part of its body was read."""
        if self._asked is None:
            super().on_body(body)
        else:
            self._body += body

    def on_message_complete(self) -> None:
        """All of it was read."""
        self._between = True
        asked = self._asked
        if asked is not None:
            told = asked(self._request())
            if told is not None:
                self._asked = None
                self._await(told)
                return
            self._go_on()
        super().on_message_complete()

    def _is_plain(self) -> bool:
        parser = self.parser
        return (
            parser.get_method() == b"POST"
            and parser.get_http_version() == "1.1"
            and not parser.should_upgrade()
            and not self.expect_100_continue
            and not self.flow.write_paused
            and getattr(self.cycle, "response_complete", True)  # None before the first request
            and not self.transport.is_closing()
        )

    def _request(self) -> Request:
        path = self.url.decode("ascii")
        return Request(
            method="POST",
            path=path,
            sent_path=path,
            headers=headers_of(self.headers),
            body=self._body,
            client_host=self.client[0] if self.client else None,
            scheme=self.scheme or "http",
            later=True,
        )

    def _go_on(self) -> None:
        """Has uvicorn do what it would have done with it so far."""
        self._asked = None
        super().on_headers_complete()
        if self._body:
            super().on_body(self._body)

    def _await(self, told: Response | asyncio.Future[Response]) -> None:
        exchange = _Exchange(keep_alive=self.parser.should_keep_alive())
        self.cycle = exchange  # type: ignore[assignment]
        if isinstance(told, Response):
            # not before the parser has read what else has come: it may be a request, which is to find this one under way
            self.loop.call_soon(self._answer, exchange, told)
        else:
            self.tasks.add(told)  # type: ignore[arg-type] # a server that ends waits for it, also when its client has left
            told.add_done_callback(partial(self._told, exchange))

    def _told(self, exchange: _Exchange, told: asyncio.Future[Response]) -> None:
        self.tasks.discard(told)
        if told.cancelled():
            self.transport.close()
        elif (error := told.exception()) is not None:
            logger.error("A request could not be answered", exc_info=error)
            self.transport.close()
        else:
            self._answer(exchange, told.result())

    def _answer(self, exchange: _Exchange, response: Response) -> None:
        exchange.response_complete = True
        if exchange.disconnected or self.transport.is_closing():
            return
        default = b"".join(b"%b: %b\r\n" % each for each in self.server_state.default_headers)
        close = b"" if exchange.keep_alive else b"connection: close\r\n"
        head = _head(response.headers)
        length = b"content-length: %d\r\n" % len(response.body)
        self.transport.write(
            b"".join((STATUS_LINE[response.status], default, head, length, close, b"\r\n", response.body))
        )
        if not exchange.keep_alive:
            self.transport.close()
        self.on_response_complete()


@lru_cache(maxsize=64)
def _head(headers: tuple[tuple[str, str], ...]) -> bytes:
    return "".join(f"{name}: {value}\r\n" for name, value in headers).encode("latin-1")


_SILENT: Final = _Silent()
_SIGNS: Final = (b",", b"[", b"{")


def small(limits: Limits) -> int:
    """Bytes up to which a request is answered here, with those limits: what may be too much for one is for uvicorn's way."""
    return min(SMALL, limits.max_body, limits.max_headers, limits.max_url)
