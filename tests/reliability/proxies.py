"""What stands between two processes and can fail them."""

from __future__ import annotations

import http.client
import select
import socket
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self


class Proxy:
    """Passes bytes on to a TCP server, until it is cut; nothing gets through then, and new connections are refused.

    Args:
        host: The server.
        port: The server's port.
    """

    def __init__(self, host: str, port: int) -> None:
        self._server = (host, port)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._flows = threading.Event()
        self._flows.set()
        self._accept()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()
        self._flows.set()
        for thread in self._threads:
            thread.join(10)

    def cut(self) -> None:
        """Ends every connection, and takes no more."""
        with self._lock:
            self._listening.shutdown(socket.SHUT_RDWR)
            self._listening.close()
            for each in self._open:
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

    def hang(self) -> None:
        """Passes nothing on any more, and ends nothing: whoever waits for an answer, waits."""
        self._flows.clear()

    def mend(self) -> None:
        """Takes connections again, on the same port."""
        self._listening = socket.create_server(("127.0.0.1", self.port))
        self._accept()

    def _accept(self) -> None:
        self._start(self._serve, self._listening)

    def _start(self, target, *arguments) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _serve(self, listening: socket.socket) -> None:
        while True:
            try:
                client, _ = listening.accept()
            except OSError:
                return
            self._start(self._pass, client)

    def _pass(self, client: socket.socket) -> None:
        with client, socket.create_connection(self._server) as server:
            with self._lock:
                self._open |= {client, server}
            with suppress(OSError):
                while self._pump(client, server):
                    pass
            with self._lock:
                self._open -= {client, server}

    def _pump(self, client: socket.socket, server: socket.socket) -> bool:
        for ready in select.select([client, server], [], [])[0]:
            self._flows.wait()
            data = ready.recv(65536)
            if not data:
                return False
            (server if ready is client else client).sendall(data)
        return True


class Forgetful(ThreadingHTTPServer):
    """Passes requests on to an HTTP server, and keeps the answer to every `every`th one whose body has `word` to itself.

    Args:
        port: The server's port on this machine.
        word: What those requests contain.
        every: How often the connection ends without an answer.
    """

    daemon_threads = True

    def __init__(self, port: int, word: str, every: int) -> None:
        super().__init__(("127.0.0.1", 0), _Forgetting)
        self.behind = port
        self.word = word.encode()
        self.every = every
        self.seen = self.dropped = 0
        self.counting = threading.Lock()
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._thread.join(10)
        self.server_close()

    def forgets(self, body: bytes) -> bool:
        """Whether the answer to this request is one that gets lost."""
        if self.word not in body:
            return False
        with self.counting:
            self.seen += 1
            lost = self.seen % self.every == 0
            self.dropped += lost
        return lost


class _Forgetting(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Forgetful

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        connection = http.client.HTTPConnection("127.0.0.1", self.server.behind, timeout=20)
        connection.request("POST", self.path, body, {"content-type": "application/json"})
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        if self.server.forgets(body):
            self.close_connection = True
            return
        self.send_response(answer.status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format, *arguments) -> None:
        """Says nothing."""
