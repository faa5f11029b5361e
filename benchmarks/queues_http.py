"""Jobs added, and lists of jobs, in a second, through the REST face of `gnj serve`; beside the same calls of the library.

    python -m benchmarks.queues_http --database postgresql://… [--queued 1000,1000000] [--clients 32] [--seconds 2] [--rounds 3]

Of each size of a queue: `POST /queues/mail/jobs` with one job and with 100, `GET /queues/mail/jobs?statuses=waiting` and with all
states, ten jobs each. The library - `Queue.enqueue`, `Queue.enqueue_many` of 100, `Queue.page` - is called by as many threads of
one process as there are clients. They take turns; ratios are those of the medians. A database bench_queues_http is made on the
server, and dropped.
"""

from __future__ import annotations

import json
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from benchmarks.graphql_http import serving
from benchmarks.harness import options
from benchmarks.harness.http_load import Script, apart, load, post

DATABASE = "bench_queues_http"
QUEUE = "mail"
MANY = 100
JOB = {"name": "welcome", "data": {"to": "anna@example.org", "template": 7}}
CALLS = ("add one", f"add {MANY}", "list waiting", "list all")


def asking(url: str, call: str, number: int, count: Callable[[], None]) -> Script:
    """A client that makes one call again and again, and counts jobs that were added, or lists."""
    target, counts = f"{url}/queues/{QUEUE}/jobs", 1
    if call.startswith("add"):
        counts = MANY if call == CALLS[1] else 1
        request = post(target, json.dumps([JOB] * counts).encode())
    else:
        parts = urlsplit(target)
        states = "?statuses=waiting" if call == CALLS[2] else ""
        request = f"GET {parts.path}{states} HTTP/1.1\r\nhost: {parts.netloc}\r\naccept: */*\r\n\r\n".encode()
    while True:
        answer = yield request
        assert b'"error"' not in answer[:10], answer
        for _ in range(counts):
            count()


def library(database: str, call: str, threads: int, seconds: float, told: Any) -> None:
    """Makes one call again and again, in so many threads; tells how many jobs or lists that were in a second."""
    from gnj import GNJ, NewJob

    jobs = GNJ(database)
    queue, new = jobs.queue, NewJob(QUEUE, JOB["data"], name="welcome")
    calls: dict[str, tuple[Callable[[], Any], int]] = {
        CALLS[0]: (lambda: queue.enqueue(new), 1),
        CALLS[1]: (lambda: queue.enqueue_many([new] * MANY), MANY),
        CALLS[2]: (lambda: queue.page(QUEUE, ["waiting"], 0, 10, tenant=""), 1),
        CALLS[3]: (lambda: queue.page(QUEUE, (), 0, 10, tenant=""), 1),
    }
    work, counts = calls[call]
    work()
    done = [0] * threads
    began = time.perf_counter()

    def run(number: int) -> None:
        while time.perf_counter() < began + seconds:
            work()
            done[number] += counts

    running = [threading.Thread(target=run, args=(number,)) for number in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    told.send(sum(done) / (time.perf_counter() - began))
    jobs.close()


def call_library(database: str, call: str, threads: int, seconds: float) -> float:
    """`library` in a process of its own."""
    return float(apart("the library", library, database, call, threads, seconds))


@contextmanager
def filled(server: str, queued: int) -> Iterator[str]:
    """A database of its own on the server, with so many jobs that wait."""
    import psycopg

    from gnj.storage.sql import SqlStorage

    parts = urlsplit(server)
    url = parts._replace(path=f"/{DATABASE}").geturl()
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
        connection.execute(f"CREATE DATABASE {DATABASE}")
        try:
            storage = SqlStorage(url)
            storage.migrate()
            storage.close()
            with psycopg.connect(url, autocommit=True) as own:
                own.execute(
                    "INSERT INTO gnj_job (type, name, input, created_at, updated_at) "
                    f"SELECT '{QUEUE}', 'welcome', '{json.dumps(JOB['data'])}', now(), now() "
                    f"FROM generate_series(1, {queued})"
                )
                own.execute("VACUUM ANALYZE gnj_job")
            yield url
        finally:
            connection.execute(f"DROP DATABASE {DATABASE} WITH (FORCE)")


def measure(server: str, queued: int, clients: int, seconds: float, rounds: int) -> dict[str, Any]:
    """The rates of each call, through HTTP and in the library, and the ratio of their medians; lists first."""
    told: dict[str, Any] = {"queued": queued}
    with (
        filled(server, queued) as database,
        serving("-m", "gnj.cli", "serve", "--port", "0", "--database", database) as graphql,
    ):
        url = graphql.removesuffix("/graphql")
        for call in reversed(CALLS):
            http: list[float] = []
            called: list[float] = []
            for _ in range(rounds):
                http.append(load(url, partial(asking, url, call), clients, seconds).rate)
                called.append(call_library(database, call, clients, seconds))
            medians = {"http": statistics.median(http), "library": statistics.median(called)}
            told[call] = {**medians, "ratio": medians["http"] / medians["library"], "all": [http, called]}
    return told


def main(argv: Sequence[str] | None = None) -> None:
    parser = options.command_line(__doc__)
    parser.add_argument("--database", metavar="URL", required=True, help="a PostgreSQL server, postgresql://…/postgres")
    parser.add_argument("--queued", default="1000,1000000", help="jobs that wait at the start, of each run")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="also what each round gave")
    given = parser.parse_args(argv)
    found = [
        measure(given.database, int(size), given.clients, given.seconds, given.rounds)
        for size in given.queued.split(",")
    ]
    if given.json:
        print(json.dumps(found))
        return
    for told in found:
        print(f"{told['queued']:,} jobs wait")
        for call in CALLS:
            one = told[call]
            share = "" if told is found[0] else f"   {one['http'] / found[0][call]['http']:.2f} of the first"
            print(f"  {call:14}{one['http']:9,.0f} /s   library {one['library']:9,.0f} /s   {one['ratio']:.2f}{share}")


if __name__ == "__main__":
    main()
