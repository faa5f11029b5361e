"""The tabs of a page that is opened for the first time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from gnj.queue.values import Json


@dataclass(frozen=True, slots=True)
class Example:
    """One tab. The name of its (first) operation is its title."""

    query: str
    variables: Mapping[str, Json] = field(default_factory=dict)

    @property
    def tab(self) -> dict[str, str]:
        """As GraphiQL takes its `defaultTabs`."""
        variables = {"variables": json.dumps(dict(self.variables), indent=2)} if self.variables else {}
        return {"query": self.query, **variables}


_MONITOR = Example(
    """\
# How things go: jobs by status, the last days,
# the workers, the types that are held.
query Monitoring {
  queued: jobCount(where: { status: "queued" })
  processing: jobCount(where: { status: "processing" })
  failed: jobCount(where: { status: "failed" })
  jobSuccessRating(limit: 7) {
    day
    successRating
    successfulJobs
    failedJobs
    totalJobs
  }
  workerMonitoring(order: "reverse:updatedAt", limit: 20) {
    workerId
    workerType
    workerStatus
    updatedAt
  }
  jobHoldType {
    type
  }
}
"""
)

_CREATE = Example(
    """\
# A job waits for a worker that asks
# for its type.
mutation CreateJob($job: jobInput!) {
  jobCreate(job: $job) {
    id
    type
    status
    input
    createdAt
  }
}
""",
    {"job": {"type": "mail", "name": "welcome", "input": {"to": "ada@example.com"}, "maxAttempts": 3}},
)

_WORK = Example(
    """\
# What a worker does: claim a job, renew the
# claim while it works, end it. The id and the
# attempt of the claim go into the variables.
mutation Acquire {
  acquireJob(typeList: ["mail"], workerId: "graphiql", leaseSeconds: 300) {
    id
    attempt
    input
    leaseExpiresAt
  }
}

mutation Heartbeat($id: Int!, $attempt: Int!) {
  heartbeat(id: $id, attempt: $attempt, leaseSeconds: 300) {
    status
    leaseExpiresAt
  }
}

mutation Finish($id: Int!, $attempt: Int!, $output: SequelizeJSON) {
  jobUpdate(job: { id: $id, attempt: $attempt, status: "successful", output: $output }) {
    id
    status
    output
    endedAt
  }
}
""",
    {"id": 1, "attempt": 1, "output": {"sent": True}},
)

_LIST = Example(
    """\
# The newest jobs that meet a condition, and
# how many do.
query ListJobs($where: SequelizeJSON) {
  jobCount(where: $where)
  job(where: $where, order: "reverse:id", limit: 20) {
    id
    type
    name
    status
    output
    failures
    endedAt
  }
}
""",
    {"where": {"status": {"in": ["queued", "processing", "successful", "failed"]}, "type": {"startsWith": "m"}}},
)

_PIPELINE = Example(
    """\
# A pipeline runs its steps one after another.
# Create it, add jobs with its id, start it.
mutation CreatePipeline {
  pipelineCreate(pipeline: { name: "nightly" }) {
    id
    status
  }
}

mutation AddSteps($pipeline: Int!) {
  first: jobCreate(job: { type: "scan", pipelineId: $pipeline }) {
    id
    status
  }
  second: jobCreate(job: { type: "report", pipelineId: $pipeline }) {
    id
    status
  }
}

mutation StartPipeline($pipeline: Int!) {
  startPipeline(id: $pipeline) {
    id
    status
  }
}

query Pipelines {
  pipeline(order: "reverse:id", limit: 5) {
    id
    name
    status
    steps(order: "index") {
      index
      status
      job {
        id
        type
        status
      }
    }
  }
}
""",
    {"pipeline": 1},
)

_WATCH = Example(
    """\
# Every change of a job, after its commit.
# Runs until you stop it.
subscription WatchJobs {
  jobUpdated {
    id
    type
    status
    output
    processingInfo
  }
}
"""
)

EXAMPLES = (_MONITOR, _CREATE, _WORK, _LIST, _PIPELINE, _WATCH)
"""In the order of the tabs. The first has no variables: GraphiQL opens the first tab without them."""
