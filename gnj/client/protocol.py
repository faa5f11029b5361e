"""GraphQL over HTTP as a client speaks it, without the sending: requests become bytes, answers become data or errors."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from gnj.client.errors import ClientError, Unreachable
from gnj.queue.errors import InvalidInput
from gnj.queue.model import Job, by_wire
from gnj.queue.values import Json, check_json, check_text, dump_json, shown

ACCEPT = "application/graphql-response+json, application/json"
EVENTS = "text/event-stream"
_LATER = frozenset({408, 429, 502, 503, 504})
"""HTTP statuses that speak of the moment, not of the request."""
_STATUSES: Mapping[int, str] = {401: "UNAUTHENTICATED", 403: "FORBIDDEN", 404: "NOT_FOUND", 413: "TOO_LARGE"}
"""Codes of answers that are not GraphQL."""

JOB = " ".join(by_wire(Job))
"""Everything there is to select of a job but what it leads to."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One GraphQL operation with one root field.

    Args:
        text: The document.
        root: The name, or alias, under which the answer stands.
        variables: What the document asks for.
    """

    text: str
    root: str
    variables: Mapping[str, Any] = field(default_factory=dict)

    def body(self) -> bytes:
        """What is sent."""
        return dump_json({"query": self.text, "variables": dict(self.variables)}).encode()


def headers_of(token: str | None, headers: Mapping[str, str] | None) -> dict[str, str]:
    """The headers of every request. Raises `InvalidInput` for a token that no header can carry."""
    sent = {"accept": ACCEPT, "content-type": "application/json", **{n.lower(): v for n, v in (headers or {}).items()}}
    if token is not None:
        if not check_text(token, "token", empty=False).isascii() or not token.isprintable() or " " in token:
            raise InvalidInput("token must be printable ASCII without blanks")
        sent["authorization"] = f"Bearer {token}"
    return sent


def url_of(url: object) -> str:
    """The address of a GraphQL endpoint. Raises `InvalidInput`."""
    text = check_text(url, "url", empty=False)
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        parts, host = urlsplit(""), None
    if parts.scheme not in ("http", "https") or not host or not text.isascii() or not text.isprintable():
        raise InvalidInput(f"url must be an address like https://example.com/jobs/graphql, not {shown(text)}")
    return text


def answered(operation: Operation, status: int, headers: Mapping[str, str], body: bytes) -> Any:
    """What the root field was answered with. Raises `ClientError`, `Unreachable`."""
    answer = _object(body)
    errors = answer.get("errors") if answer is not None else None
    if isinstance(errors, list) and errors:
        raise _error(errors, status, headers)
    if status in _LATER:
        raise Unreachable(f"the server answered {status}", status=status, retry_after=_retry_after(headers))
    data = answer.get("data") if answer is not None else None
    if not 200 <= status < 300 or not isinstance(data, dict) or operation.root not in data:
        where = f" (to {headers['location'][:200]})" if 300 <= status < 400 and "location" in headers else ""
        message = f"the server answered {status}{where} and no GraphQL: is this the address of its GraphQL endpoint?"
        raise ClientError(message, _STATUSES.get(status, "NO_GRAPHQL"), status=status)
    return data[operation.root]


def as_variable(value: Json, what: str) -> Json:
    """A JSON value as a variable of the scalar SequelizeJSON, which reads a text as JSON itself. Raises `InvalidInput`."""
    value = check_json(value, what)
    return dump_json(value) if isinstance(value, str) else value


def as_input(job: Mapping[str, Any]) -> dict[str, Any]:
    """A `jobInput`, its JSON values as variables of their scalar. Raises `InvalidInput`."""
    values = ("input", "output", "processingInfo", "backoff")
    return {name: as_variable(value, f"job.{name}") if name in values else value for name, value in job.items()}


class EventLines:
    """Reads a stream of server-sent events (HTML standard, 9.2), as `graphql-sse` uses them."""

    def __init__(self) -> None:
        self._rest = b""
        self._name = ""
        self._data: list[str] = []

    def feed(self, chunk: bytes) -> Iterator[tuple[str, str]]:
        """The events, name and data, that end in `chunk`."""
        *lines, self._rest = (self._rest + chunk).replace(b"\r\n", b"\n").split(b"\n")
        for raw in lines:
            line = raw.decode(errors="replace")
            if not line:
                if self._name or self._data:
                    yield self._name or "message", "\n".join(self._data)
                self._name, self._data = "", []
                continue
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if name == "event":
                self._name = value
            elif name == "data":
                self._data.append(value)


def _object(body: bytes) -> dict[str, Any] | None:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return answer if isinstance(answer, dict) else None


def _error(errors: list[Any], status: int, headers: Mapping[str, str]) -> ClientError:
    first = errors[0] if isinstance(errors[0], dict) else {}
    extensions = first.get("extensions")
    code = extensions.get("code") if isinstance(extensions, dict) else None
    message = first.get("message")
    text = message if isinstance(message, str) and message else f"the server answered {status} with an error"
    if not isinstance(code, str):
        code = _STATUSES.get(status, ClientError.code)
    if status in _LATER:
        return Unreachable(text, code, status=status, retry_after=_retry_after(headers))
    return ClientError(text, code, errors=errors, status=status)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds; None where the server did not say, or named a date (RFC 9110, 10.2.3)."""
    try:
        seconds = float(headers.get("retry-after", ""))
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None
