"""Whether batches, steps and pipelines say what their jobs say."""

from __future__ import annotations

from collections.abc import Sequence

from gnj.queue.model import Batch, Job, Pipeline, Step
from gnj.queue.states import (
    BATCH_ENDED,
    JOB_BROKEN,
    JOB_ENDED,
    JOB_UNFINISHED,
    STEP_DONE,
    BatchStatus,
    JobStatus,
    PipelineStatus,
    StepStatus,
)


def batch(batch: Batch, members: Sequence[Job]) -> None:
    """A batch and its members."""
    statuses = {job.status for job in members}
    if batch.status is BatchStatus.SUCCESSFUL:
        assert statuses <= {JobStatus.SUCCESSFUL}, f"{batch} has members {statuses}"
    elif batch.status is BatchStatus.FAILED:
        assert statuses & JOB_BROKEN, f"{batch} has members {statuses}"
    elif statuses:
        assert statuses & JOB_UNFINISHED, f"{batch} has members {statuses}"


def step(step: Step, work: Job | Batch) -> None:
    """A step and what it is about."""
    if step.status in STEP_DONE:
        assert work.status in (JobStatus.SUCCESSFUL, BatchStatus.SUCCESSFUL), f"{step} is of {work}"
    elif step.status is StepStatus.FAILED:
        assert work.status in JOB_BROKEN | {BatchStatus.FAILED}, f"{step} is of {work}"
    else:
        assert work.status not in JOB_ENDED | BATCH_ENDED, f"{step} is of {work}"


def pipeline(pipeline: Pipeline, steps: Sequence[Step]) -> None:
    """A pipeline and its steps, in their order."""
    statuses = [step.status for step in steps if step.status not in STEP_DONE]
    if pipeline.status is PipelineStatus.SUCCESSFUL:
        assert not statuses, f"{pipeline} has {steps}"
    elif pipeline.status is PipelineStatus.FAILED:
        assert StepStatus.FAILED in statuses, f"{pipeline} has {steps}"
    else:
        # a reopened one may come to a step that has failed as well, once those before it are done
        assert StepStatus.FAILED not in statuses[:1], f"{pipeline} has {steps}"
        if pipeline.status is PipelineStatus.PROCESSING:
            assert statuses[:1] != [StepStatus.PLANNED], f"{pipeline} waits for nothing: {steps}"
