"""How long a change takes to reach its subscribers: `gnj serve` on SQLite, WebSockets over loopback, one client process.

    python -m benchmarks.subscriptions [--subscribers 500] [--changes 50]

Twice: once with everybody reading, once with one more client that has 100 subscriptions and never reads. A change is a
`jobCreate` over HTTP, ten in a second; the time is from before its request to the arrival of the event, which a client
process that reads 500 sockets delays as well.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect

from benchmarks.harness import options

SUBSCRIPTION = "subscription { jobCreated { id type status input } }"
CREATE = "mutation ($job: jobInput!) { jobCreate(job: $job) { id } }"
PERIOD = 0.1
PADDING = "x" * 2_000


async def subscribe(host: str, operations: int = 1, **options: Any) -> ClientConnection:
    """A socket with subscriptions that have begun."""
    options = {"subprotocols": ["graphql-transport-ws"], "compression": None, "proxy": None} | options
    connection = await connect(f"ws://{host}/graphql", **options)
    await connection.send('{"type":"connection_init"}')
    await connection.recv()
    for number in range(operations):
        asked = {"id": str(number), "type": "subscribe", "payload": {"query": SUBSCRIPTION}}
        await connection.send(json.dumps(asked))
    # operations of a socket begin in their order, unless there are too many already
    last = {"id": "q", "type": "subscribe", "payload": {"query": "{ jobCount }"}}
    if operations < 100:
        await connection.send(json.dumps(last))
        while json.loads(await connection.recv())["type"] != "complete":
            pass
    return connection


async def listen(connection: ClientConnection, changes: int) -> list[float]:
    """The seconds that each change took to arrive."""
    taken = []
    while len(taken) < changes:
        message = json.loads(await connection.recv())
        if message["type"] == "next":
            taken.append(time.perf_counter() - message["payload"]["data"]["jobCreated"]["input"]["at"])
        elif message["type"] == "ping":
            await connection.send('{"type":"pong"}')
    return taken


async def run(host: str, subscribers: int, changes: int) -> list[float]:
    """The seconds that all deliveries took."""
    connections = []
    for begin in range(0, subscribers, 50):
        connections += await asyncio.gather(*(subscribe(host) for _ in range(begin, min(begin + 50, subscribers))))
    listening = [asyncio.create_task(listen(each, changes)) for each in connections]
    async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
        for _ in range(changes):
            job = {"type": "t", "input": {"at": time.perf_counter(), "padding": PADDING}}
            await client.post(f"http://{host}/graphql", json={"query": CREATE, "variables": {"job": job}})
            await asyncio.sleep(PERIOD)
    async with asyncio.timeout(30):
        taken = await asyncio.gather(*listening)
    for each in connections:
        await each.close()
    return [seconds for of_one in taken for seconds in of_one]


def resident(process: subprocess.Popen[str]) -> float:
    """Megabytes of memory of a process; 0 where that cannot be read."""
    try:
        status = Path(f"/proc/{process.pid}/status").read_text()
    except OSError:
        return 0.0
    found = re.search(r"VmRSS:\s+(\d+)", status)
    return int(found[1]) / 1024 if found else 0.0


def report(name: str, taken: list[float], memory: float) -> None:
    cuts = statistics.quantiles(taken, n=100)
    print(
        f"{name:<44}{len(taken):>8,} deliveries   p50 {cuts[49] * 1e3:6.1f} ms   p95 {cuts[94] * 1e3:6.1f} ms   "
        f"max {max(taken) * 1e3:6.1f} ms   {memory:5.0f} MB"
    )


async def measure(host: str, process: subprocess.Popen[str], subscribers: int, changes: int) -> None:
    await run(host, 10, 5)
    report(f"{subscribers} subscribers", await run(host, subscribers, changes), resident(process))
    narrow = socket.socket()
    narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    name, port = host.split(":")
    narrow.connect((name, int(port)))
    # a queue of one message: beyond it the client's library does not read from the connection
    deaf = await subscribe(host, 100, sock=narrow, max_queue=1, ping_interval=None)
    taken = await run(host, subscribers, changes)
    report(f"{subscribers} subscribers, one more does not read", taken, resident(process))
    deaf.transport.abort()


def main() -> None:
    parser = options.command_line(__doc__)
    parser.add_argument("--subscribers", type=int, default=500, metavar="N", help="WebSockets that read (500)")
    parser.add_argument("--changes", type=int, default=50, metavar="N", help="jobs that are created, each time (50)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("GNJ_")}
        with subprocess.Popen(
            [sys.executable, "-m", "gnj.cli", "serve", "--port", "0", "--database", f"sqlite:///{folder}/gnj.db"],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                assert process.stdout is not None
                found = re.search(r"http://([^/]+)/", process.stdout.readline())
                assert found is not None
                asyncio.run(measure(found[1], process, given.subscribers, given.changes))
            finally:
                process.send_signal(signal.SIGTERM)


if __name__ == "__main__":
    main()
