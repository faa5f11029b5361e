"""Jobs that workers claim and end over GraphQL in a second: `acquireJob`, then `jobUpdate` to successful, as the npm client does.

    python -m benchmarks.graphql_cycles --database postgresql://USER@HOST/DATABASE [--clients 32] [--seconds 4] [--rounds 3]
        [--queued 1000,100000] [--rivals FOLDER] [--json]

One `gnj serve` on that PostgreSQL database, which has to be gnj's own for the time: its jobs are removed. With the folder of
`benchmarks.setup_rivals`, the server that the API is modelled on is asked in turn, on a database `bench_original` that is made beside that one, and the
ratio is that of the medians. A round ends when the jobs do.
"""

from __future__ import annotations

import argparse
import json
import statistics
import uuid
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.graphql_http import serving
from benchmarks.harness import options, original
from benchmarks.harness.http_load import Script, load, post

# what the npm client of the original sends
ACQUIRE = (
    "mutation acquireJob($typeList: [String!]!, $workerId: String, $workerType: String) { job: acquireJob(typeList: $typeList, "
    "workerId: $workerId, workerType: $workerType) { id type name input output status } }"
)
UPDATE = "mutation jobUpdate($job: jobInput!) { job: jobUpdate(job: $job) { id type name input output status processingInfo } }"
FILL = """
INSERT INTO gnj_job (type, name, status, input, created_at, updated_at)
SELECT %s, 'load', 'queued', '{"a": 1, "b": "two"}', now(), now() FROM generate_series(1, %s)
"""

_WARM = 1_000
"""Jobs that are done before anything is measured: the first ones of a server take it several times as long."""


def cycles(url: str, type: str, number: int, count: Callable[[], None]) -> Script:
    """A worker that claims a job and ends it, until there is none."""
    named = {"typeList": [type], "workerId": f"load-{number}", "workerType": "load"}
    acquire = post(url, json.dumps({"query": ACQUIRE, "variables": named}).encode())
    while (job := json.loads((yield acquire))["data"]["job"]) is not None:
        assert (job["type"], job["status"]) == (type, "processing"), job
        change = {"id": job["id"], "status": "successful", "output": {"ok": True}}
        answer = json.loads((yield post(url, json.dumps({"query": UPDATE, "variables": {"job": change}}).encode())))
        assert answer["data"]["job"]["status"] == "successful", answer
        count()


def fill(database: str, type: str, count: int) -> None:
    """As many queued jobs as that, and no others."""
    import psycopg

    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("TRUNCATE gnj_job CASCADE")
        connection.execute(FILL, (type, count))
        connection.execute("VACUUM ANALYZE gnj_job")


def measure(given: argparse.Namespace) -> list[dict[str, Any]]:
    """For each size of the queue: the rates, their medians, and the ratio."""
    told = []
    with ExitStack() as stack:
        migrate = ["-m", "gnj.cli", "migrate", "--database", given.database]
        ours = given.url or stack.enter_context(
            serving("-m", "gnj.cli", "serve", "--port", "0", "--database", given.database, before=migrate)
        )
        servers: dict[str, tuple[str, Callable[[str, int], None]]] = {"gnj": (ours, partial(fill, given.database))}
        if given.rivals is not None:
            servers["original"] = stack.enter_context(original.serving(given.rivals, given.database))
        for url, fill_queue in servers.values():
            fill_queue("warm", _WARM)
            load(url, partial(cycles, url, "warm"), given.clients, given.seconds)
        for queued in given.queued:
            rates: dict[str, list[float]] = {name: [] for name in servers}
            for _ in range(given.rounds):
                for name, (asked, fill_queue) in servers.items():
                    type = f"load-{uuid.uuid4().hex[:8]}"
                    fill_queue(type, queued)
                    rates[name].append(load(asked, partial(cycles, asked, type), given.clients, given.seconds).rate)
            medians = {name: statistics.median(each) for name, each in rates.items()}
            ratio = medians["gnj"] / medians["original"] if given.rivals is not None else None
            told.append({"queued": queued, "per_second": rates, "median": medians, "ratio": ratio})
    return told


def main(argv: Sequence[str] | None = None) -> None:
    parser = options.command_line(__doc__)
    parser.add_argument("--database", required=True)
    parser.add_argument("--url", help="a server on that database that runs already")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--queued", type=lambda text: [int(each) for each in text.split(",")], default=[1_000, 100_000])
    parser.add_argument("--rivals", type=Path)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(argv)
    if given.rivals is not None and not original.is_there(given.rivals):
        parser.error(
            f"it is not in {given.rivals}: `python -m benchmarks.setup_rivals {given.rivals}` installs it, where there is npm"
        )
    told = measure(given)
    if given.json:
        print(json.dumps(told))
        return
    for point in told:
        for name, rates in point["per_second"].items():
            each = ", ".join(f"{rate:,.0f}" for rate in rates)
            print(f"{point['queued']:>8,} queued   {name:10}{point['median'][name]:8,.0f} cycles/s   ({each})")
        if point["ratio"] is not None:
            print(f"{'':>8}          ratio     {point['ratio']:8.1f}")


if __name__ == "__main__":
    main()
