"""What clients of GNJ 5.1.0 find in its schema: facts to be matched, one field a line."""

from __future__ import annotations

LIST = "id: Int, where: SequelizeJSON, limit: Int, order: String, offset: Int"
DAY = LIST.replace("id: Int", "day: String")
UUID = LIST.replace("id: Int", "uuid: String")
ROW = "createdAt Date!, updatedAt Date!"
DATES = f"{ROW}, deletedAt Date"
MANY = "order: String, limit: Int, offset: Int"
ONE = "order: String"
JOB = (
    "id Int!, jobUniqueId String, type String!, name String, input SequelizeJSON, output SequelizeJSON, "
    "processingInfo SequelizeJSON, status String!, retryOfJobId Int, isUpdateAlreadyCalledWhileCancelRequested Boolean!, "
    "batchId Int, pipelineId Int, workerId String, isHighFrequency Boolean!, priorityLevel Int!, isRecoverable Boolean!, "
    f"startedAt Date, startAfter Date, endedAt Date, {DATES}, cancelledAt Date"
)
BATCH = f"id Int!, status String, pipelineId Int, {DATES}"
PIPELINE = f"id Int!, status String!, name String, metadata String, {DATES}"
STEP = f"id Int!, jobId Int, batchId Int, pipelineId Int!, index Int!, status String!, {DATES}"

# plain fields of each type; those of the input types are the same, all nullable
COLUMNS = {
    "job": JOB,
    "batch": BATCH,
    "pipeline": PIPELINE,
    "pipelineStep": STEP,
    "jobHoldType": f"id Int!, type String, {DATES}",
    "workerMonitoring": f"id Int!, workerId Int!, workerType String!, workerStatus String!, {DATES}",
    "jobSuccessRating": f"day String!, successRating Int!, successfulJobs Int!, failedJobs Int!, totalJobs Int!, {ROW}",
    "workerSuccessRating": "uuid String!, workerType String!, timestamp String!, availableRating Int!, "
    f"processingRating Int!, failedRating Int!, exitedRating Int!, {ROW}",
    "success": "success Boolean",
    "workerInfoOutput": "workerId String, workerType String, workerStatus String",
}
# fields with arguments: (arguments, type)
ASSOCIATIONS = {
    "job": {"batch": (ONE, "batch"), "pipeline": (ONE, "pipeline")},
    "batch": {"pipeline": (ONE, "pipeline"), "jobs": (MANY, "[job]")},
    "pipeline": {"batches": (MANY, "[batch]"), "jobs": (MANY, "[job]"), "steps": (MANY, "[pipelineStep]")},
    "pipelineStep": {"pipeline": (ONE, "pipeline"), "batch": (ONE, "batch"), "job": (ONE, "job")},
}
INPUTS = {
    "jobInput": (JOB, "batch batchInput, pipeline pipelineInput"),
    "batchInput": (BATCH, "pipeline pipelineInput, jobs [jobInput]"),
    "pipelineInput": (PIPELINE, "batches [batchInput], jobs [jobInput], steps [pipelineStepInput]"),
    "pipelineStepInput": (STEP, "pipeline pipelineInput, batch batchInput, job jobInput"),
    "workerInfoInput": ("workerId String, workerType String, workerStatus String", ""),
}
ROOTS = {
    "Query": {
        **{
            name: (LIST, f"[{name}]")
            for name in ("batch", "job", "jobHoldType", "pipeline", "pipelineStep", "workerMonitoring")
        },
        **{f"{name}Count": (LIST, "Int") for name in ("batch", "job", "pipeline", "pipelineStep")},
        "jobSuccessRating": (DAY, "[jobSuccessRating]"),
        "jobSuccessRatingCount": (DAY, "Int"),
        "workerSuccessRating": (UUID, "[workerSuccessRating]"),
        "workerSuccessRatingCount": (UUID, "Int"),
    },
    "Mutation": {
        "jobCreate": ("job: jobInput!", "job"),
        "jobUpdate": ("job: jobInput!", "job"),
        "acquireJob": ("typeList: [String!]!, workerId: String, workerType: String", "job"),
        "recover": ("id: Int!", "job"),
        "retryJob": ("id: Int!", "job"),
        "toggleHoldJobType": ("type: String!", "jobHoldType"),
        "batchCreate": ("batch: batchInput!", "batch"),
        "batchUpdate": ("batch: batchInput!", "batch"),
        "pipelineCreate": ("pipeline: pipelineInput!", "pipeline"),
        "pipelineUpdate": ("pipeline: pipelineInput!", "pipeline"),
        "pipelineStepCreate": ("pipelineStep: pipelineStepInput!", "pipelineStep"),
        "pipelineStepUpdate": ("pipelineStep: pipelineStepInput!", "pipelineStep"),
        "startPipeline": ("id: Int!", "pipeline"),
        "ping": ("", "success"),
        "pong": ("workerInfoInput: [workerInfoInput]", "success"),
        "workerMonitoringUpdate": ("workers: [workerInfoInput]", "success"),
    },
    "Subscription": {
        "jobCreated": ("id: Int", "job"),
        "jobUpdated": ("id: Int", "job"),
        "jobDeleted": ("id: Int", "job"),
        "pinged": ("", "success"),
        "ponged": ("", "[workerInfoOutput]"),
        "workerMonitoringUpdated": ("", "[workerInfoOutput]"),
    },
}

# What is ours on purpose: the manual's signature (section 0, point 3), and a worker's id as the text it is (B19).
OWN_ROOTS = {("Mutation", "retryJob"): ("id: Int", "job")}
OWN_COLUMNS = {"workerMonitoring": "workerId String!"}


def pairs(text: str, separator: str = " ") -> dict[str, str]:
    """`name type, name type` as a mapping."""
    parts = (part.strip().partition(separator) for part in text.split(",") if part.strip())
    return {name.strip(): kind.strip() for name, _, kind in parts}
