"""Jobs that workers claim and end over GraphQL in a second: `acquireJob`, then `jobUpdate` to successful, as the npm client does.

    python -m benchmarks.graphql_cycles --database postgresql://USER@HOST/DATABASE [--clients 32] [--seconds 4] [--rounds 3]
        [--queued 1000,100000] [--reference URL --reference-fill COMMAND] [--json]

One `gnj serve` on that PostgreSQL database, which has to be gnj's own for the time: its jobs are removed. With a reference - another
server of the same API - both are asked in turn, and the ratio is that of the medians. The command puts jobs into the reference's
queue: a shell command that finds GNJ_TYPE and GNJ_COUNT in its environment, and first removes those that are there.
A round ends when the jobs do.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import uuid
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

from benchmarks.graphql_http import serving
from benchmarks.harness import options
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


def fill_reference(command: str, type: str, count: int) -> None:
    """As many queued jobs in the reference's queue."""
    environment = {**os.environ, "GNJ_TYPE": type, "GNJ_COUNT": str(count)}
    subprocess.run(command, shell=True, check=True, env=environment, stdout=subprocess.DEVNULL)


def measure(given: argparse.Namespace) -> list[dict[str, Any]]:
    """For each size of the queue: the rates, their medians, and the ratio."""
    told = []
    with ExitStack() as stack:
        migrate = ["-m", "gnj.cli", "migrate", "--database", given.database]
        url = given.url or stack.enter_context(
            serving("-m", "gnj.cli", "serve", "--port", "0", "--database", given.database, before=migrate)
        )
        servers = {"gnj": (url, partial(fill, given.database))}
        if given.reference:
            servers["reference"] = (given.reference, partial(fill_reference, given.reference_fill))
        for queued in given.queued:
            rates: dict[str, list[float]] = {name: [] for name in servers}
            for _ in range(given.rounds):
                for name, (asked, fill_queue) in servers.items():
                    type = f"load-{uuid.uuid4().hex[:8]}"
                    fill_queue(type, queued)
                    rates[name].append(load(asked, partial(cycles, asked, type), given.clients, given.seconds).rate)
            medians = {name: statistics.median(each) for name, each in rates.items()}
            ratio = medians["gnj"] / medians["reference"] if given.reference else None
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
    parser.add_argument("--reference")
    parser.add_argument("--reference-fill")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(argv)
    if bool(given.reference) != bool(given.reference_fill):
        parser.error("--reference and --reference-fill go together")
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
