"""The demo's view of the server: GraphQL over HTTP, and nothing else."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import httpx

from gnj.cli.output import CommandError, printable

SCAN, COMPRESS, SUMMARY = "demo.scan", "demo.compress", "demo.summary"
_MANY = 500
_PAGE = 1000


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the pipeline is."""

    status: str
    planned: int
    """Files that have a job."""
    done: int
    scanned: bool
    """Whether `planned` is final."""


class Client:
    """Asks a gnj server. Raises `CommandError` when it refuses or cannot be reached."""

    def __init__(self, url: str) -> None:
        # trust_env: a proxy of the environment is not for this machine's own address
        self._http = httpx.Client(base_url=url, timeout=30, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._http.close()

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        """The data of one operation."""
        try:
            response = self._http.post("/graphql", json={"query": query, "variables": variables})
            answer: dict[str, Any] = response.json()
        except (httpx.HTTPError, ValueError) as error:
            raise CommandError(f"the server does not answer: {error}", exit_code=1) from error
        if errors := answer.get("errors"):
            raise CommandError(f"the server says: {errors[0]['message']}", exit_code=1)
        data: dict[str, Any] = answer["data"]
        return data

    def create_pipeline(self, name: str, folder: str) -> int:
        """A planned pipeline: scan, a batch that is still empty, summary. Its id."""
        made = self.ask(
            "mutation ($pipeline: pipelineInput!) { pipelineCreate(pipeline: $pipeline) { id } }",
            pipeline={"name": name},
        )
        id: int = made["pipelineCreate"]["id"]
        step = {"pipelineId": id, "status": "planned"}
        # the order in which they are made is the order in which they run
        self.ask(
            "mutation ($scan: jobInput!, $batch: batchInput!, $summary: jobInput!) {"
            " scan: jobCreate(job: $scan) { id } batchCreate(batch: $batch) { id }"
            " summary: jobCreate(job: $summary) { id } }",
            scan={**step, "type": SCAN, "name": "scan", "input": {"folder": folder}},
            batch=step,
            summary={**step, "type": SUMMARY, "name": "summary"},
        )
        return id

    def start(self, pipeline: int) -> None:
        """Starts a planned pipeline."""
        self.ask("mutation ($id: Int!) { startPipeline(id: $id) { status } }", id=pipeline)

    def batch_of(self, pipeline: int) -> int:
        """The batch of a pipeline that has one."""
        data = self.ask("query ($id: Int!) { pipeline(id: $id) { batches { id } } }", id=pipeline)
        id: int = data["pipeline"][0]["batches"][0]["id"]
        return id

    def add_files(self, batch: int, folder: str, paths: Sequence[str]) -> None:
        """One planned job per file. Doing it again, after an interruption, adds those that are missing."""
        for begin in range(0, len(paths), _MANY):
            jobs = [
                {
                    "type": COMPRESS,
                    "name": printable(path)[-200:],
                    # a path can be longer than a unique id may be
                    "jobUniqueId": f"demo:{batch}:{hashlib.sha256(path.encode()).hexdigest()}",
                    "batchId": batch,
                    "status": "planned",
                    "input": {"folder": folder, "path": path},
                }
                for path in paths[begin : begin + _MANY]
            ]
            self.ask("mutation ($jobs: [jobInput!]!) { jobCreateMany(jobs: $jobs) { id } }", jobs=jobs)

    def progress(self, pipeline: int, batch: int) -> Progress:
        """How far a pipeline is."""
        data = self.ask(
            "query ($id: Int!, $all: SequelizeJSON, $done: SequelizeJSON, $scan: SequelizeJSON) {"
            " pipeline(id: $id) { status } planned: jobCount(where: $all) done: jobCount(where: $done)"
            " scanned: jobCount(where: $scan) }",
            id=pipeline,
            all={"batchId": batch},
            done={"batchId": batch, "status": "successful"},
            scan={"pipelineId": pipeline, "type": SCAN, "status": "successful"},
        )
        return Progress(data["pipeline"][0]["status"], data["planned"], data["done"], scanned=data["scanned"] == 1)

    def running(self, batch: int) -> int:
        """How many jobs of a batch are claimed."""
        where = {"batchId": batch, "status": "processing"}
        count: int = self.ask("query ($where: SequelizeJSON) { jobCount(where: $where) }", where=where)["jobCount"]
        return count

    def steps(self, pipeline: int) -> dict[str, dict[str, Any]]:
        """The jobs of a pipeline that are steps of their own, by type."""
        data = self.ask(
            "query ($where: SequelizeJSON) { job(where: $where) { id type status output stalledCount } }",
            where={"pipelineId": pipeline, "type": [SCAN, SUMMARY]},
        )
        return {job["type"]: job for job in data["job"]}

    def members(self, batch: int, fields: str) -> Iterator[dict[str, Any]]:
        """The jobs of a batch."""
        last = 0
        while True:
            # by id and not by offset: a page costs the same wherever it is
            page: list[dict[str, Any]] = self.ask(
                "query ($where: SequelizeJSON, $limit: Int) {"
                f' job(where: $where, order: "id", limit: $limit) {{ id {fields} }} }}',
                where={"batchId": batch, "id": {"gt": last}},
                limit=_PAGE,
            )["job"]
            yield from page
            if len(page) < _PAGE:
                return
            last = page[-1]["id"]
