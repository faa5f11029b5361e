"""Applications under a real server, and clients that subscribe to them."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests import serving

WAIT = 20
PROTOCOL = "graphql-transport-ws"


@contextlib.contextmanager
def served(app: Any, **options: Any) -> Iterator[str]:
    """The host and port of an application that is served, WebSockets too, while the block lasts."""
    with serving.served(app, **{"ws": "websockets-sansio", "timeout_graceful_shutdown": 5, **options}) as address:
        yield address.removeprefix("http://")


class Client:
    """A client of graphql-transport-ws that does what it is told, right or wrong."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    def send(self, type: str, **more: Any) -> None:
        self.connection.send(json.dumps({"type": type, **more}))

    def receive(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(self.connection.recv(WAIT))
        return message

    def init(self, **params: Any) -> None:
        self.send("connection_init", payload=params)
        assert self.receive() == {"type": "connection_ack"}

    def subscribe(self, id: str, query: str, /, **variables: Any) -> None:
        self.send("subscribe", id=id, payload={"query": query, "variables": variables})

    def next(self, id: str) -> Any:
        """The payload of the next message, which must be an answer to that operation."""
        message = self.receive()
        assert (message["id"], message["type"]) == (id, "next"), message
        return message["payload"]

    def settle(self) -> None:
        """Returns when what was sent has taken effect: operations of a socket begin in order."""
        self.run("{ __typename }")

    def run(self, query: str, /, **variables: Any) -> Any:
        """The data of a query or mutation, before which nothing else may come."""
        self.subscribe("run", query, **variables)
        answer = self.next("run")
        assert self.receive() == {"id": "run", "type": "complete"}
        assert "errors" not in answer, answer
        return answer["data"]

    def kill(self) -> None:
        """Ends the connection without a word."""
        self.connection.socket.shutdown(socket.SHUT_RDWR)

    def closed(self) -> tuple[int, str]:
        """Code and reason with which the server closes the socket now; what comes before is read and dropped."""
        with contextlib.suppress(ConnectionClosed):
            while True:
                self.connection.recv(WAIT)
        assert self.connection.protocol.close_rcvd is not None, "the connection was cut off"
        return self.connection.protocol.close_rcvd.code, self.connection.protocol.close_rcvd.reason


@contextlib.contextmanager
def connected(host: str, path: str = "/graphql", **options: Any) -> Iterator[Client]:
    options = {"subprotocols": [PROTOCOL], "compression": None, "proxy": None} | options
    with connect(f"ws://{host}{path}", **options) as connection:
        yield Client(connection)
