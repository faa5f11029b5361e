"""The protocol graphql-transport-ws, server side, without any input or output.

`Protocol.receive` takes a message of the client and gives what it asks for; `Protocol` also writes the server's messages.
What it cannot accept is raised as `Close`, with the code and reason for the socket.

| code | |
|---|---|
| 4400 | the message is not one of the protocol |
| 4401 | an operation before the connection was acknowledged |
| 4403 | the caller is not accepted, or not any more |
| 4406 | the client does not speak this protocol |
| 4408 | no `connection_init` in time |
| 4409 | an operation with the id of one that is under way |
| 4413 | the client does not read what it asked for |
| 4429 | a second `connection_init` |
| 4499 | no sign of life |
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final, TypeAlias

from gnj.graphql.limits import Limits
from gnj.queue.errors import InvalidInput
from gnj.queue.values import dump_json, parse_json

SUBPROTOCOL: Final = "graphql-transport-ws"

_MAX_ID = 200
"""Characters of an operation's id: it is kept and sent back with every event."""


class Close(Exception):
    """The socket has to be closed, with this code and reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        # RFC 6455, 5.5: what a control frame has room for
        self.reason = reason.encode()[:120].decode(errors="ignore")


@dataclass(frozen=True, slots=True)
class Init:
    """`connection_init`: who the client says it is."""

    params: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Subscribe:
    """An operation is to begin, of whatever kind."""

    id: str
    query: str
    variables: Mapping[str, Any]
    operation_name: str | None


@dataclass(frozen=True, slots=True)
class Complete:
    """The client wants no more of the operation with that id."""

    id: str


@dataclass(frozen=True, slots=True)
class Ping:
    """To be answered with `pong`."""

    payload: Any


@dataclass(frozen=True, slots=True)
class Pong:
    """The client is there."""


Message: TypeAlias = Init | Subscribe | Complete | Ping | Pong


class _State(Enum):
    OPEN = auto()
    INITIALISED = auto()
    ACKNOWLEDGED = auto()


class Protocol:
    """One connection's state. Not for threads."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._state = _State.OPEN
        self._ids: set[str] = set()

    @property
    def initialised(self) -> bool:
        """Whether `connection_init` has come."""
        return self._state is not _State.OPEN

    def receive(self, data: str | bytes) -> Message:
        """What a message asks for. Raises `Close`."""
        message = self._message(data)
        payload = message.get("payload")
        match message.get("type"):
            case "connection_init":
                return self._init(payload)
            case "subscribe":
                return self._subscribe(message.get("id"), payload)
            case "complete":
                id = _id(message.get("id"))
                self._ids.discard(id)
                return Complete(id)
            case "ping" if payload is None or isinstance(payload, dict):
                return Ping(payload)
            case "pong" if payload is None or isinstance(payload, dict):
                return Pong()
        raise Close(4400, "Invalid message")

    def acknowledge(self) -> str:
        """The client is accepted: what to send."""
        self._state = _State.ACKNOWLEDGED
        return '{"type":"connection_ack"}'

    def finished(self, id: str) -> bool:
        """The operation has ended by itself; False: the client had ended it already, and is told nothing."""
        if id not in self._ids:
            return False
        self._ids.remove(id)
        return True

    def _message(self, data: str | bytes) -> Mapping[str, Any]:
        if not isinstance(data, str):
            raise Close(4400, "Messages are text")
        most = self._limits.message
        if len(data) > most or len(data.encode(errors="replace")) > most:
            raise Close(1009, f"Messages are limited to {most:,} bytes")
        try:
            message = parse_json(data, "the message")
        except InvalidInput:
            raise Close(4400, "Messages are JSON of moderate depth") from None
        if not isinstance(message, dict):
            raise Close(4400, "Messages are JSON objects")
        return message

    def _init(self, payload: Any) -> Init:
        if self.initialised:
            raise Close(4429, "Too many initialisation requests")
        if payload is not None and not isinstance(payload, dict):
            raise Close(4400, "The payload of connection_init must be an object")
        self._state = _State.INITIALISED
        return Init(payload or {})

    def _subscribe(self, id: Any, payload: Any) -> Subscribe:
        id = _id(id)
        query, variables, name = _operation(payload)
        if self._state is not _State.ACKNOWLEDGED:
            raise Close(4401, "Unauthorized")
        if id in self._ids:
            raise Close(4409, f"Subscriber for {id[:60]} already exists")
        self._ids.add(id)
        return Subscribe(id, query, variables, name)


PING: Final = '{"type":"ping"}'


def pong(payload: Any) -> str:
    """The answer to a ping."""
    return '{"type":"pong"}' if payload is None else dump_json({"type": "pong", "payload": payload})


def next_message(id: str, body: str) -> str:
    """One answer of an operation; `body` is its JSON text, which is not encoded again for every subscriber."""
    return f'{{"id":{dump_json(id)},"type":"next","payload":{body}}}'


def error_message(id: str, errors: Any) -> str:
    """The operation could not begin, or broke off; nothing follows."""
    return dump_json({"id": id, "type": "error", "payload": errors})


def complete_message(id: str) -> str:
    """The operation has ended."""
    return dump_json({"id": id, "type": "complete"})


def _id(id: Any) -> str:
    if not isinstance(id, str) or not 0 < len(id) <= _MAX_ID:
        raise Close(4400, f"The id of an operation must be a text of 1 to {_MAX_ID} characters")
    return id


def _operation(payload: Any) -> tuple[str, Mapping[str, Any], str | None]:
    if not isinstance(payload, dict) or not isinstance(payload.get("query"), str):
        raise Close(4400, "The payload of subscribe must be an object with a query")
    variables, name, extensions = (payload.get(key) for key in ("variables", "operationName", "extensions"))
    if variables is not None and not isinstance(variables, dict):
        raise Close(4400, "variables must be an object or null")
    if name is not None and not isinstance(name, str):
        raise Close(4400, "operationName must be a string or null")
    if extensions is not None and not isinstance(extensions, dict):
        raise Close(4400, "extensions must be an object or null")
    return payload["query"], variables or {}, name
