"""Jobs that are pushed to an endpoint in a second, with as many calls at once.

    python -m benchmarks.push [--database URL] [--concurrency 1,10,50] [--jobs 3000] [--rounds 3] [--json]

`gnj serve`, as it comes, calls an endpoint on the same machine - one process, an event loop that answers `{"ok":true}` and does
nothing else - for jobs that wait already. Counted is from the first call to the moment when the database says that all are
done. BullMQ's proxy (1.5.3, Bun, on Redis without `fsync`; good to a factor of two) pushed 1,071, 1,746 and 2,351 jobs/s with 1, 10 and 50 calls at once.

The database must be empty, and migrated unless it is SQLite; unless given it is a SQLite file of its own.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import gnj
from benchmarks.graphql_http import serving
from benchmarks.harness import options

PROXY = {1: 1071, 10: 1746, 50: 2351}
_ANSWER = b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 11\r\n\r\n{"ok":true}'


class Endpoint(asyncio.Protocol):
    """Answers every call alike; a GET tells when the first one came, and forgets it."""

    first: float | None = None
    calls = 0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.rest = b""

    def data_received(self, data: bytes) -> None:
        data = self.rest + data
        while (end := data.find(b"\r\n\r\n")) >= 0:
            head = data[:end]
            if head.startswith(b"GET"):
                told = json.dumps([Endpoint.first, Endpoint.calls]).encode()
                Endpoint.first, Endpoint.calls = None, 0
                self.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(told) + told)
                data = data[end + 4 :]
                continue
            at = head.lower().find(b"\r\ncontent-length:") + 17
            length = int(head[at : head.find(b"\r\n", at)].strip())
            if len(data) < end + 4 + length:
                break
            if Endpoint.first is None:
                Endpoint.first = time.time()
            Endpoint.calls += 1
            data = data[end + 4 + length :]
            self.transport.write(_ANSWER)
        self.rest = data


def answer() -> None:
    """Serves `Endpoint`; for a process of its own."""

    async def serve() -> None:
        server = await asyncio.get_running_loop().create_server(Endpoint, "127.0.0.1", 0)
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()

    asyncio.run(serve())


@contextmanager
def answering() -> Iterator[int]:
    """The endpoint in a process of its own; its port."""
    command = [sys.executable, "-c", "from benchmarks.push import answer; answer()"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline())
        finally:
            process.kill()


def ask(url: str, token: str, method: str = "GET", value: Any = None) -> Any:
    """One request."""
    from urllib.request import Request, urlopen

    headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
    body = None if value is None else json.dumps(value).encode()
    with urlopen(Request(url, body, headers, method=method), timeout=30) as answer:
        return answer.read()


def once(jobs: gnj.GNJ, base: str, token: str, port: int, concurrency: int, count: int) -> float:
    """Jobs per second of one round."""
    queue = f"push-{secrets.token_hex(4)}"
    for start in range(0, count, 1000):
        jobs.enqueue_many([gnj.NewJob(queue, {"n": n}) for n in range(start, min(start + 1000, count))])
    endpoint = {"url": f"http://127.0.0.1:{port}/", "method": "POST", "timeout": 30_000}
    registration = {"queue": queue, "endpoint": endpoint, "opts": {"concurrency": concurrency}}
    ask(f"{base}/workers", token, "POST", registration)
    left = count
    while left:
        time.sleep(0.02)
        left = count - jobs.count(type=queue, status="successful")
    end = time.time()
    ask(f"{base}/workers/{queue}", token, "DELETE")
    first, calls = json.loads(ask(f"http://127.0.0.1:{port}/first", token))
    assert calls == count, f"{calls:,} calls for {count:,} jobs"
    return count / (end - float(first))


def measure(database: str | None, concurrencies: Sequence[int], count: int, rounds: int) -> dict[int, list[float]]:
    """The rates, by how many calls at once."""
    token = secrets.token_urlsafe(16)
    rates: dict[int, list[float]] = {each: [] for each in concurrencies}
    with tempfile.TemporaryDirectory() as folder, answering() as port:
        url = database or f"sqlite:///{folder}/gnj.db"
        command = ["serve", "--port", "0", "--database", url, "--fetch-allow", f"127.0.0.1:{port}", "--token", token]
        with serving("-m", "gnj.cli", *command) as graphql, gnj.GNJ(url) as jobs:
            base = graphql.removesuffix("/graphql")
            for concurrency in concurrencies:  # a connection, and statements that are known
                once(jobs, base, token, port, concurrency, 200)
            for _ in range(rounds):
                for concurrency in concurrencies:
                    rates[concurrency].append(once(jobs, base, token, port, concurrency, count))
    return rates


def main(argv: Sequence[str] | None = None) -> None:
    parser = options.command_line(__doc__)
    parser.add_argument("--database")
    parser.add_argument("--concurrency", default="1,10,50")
    parser.add_argument("--jobs", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(argv)
    concurrencies = [int(each) for each in given.concurrency.split(",")]
    rates = measure(given.database, concurrencies, given.jobs, given.rounds)
    if given.json:
        print(json.dumps(rates))
        return
    for concurrency, each in rates.items():
        median = statistics.median(each)
        known = f"{median / PROXY[concurrency]:.2f} x the proxy's" if concurrency in PROXY else ""
        print(
            f"{concurrency:4} at once {median:10,.0f} jobs/s   ({', '.join(f'{rate:,.0f}' for rate in each)})   {known}"
        )


if __name__ == "__main__":
    main()
