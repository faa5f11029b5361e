"""How the records of the queue look in the jobs dialect (sections 3 and 0.17 of the jobs contract)."""

from __future__ import annotations

from gnj.graphql.associations import Many, One
from gnj.graphql.records import Shape
from gnj.queue.model import Batch, Hold, Job, JobAttempt, Monitoring, Pipeline, Schedule, Step
from gnj.queue.ratings import JobSuccessRating, WorkerSuccessRating

SHAPES = (
    Shape(
        name="job",
        record=Job,
        description="A unit of work, and how it went.",
        # these are not in the original's type: a row of theirs without them is valid (section 0, point 1)
        nullable={"attempt", "failures", "stalledCount"},
        # `attempt` is in the input as the fence; the others are counted and stamped by the queue alone
        read_only={"failures", "stalledCount", "leaseExpiresAt"},
        associations=(
            One("batch", "batch", "batch_id"),
            One("pipeline", "pipeline", "pipeline_id"),
            Many("attempts", "jobAttempt", "job_id", whole=True, nested=False),
        ),
    ),
    Shape(
        name="jobAttempt",
        record=JobAttempt,
        description="A try of a job that did not end well: it failed, or its lease was lost.",
        hidden={"id", "jobId", "createdAt", "updatedAt", "deletedAt"},
        has_input=False,
    ),
    Shape(
        name="batch",
        record=Batch,
        description="Jobs that belong together: successful when all are, failed as soon as one is not.",
        associations=(
            One("pipeline", "pipeline", "pipeline_id"),
            Many("jobs", "job", "batch_id"),
        ),
    ),
    Shape(
        name="pipeline",
        record=Pipeline,
        description="Steps that run one after the other, each a job or a batch.",
        associations=(
            Many("batches", "batch", "pipeline_id"),
            Many("jobs", "job", "pipeline_id"),
            Many("steps", "pipelineStep", "pipeline_id"),
        ),
    ),
    Shape(
        name="pipelineStep",
        record=Step,
        description="A step of a pipeline.",
        associations=(
            One("pipeline", "pipeline", "pipeline_id"),
            One("batch", "batch", "batch_id"),
            One("job", "job", "job_id"),
        ),
    ),
    Shape(
        name="jobHoldType",
        record=Hold,
        description='A type no job of which is handed out; the type "all" stands for every type.',
    ),
    Shape(
        name="recurringJob",
        record=Schedule,
        description="What has a job made again and again, by a cron expression in a time zone or at intervals.",
        read_only={"nextAt", "lastAt", "lastJobId", "runs", "failures", "error"},
    ),
    Shape(
        name="workerMonitoring",
        record=Monitoring,
        description="What a worker told of itself at a moment.",
        has_input=False,
    ),
    Shape(
        name="jobSuccessRating",
        record=JobSuccessRating,
        description="How the jobs ended that ended on one day in UTC.",
        hidden={"id", "deletedAt"},
        has_input=False,
    ),
    Shape(
        name="workerSuccessRating",
        record=WorkerSuccessRating,
        description="What the workers of one type told of themselves in one hour, as percentages.",
        hidden={"id", "deletedAt"},
        has_input=False,
    ),
)
"""Everything the types of this dialect are generated from."""
