"""Requests of GraphQL over HTTP in a second, beside what the web server and one hop to a thread allow.

    python -m benchmarks.graphql_http [--clients 32] [--seconds 2] [--rounds 5] [--json]

`{__typename}` to `gnj serve` on SQLite, and to a bare ASGI application in the same server with the same settings: it reads the body,
runs a trivial function in a thread (anyio.to_thread.run_sync) and answers the same bytes. The two are asked in turn; the ratio is
that of the medians.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from benchmarks.harness import options
from benchmarks.harness.http_load import Load, Script, load, post

QUERY = b'{"query":"{__typename}"}'
ANSWER = b'{"data":{"__typename":"Query"}}'


def typenames(url: str, number: int, count: Callable[[], None]) -> Script:
    """A client that asks for `{__typename}` again and again."""
    request = post(url, QUERY)
    while True:
        answer = yield request
        assert answer == ANSWER, answer
        count()


async def bare(scope: Any, receive: Callable[[], Any], send: Callable[[Any], Any]) -> None:
    """The least that an application does which answers in a thread."""
    import anyio.to_thread

    if scope["type"] == "lifespan":
        for word in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{word}.complete"})
        return
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    answer = await anyio.to_thread.run_sync(_trivial, body)
    headers = [(b"content-type", b"application/json; charset=utf-8"), (b"content-length", b"%d" % len(answer))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


def _trivial(body: bytes) -> bytes:
    return ANSWER


def serve_bare() -> None:
    """Serves `bare` as `gnj serve` is served; for a process of its own."""
    from gnj.cli.http import Server
    from gnj.graphql.limits import Limits

    ours = socket.create_server(("127.0.0.1", 0))
    print(f"http://127.0.0.1:{ours.getsockname()[1]}/graphql", flush=True)
    nothing: Any = {"announce": lambda: None, "stop_workers": lambda _seconds: None, "end_subscriptions": lambda: None}
    Server(bare, {}, grace=5, limits=Limits(), **nothing).run([ours])


@contextmanager
def serving(*command: str, before: Sequence[str] = ()) -> Iterator[str]:
    """A server in a process of its own, and the URL that it prints; `before` is another command, which ends first."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GNJ_")}
    if before:
        subprocess.run([sys.executable, *before], env=environment, check=True, stdout=subprocess.DEVNULL)
    with subprocess.Popen([sys.executable, *command], env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            found = re.search(r"http://\S+/graphql", process.stdout.readline())
            assert found is not None, "the server did not start"
            yield found[0]
        finally:
            process.send_signal(signal.SIGTERM)


def measure(clients: int, seconds: float, rounds: int) -> dict[str, Any]:
    """The rates of both, and the ratio of their medians."""
    rates: dict[str, list[float]] = {"gnj": [], "bare": []}
    shares = []
    with (
        tempfile.TemporaryDirectory() as folder,
        serving("-m", "gnj.cli", "serve", "--port", "0", "--database", f"sqlite:///{folder}/gnj.db") as gnj,
        serving("-c", "from benchmarks.graphql_http import serve_bare; serve_bare()") as alone,
    ):
        for _ in range(rounds):
            for name, url in (("gnj", gnj), ("bare", alone)):
                told: Load = load(url, partial(typenames, url), clients, seconds)
                rates[name].append(told.rate)
                shares.append(told.cpu / told.seconds)
    medians = {name: statistics.median(each) for name, each in rates.items()}
    return {
        "clients": clients,
        "per_second": rates,
        "median": medians,
        "ratio": medians["gnj"] / medians["bare"],
        "client_cpu": max(shares),
    }


def main(argv: Sequence[str] | None = None) -> None:
    parser = options.command_line(__doc__)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(argv)
    told = measure(given.clients, given.seconds, given.rounds)
    if given.json:
        print(json.dumps(told))
        return
    for name in ("gnj", "bare"):
        each = ", ".join(f"{rate:,.0f}" for rate in told["per_second"][name])
        print(f"{name:6}{told['median'][name]:10,.0f} requests/s   ({each})")
    print(f"ratio {told['ratio']:10.2f}   (the client was busy for at most {told['client_cpu']:.0%} of the time)")


if __name__ == "__main__":
    main()
