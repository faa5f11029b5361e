"""A site of this machine that sources are read from, and what is told of it."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

from gnj.reading import pieces
from gnj.transform.errors import SourceFailed
from gnj.transform.sources import Bad, Http, Source, SourceRegistry, Validators, charsets, documents, open_source
from gnj.transform.sources.packing import Budget, unpacked
from tests.fetch.conftest import Conversation, Raw

Serve = Callable[["Asked"], bytes | None]


class Asked:
    """A request as the site has it."""

    def __init__(self, whole: bytes) -> None:
        head, _, self.body = whole.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        self.method, self.target, _ = first.split(" ")
        self.headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}


class Site:
    """Answers by path: bytes as they are sent, or what a function makes of the request; 404 elsewhere."""

    def __init__(self, pages: Mapping[str, bytes | Serve]) -> None:
        self.pages = dict(pages)
        self.asked: list[Asked] = []
        self._raw = Raw(self._talk)
        self.port = self._raw.port
        self.close = self._raw.close

    @property
    def hits(self) -> int:
        """Connections."""
        return self._raw.hits

    def url(self, path: str = "/", host: str = "127.0.0.1") -> str:
        return self._raw.url(path, host)

    def _talk(self, talk: Conversation) -> None:
        while whole := talk.request():
            asked = Asked(whole)
            self.asked.append(asked)
            page = self.pages.get(asked.target, self.pages.get(asked.target.partition("?")[0], answer(b"", status=404)))
            data = page if isinstance(page, bytes) else page(asked)
            if data is None:
                return
            talk.answer(data)


@contextmanager
def site(**pages: bytes | Serve) -> Iterator[Site]:
    """`site(feed=…)` has it at /feed."""
    made = Site({f"/{name}": page for name, page in pages.items()})
    try:
        yield made
    finally:
        made.close()


def answer(body: bytes, content_type: str | None = None, *, status: int = 200, **headers: str) -> bytes:
    """An answer as it is sent; `last_modified` is the header Last-Modified."""
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    lines += [] if content_type is None else [f"Content-Type: {content_type}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


@contextmanager
def way(allow: Any = ("127.0.0.1",), limits: Any = None, **options: Any) -> Iterator[Http]:
    http = Http(allow, limits, **options)
    try:
        yield http
    finally:
        http.close()


def read(
    url: str | None,
    *,
    type: str = "Feed",
    http: Http | None = None,
    registry: SourceRegistry | None = None,
    validators: Validators | None = None,
    **fields: Any,
) -> list[Any]:
    """All that a source gives."""
    source = Source(type=type, url=url, **fields)
    with way() as own, open_source(source, registry or SourceRegistry(), http or own, validators) as opened:
        return list(opened)


PIECE = 256 * 1024


def parsed(
    data: bytes,
    content_type: str | None = None,
    path: str = "/x",
    *,
    coding: str | None = None,
    piece: int = PIECE,
    size: int = 10**9,
    most: int = 1_000_000,
) -> tuple[list[Any], str | None]:
    """The records of an answer with that body, read in such pieces, and what ends them; it is always final."""
    found: list[Any] = []
    with ExitStack() as patches:
        for module in (documents, charsets, pieces):
            patches.enter_context(patch.object(module, "PIECE", piece))
        try:
            stream = unpacked(io.BytesIO(data), coding, Budget(size))
            for each in documents.records(stream, content_type=content_type, path=path, most=most):
                found.append(each)  # noqa: PERF402 - it may raise on the way
        except SourceFailed as error:
            return found, str(error).removeprefix("the source cannot be read: ") if error.final else "not final"
    return found, None


def bad(position: int, reason: str, text: str = "") -> Bad:
    return Bad(position, reason, text)
