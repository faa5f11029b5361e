"""CPU time of one `acquireJob` without a database: a storage that always hands out the same job.

    python -m benchmarks.acquire_cpu [--rounds 2000]

Cold: a text the server has not seen, to be parsed and validated. Cached: the text every worker sends again and again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import count
from typing import Any

from benchmarks.harness import options
from gnj.api.hooks import Guard, Principal
from gnj.api.http import Request
from gnj.api.jobs import build_schema, context, routes
from gnj.graphql.engine import Engine
from gnj.queue.model import Job
from gnj.queue.service import Queue
from gnj.queue.storage import Storage

# what the npm client of the original sends
ACQUIRE = """mutation acquireJob($typeList: [String!]!, $workerId: String, $workerType: String) {
  job: acquireJob(typeList: $typeList, workerId: $workerId, workerType: $workerType) {
    id type name input output status __typename
  }
}"""
VARIABLES = {"typeList": ["thumbnail"], "workerId": "8d4c4b3e-3a86-4f1e-9a36-5c2b0c5d7e11", "workerType": "default"}
LIST = "{ job(limit: 1000) { id type name input output status priorityLevel createdAt startedAt workerId } }"
NOW = datetime.now(UTC)
JOBS = [Job(id=i, type="thumbnail", input={"path": "a.png"}, created_at=NOW, updated_at=NOW) for i in range(1, 1001)]


class StubRows:
    """Hands out the same rows, whatever is asked."""

    def now(self) -> datetime:
        return NOW

    def claim(self, *_args: Any, **given: Any) -> list[Job]:
        changes = given["changes"]
        return [JOBS[0].evolve(worker_id=changes["worker_id"], worker_type=changes["worker_type"])]

    def settle(self, *_args: Any, **_given: Any) -> list[Job]:
        return JOBS[:1]

    def find(self, kind: Any, *_args: Any, **_given: Any) -> list[Job]:
        return JOBS if kind is Job else []

    def columns(self, *_args: Any, **_given: Any) -> list[Any]:
        return []


class StubStorage(Storage):
    @contextmanager
    def begin(self, *, write: bool = True) -> Iterator[Any]:
        yield StubRows()

    def lost(self, limit: int) -> list[Job]:
        return []

    def bind(self, connection: Any) -> Any:
        raise NotImplementedError

    def listen(self, wake: Callable[[], None], wants: str = "jobs") -> Any:
        raise NotImplementedError

    def migrate(self) -> None: ...

    def check(self) -> None: ...

    def close(self) -> None: ...


def measure(name: str, call: Callable[[], object], rounds: int) -> None:
    call()
    best = float("inf")
    for _ in range(5):
        begun = time.process_time()
        for _ in range(rounds):
            call()
        best = min(best, (time.process_time() - begun) / rounds)
    print(f"{name:<44}{best * 1e6:>10,.0f} us")


def main() -> None:
    parser = options.command_line(__doc__)
    parser.add_argument(
        "--rounds", type=int, default=2000, metavar="N", help="requests, of which the mean is taken (2,000)"
    )
    rounds = parser.parse_args().rounds
    queue = Queue(StubStorage())
    engine = Engine(build_schema())
    route = next(each for each in routes(engine, queue, Guard()) if each.name == "graphql")
    numbers = count()

    def execute(text: str, variables: dict[str, Any] | None = None) -> None:
        outcome = engine.execute(text, variables, context=context(queue, Principal("bench")))
        assert "errors" not in outcome.body, outcome.body

    def request(text: str) -> None:
        body = json.dumps({"operationName": "acquireJob", "variables": VARIABLES, "query": text}).encode()
        headers = {"content-type": "application/json", "accept": "*/*", "host": "127.0.0.1:8080"}
        answer = route.endpoint(
            Request(method="POST", path="/graphql", headers=headers, body=body, client_host="127.0.0.1")
        )
        assert answer.status == 200, answer

    def claim() -> None:
        queue.acquire(["thumbnail"], worker_id="w", tenants=[""])

    def unseen() -> str:
        return f"{ACQUIRE} # {next(numbers)}"

    measure("Queue.acquire, no GraphQL", claim, rounds)
    measure("acquireJob, engine, cold", lambda: execute(unseen(), VARIABLES), max(1, rounds // 10))
    measure("acquireJob, engine, cached", lambda: execute(ACQUIRE, VARIABLES), rounds)
    measure("acquireJob, endpoint, cold", lambda: request(unseen()), max(1, rounds // 10))
    measure("acquireJob, endpoint, cached", lambda: request(ACQUIRE), rounds)
    measure("list of 1,000 jobs, 10 fields, cached", lambda: execute(LIST), max(1, rounds // 200))


if __name__ == "__main__":
    main()
