"""CPU per GraphQL request without a database: the first time a document is seen, and from then on.

    python -m benchmarks.graphql_cpu

"engine" is the operation alone, "endpoint" the whole request: authentication by token, JSON in, JSON out.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

from graphql import build_schema

from benchmarks.harness import options
from gnj.api.graphql_http import graphql_endpoint
from gnj.api.hooks import Guard
from gnj.api.http import Request
from gnj.graphql.engine import Engine
from gnj.graphql.scalars import scalars

SDL = """
scalar SequelizeJSON
scalar Date
type job { id: Int! type: String name: String input: SequelizeJSON output: SequelizeJSON status: String startedAt: Date }
type Query { a: Int }
type Mutation { acquireJob(typeList: [String!]!, workerId: String, workerType: String): job }
"""
ACQUIRE = (
    "mutation acquireJob($typeList: [String!]!, $workerId: String, $workerType: String) "
    "{ job: acquireJob(typeList: $typeList, workerId: $workerId, workerType: $workerType) "
    "{ id type name input output status } }"
)
VARIABLES = {"typeList": ["thumbnail"], "workerId": "worker-1", "workerType": None}
RUNS = 7


@dataclass(frozen=True)
class Job:
    id: int = 1
    type: str = "thumbnail"
    name: str = "a"
    input: object = None
    output: object = None
    status: str = "processing"


def engine() -> Engine:
    schema = build_schema(SDL)
    for scalar in scalars():
        scalar.bind_to_schema(schema)
    assert schema.mutation_type is not None
    job = Job(input={"path": "a.png", "sizes": [1, 2, 3]})
    schema.mutation_type.fields["acquireJob"].resolve = lambda _source, _info, **_arguments: job
    return Engine(schema)


def microseconds(work: Callable[[], object], times: int) -> float:
    """The median over runs of the CPU that one call takes."""
    runs = []
    for _ in range(RUNS):
        start = time.process_time()
        for _ in range(times):
            work()
        runs.append((time.process_time() - start) / times * 1e6)
    return statistics.median(runs)


def main() -> None:
    options.command_line(__doc__).parse_args()
    warm = engine()
    endpoint = graphql_endpoint(warm, Guard(token="secret"), lambda *_: None)
    headers = {"content-type": "application/json", "accept": "*/*", "authorization": "Bearer secret"}

    def seen_first(query: str, variables: dict[str, object] | None) -> Callable[[], object]:
        fresh = iter(range(10**9))
        return lambda: warm.execute(f"{query} #{next(fresh)}", variables)

    def request(query: str, variables: dict[str, object] | None) -> Callable[[], object]:
        body = json.dumps({"query": query, "variables": variables}).encode()
        return lambda: endpoint(Request(method="POST", path="/graphql", headers=headers, body=body))

    print(f"{'':24}{'first time':>12}{'engine':>10}{'endpoint':>10}   us of CPU, median of {RUNS} runs")
    cases: list[tuple[str, str, dict[str, object] | None]] = [
        ("acquireJob, 6 fields", ACQUIRE, dict(VARIABLES)),
        ("{__typename}", "{__typename}", None),
    ]
    for name, query, variables in cases:
        first = microseconds(seen_first(query, variables), 100)
        cached = microseconds(lambda: warm.execute(query, variables), 3_000)  # noqa: B023 - called at once
        whole = microseconds(request(query, variables), 3_000)
        print(f"{name:24}{first:12,.0f}{cached:10,.1f}{whole:10,.1f}")


if __name__ == "__main__":
    main()
