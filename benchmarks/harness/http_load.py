"""Asks an HTTP server over connections that stay open, as fast as it answers: the client of the HTTP benchmarks.

A client that costs as much as the server measures itself. This one costs some 25 us of CPU a request (aiohttp: 300), and runs in
a process of its own. It reads no more of HTTP than status and Content-Length, as servers of JSON give it.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias
from urllib.parse import urlsplit

Script: TypeAlias = Generator[bytes, bytes, None]
"""What one client says: gives requests, is sent the bodies of their answers, and ends when it has nothing more to ask."""


@dataclass(frozen=True, slots=True)
class Load:
    """What was measured.

    Args:
        counted: What the scripts counted, or their requests, while it was measured.
        seconds: How long that was.
        ended: Whether a script ended before the time did.
        cpu: Seconds of CPU that the client took.
    """

    counted: int
    seconds: float
    ended: bool
    cpu: float

    @property
    def rate(self) -> float:
        """How many in a second."""
        return self.counted / self.seconds


def post(url: str, body: bytes) -> bytes:
    """A POST of JSON."""
    parts = urlsplit(url)
    head = (
        f"POST {parts.path} HTTP/1.1\r\nhost: {parts.netloc}\r\ncontent-type: application/json\r\n"
        f"accept: */*\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def load(url: str, scripts: Callable[[int, Callable[[], None]], Script], clients: int, seconds: float) -> Load:
    """Runs a script for each client, for so many seconds after the first fifth of a second, in a process of its own.

    `scripts` makes the script of the client with that number, which calls what it is given for everything it counts; it has to
    be picklable.
    """
    found: Load = apart("the client", _run, url, scripts, clients, seconds)
    return found


def apart(who: str, work: Callable[..., None], *given: Any) -> Any:
    """What `work(*given, pipe)` sends through the pipe, in a process of its own; `who` names it where it fails."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=work, args=(*given, theirs))
    process.start()
    theirs.close()
    try:
        return ours.recv()
    except EOFError:
        raise RuntimeError(f"{who} failed") from None
    finally:
        process.join()


def _run(url: str, scripts: Callable[..., Script], clients: int, seconds: float, pipe: Any) -> None:
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    with suppress(ImportError):
        from uvloop import new_event_loop as loop_factory
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        pipe.send(runner.run(_measure(url, scripts, clients, seconds)))


async def _measure(url: str, scripts: Callable[..., Script], clients: int, seconds: float) -> Load:
    parts, loop, counted, failed = urlsplit(url), asyncio.get_running_loop(), 0, loop_future()

    def count() -> None:
        nonlocal counted
        counted += 1

    made = [partial(_Client, scripts(number, count), failed) for number in range(clients)]
    host, port = parts.hostname or "127.0.0.1", parts.port or 80
    open_ = [(await loop.create_connection(each, host, port))[1] for each in made]
    for each in open_:
        each.begin()
    ends = [failed, *(each.ended for each in open_)]
    await asyncio.wait(ends, timeout=0.2, return_when=asyncio.FIRST_COMPLETED)
    before, begun, cpu = counted, time.perf_counter(), time.process_time()
    await asyncio.wait(ends, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    result = Load(
        counted - before,
        time.perf_counter() - begun,
        any(each.ended.done() for each in open_),
        time.process_time() - cpu,
    )
    if failed.done():
        failed.result()
    for each in open_:
        each.close()
    return result


def loop_future() -> asyncio.Future[None]:
    """A future of the loop that runs."""
    return asyncio.get_running_loop().create_future()


class _Client(asyncio.Protocol):
    def __init__(self, script: Script, failed: asyncio.Future[None]) -> None:
        self._script, self._failed = script, failed
        self.ended = loop_future()
        self._got = b""
        self._due = 0

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def begin(self) -> None:
        self._transport.write(next(self._script))

    def data_received(self, data: bytes) -> None:
        got = self._got = self._got + data if self._got else data
        if not self._due:
            head = got.find(b"\r\n\r\n")
            if head < 0:
                return
            if not got.startswith(b"HTTP/1.1 200 "):
                self._fail(RuntimeError(f"the server answered {got[:500]!r}"))
                return
            lower = got[:head].lower()
            at = lower.find(b"content-length:") + 15
            end = lower.find(b"\r", at)
            self._body = head + 4
            self._due = self._body + int(lower[at : end if end > 0 else head])
        if len(got) < self._due:
            return
        body = got[self._body : self._due]
        self._got, self._due = b"", 0
        try:
            self._transport.write(self._script.send(body))
        except StopIteration:
            self.ended.set_result(None)
        except Exception as error:
            self._fail(error)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.ended.done():
            self._fail(error or ConnectionResetError("the server closed the connection"))

    def close(self) -> None:
        if not self.ended.done():
            self.ended.cancel()
        self._transport.close()

    def _fail(self, error: Exception) -> None:
        if not self._failed.done():
            self._failed.set_exception(error)
