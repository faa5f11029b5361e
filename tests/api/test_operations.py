"""What operators do: recover and retry by types, deletes, holds by hand, monitoring, ratings, releases, orders."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from gnj.queue.model import Job, NewJob
from gnj.queue.storage import Select
from gnj.testing.contracts.support import together

FAIL = 'mutation($id: Int!) { jobUpdate(job: {id: $id, status: "failed"}) { id } }'


def failed(api, type="mail", worker=None, **fields):
    """A job that a worker failed."""
    made = api.create(type, **fields)
    text = "mutation($types: [String!]!, $worker: String) { acquireJob(typeList: $types, workerId: $worker) { id } }"
    assert api.get(text, types=[type], worker=worker) == {"id": made["id"]}
    api.get(FAIL, id=made["id"])
    return made["id"]


@pytest.mark.parametrize("name", ["recoverJob", "retryJob"])
class TestByTypes:
    def ask(self, api, name, **given):
        text = f"mutation($id: Int, $typeList: [String!], $workerId: String) {{ {name}(id: $id, typeList: $typeList, "
        return api.get(text + "workerId: $workerId) { id status retryOfJobId } }", **given)

    def got(self, answer):
        """The job that was recovered, or retried."""
        return answer and (answer["retryOfJobId"] or answer["id"])

    def test_the_oldest_first_until_none_is_left(self, api, name):
        ids = [failed(api, type, isRecoverable=True) for type in ("mail", "scan", "mail", "other")]
        given = {"typeList": ["scan", "mail"]}
        assert [self.got(self.ask(api, name, **given)) for _ in range(4)] == [*ids[:3], None]

    def test_of_one_worker(self, api, name):
        first, second = (failed(api, worker=worker, isRecoverable=True) for worker in ("a", "b"))
        given = {"typeList": ["mail"], "workerId": "b"}
        assert [self.got(self.ask(api, name, **given)) for _ in range(2)] == [second, None]
        assert self.got(self.ask(api, name, id=first)) == first

    def test_only_what_has_failed(self, api, name):
        for status in ("planned", "queued", "processing", "successful", "cancelled"):
            api.create(status=status, isRecoverable=True)
        assert self.ask(api, name, typeList=["mail"]) is None
        assert self.ask(api, name, typeList=[]) is None

    @pytest.mark.parametrize(
        "arguments, message",
        [
            ("id: null", "give either id or typeList"),
            ('id: 1, typeList: ["mail"]', "give either id or typeList"),
            ('workerId: "w"', "give either id or typeList"),
            ('id: 1, workerId: "w"', "workerId goes with typeList, not with id"),
        ],
    )
    def test_one_or_the_other(self, api, name, arguments, message):
        failed(api, isRecoverable=True)
        assert api.refuse(f"mutation {{ {name}({arguments}) {{ id }} }}") == (message, "INVALID_INPUT")


def test_recover_by_type_wants_a_recoverable_job_and_retry_any(api):
    id = failed(api)
    assert api.get('mutation { recoverJob(typeList: ["mail"]) { id } }') is None
    assert api.get('mutation { retryJob(typeList: ["mail"]) { retryOfJobId } }') == {"retryOfJobId": id}


def test_what_was_retried_cannot_be_recovered(api):
    id = failed(api, isRecoverable=True)
    new = api.get(f"mutation {{ retryJob(id: {id}) {{ id }} }}")["id"]
    message = f"The job was retried: job {new} has taken its place"
    for name in ("recover", "recoverJob"):
        assert api.refuse(f"mutation {{ {name}(id: {id}) {{ id }} }}") == (message, "ILLEGAL_TRANSITION")


# Deletes


def delete(api, name, id=1, **given):
    return api.get(f"mutation {{ {name}Delete(id: {id}) {{ id deletedAt }} }}", **given)


def refuse_delete(api, name, id=1, **given):
    return api.refuse(f"mutation {{ {name}Delete(id: {id}) {{ id }} }}", **given)


@pytest.mark.parametrize("status", ["planned", "queued", "successful", "failed", "cancelled"])
def test_a_deleted_job_is_gone(api, status):
    id = api.create(status=status, jobUniqueId="u")["id"]
    deleted = delete(api, "job", id)
    assert deleted["id"] == id
    assert deleted["deletedAt"]
    assert api.get("{ job { id } }") == []
    assert api.claim() is None
    assert api.create(jobUniqueId="u")["id"] != id
    message = f"Could not find the job with the id [{id}]"
    assert refuse_delete(api, "job", id) == (message, "JOB_NOT_FOUND")


@pytest.mark.parametrize("status", ["processing", "cancel-requested"])
def test_a_job_that_is_processed_is_not_deleted(api, status):
    id = api.create(status=status)["id"]
    message, code = refuse_delete(api, "job", id)
    assert (message, code) == ("the job is being processed: cancel it first, or wait for its end", "ILLEGAL_TRANSITION")


def pipeline_of(api, *steps, started=True):
    """A pipeline whose steps are jobs ("job") or batches of so many jobs."""
    id = api.get('mutation { pipelineCreate(pipeline: {name: "p"}) { id } }')["id"]
    for step in steps:
        if step == "job":
            api.create(pipelineId=id)
        else:
            batch = api.get(f"mutation {{ batchCreate(batch: {{pipelineId: {id}}}) {{ id }} }}")["id"]
            for _ in range(step):
                api.create(batchId=batch)
    if started:
        api.get(f"mutation {{ startPipeline(id: {id}) {{ id }} }}")
    return id


def statuses(api):
    return {
        kind: [row["status"] for row in api.get(f"{{ {kind} {{ status }} }}")]
        for kind in ("pipeline", "pipelineStep", "batch", "job")
    }


def test_deleting_a_member_lets_the_rest_go_on(api):
    pipeline_of(api, 2, "job")
    first, second = api.claim(), api.claim()
    api.update(id=first["id"], status="successful")
    api.update(id=second["id"], status="failed")
    assert statuses(api)["pipeline"] == ["failed"]  # what has failed has failed
    pipeline_of(api, 2, "job")
    api.update(id=api.claim()["id"], status="successful")
    waiting = api.get('{ job(where: {status: "queued"}) { id } }')[0]["id"]
    delete(api, "job", waiting)
    assert api.get("{ pipelineStep(where: {pipelineId: 2}) { status } }") == [
        {"status": "done"},
        {"status": "processing"},
    ]
    last = api.claim()
    api.update(id=last["id"], status="successful")
    assert api.get("{ pipeline(id: 2) { status } }") == [{"status": "successful"}]


def test_deleting_the_job_of_a_step_drops_the_step(api):
    pipeline_of(api, "job", "job")
    delete(api, "job", 1)
    assert statuses(api) == {"pipeline": ["processing"], "pipelineStep": ["processing"], "batch": [], "job": ["queued"]}
    delete(api, "job", 2)
    assert statuses(api)["pipeline"] == ["successful"]  # nothing is left to do


@pytest.mark.parametrize("name", ["batch", "pipeline"])
def test_what_is_deleted_takes_its_members_with_it(api, name):
    pipeline_of(api, 2, "job", started=False)
    delete(api, name)
    left = {"batch": ["planned"], "pipeline": []}[name]
    assert statuses(api) == {"batch": [], "pipelineStep": left, "pipeline": left, "job": left}
    assert refuse_delete(api, name)[1] == "NOT_FOUND"


@pytest.mark.parametrize("name", ["batch", "pipeline", "pipelineStep"])
def test_what_runs_is_not_deleted(api, name):
    pipeline_of(api, 2, "job")
    message, code = refuse_delete(api, name)
    what = {"pipelineStep": "step"}.get(name, name)
    assert (message, code) == (
        f"the {what} is running: cancel its jobs first, or wait for its end",
        "ILLEGAL_TRANSITION",
    )


@pytest.mark.parametrize("name", ["batch", "pipeline"])
def test_what_has_a_job_that_is_processed_is_not_deleted(api, name):
    pipeline_of(api, 2, "job", started=False)
    api.update(id=2, status="processing")
    message, code = refuse_delete(api, name)
    assert message == f"a job of the {name} is being processed: cancel it first, or wait for its end"
    assert code == "ILLEGAL_TRANSITION"


def test_deleting_a_step_leaves_its_work(api):
    pipeline_of(api, "job", "job", started=False)
    delete(api, "pipelineStep", 1)
    api.get("mutation { startPipeline(id: 1) { id } }")
    assert statuses(api)["job"] == ["planned", "queued"]


def test_deleting_a_planned_step_of_a_pipeline_that_runs(api):
    pipeline_of(api, "job", "job")
    delete(api, "pipelineStep", 2)
    api.update(id=api.claim()["id"], status="successful")
    assert statuses(api)["pipeline"] == ["successful"]


# Holds


def test_holds_are_made_changed_and_deleted_by_hand(api):
    api.create("mail")
    text = "mutation($hold: jobHoldTypeInput!) { jobHoldTypeCreate(jobHoldType: $hold) { id type } }"
    hold = api.get(text, hold={"type": "mail"})
    assert api.get(text, hold={"type": "mail"}) == hold  # held already
    assert api.claim("mail") is None
    change = "mutation($hold: jobHoldTypeInput!) { jobHoldTypeUpdate(jobHoldType: $hold) { id type } }"
    assert api.get(change, hold={"id": hold["id"], "type": "all"}) == {"id": hold["id"], "type": "all"}
    assert api.claim("mail") is None
    assert delete(api, "jobHoldType", hold["id"])["deletedAt"]
    assert api.claim("mail") is not None


@pytest.mark.parametrize(
    "mutation, message, code",
    [
        ("jobHoldTypeCreate(jobHoldType: {})", "notNull Violation: jobHoldType.type cannot be null", "INVALID_INPUT"),
        (
            "jobHoldTypeCreate(jobHoldType: {type: null})",
            "notNull Violation: jobHoldType.type cannot be null",
            "INVALID_INPUT",
        ),
        (
            "jobHoldTypeUpdate(jobHoldType: {id: 1, type: null})",
            "notNull Violation: jobHoldType.type cannot be null",
            "INVALID_INPUT",
        ),
        ('jobHoldTypeUpdate(jobHoldType: {id: 1, type: "scan"})', "the type 'scan' is held already", "DUPLICATE"),
        ('jobHoldTypeUpdate(jobHoldType: {id: 9, type: "x"})', "jobHoldType not found.", "NOT_FOUND"),
        ('jobHoldTypeUpdate(jobHoldType: {type: "x"})', "jobHoldType not found.", "NOT_FOUND"),
        ("jobHoldTypeDelete(id: 9)", "jobHoldType not found.", "NOT_FOUND"),
    ],
)
def test_holds_that_cannot_be(api, mutation, message, code):
    for type in ("mail", "scan"):
        api.get(f'mutation {{ toggleHoldJobType(type: "{type}") {{ id }} }}')
    assert api.refuse(f"mutation {{ {mutation} {{ id }} }}") == (message, code)


# Releases


def test_a_claim_is_given_back_uncounted(api):
    api.create()
    claim = api.claim()
    text = (
        "mutation($id: Int!, $attempt: Int!, $delay: Int) { release(id: $id, attempt: $attempt, delaySeconds: $delay) "
    )
    text += "{ status attempt failures stalledCount } }"
    given = {"id": claim["id"], "attempt": claim["attempt"]}
    assert api.get(text, **given) == {"status": "queued", "attempt": 1, "failures": 0, "stalledCount": 0}
    assert api.refuse(text, **given)[1] == "LEASE_LOST"
    again = api.claim()
    assert again["attempt"] == 2
    assert api.get(text, id=again["id"], attempt=2, delay=3600)["status"] == "queued"
    assert api.claim() is None
    assert api.refuse(text, id=again["id"], attempt=2, delay=-1)[1] == "INVALID_INPUT"


# Workers and ratings


def monitor(api, **given):
    return api.get("mutation($w: [workerInfoInput]) { workerMonitoringUpdate(workers: $w) { success } }", **given)


def worker(status, kind="t", id="w"):
    return {"workerId": id, "workerType": kind, "workerStatus": status}


def test_what_workers_tell_is_kept(api):
    assert monitor(api, w=[worker("AVAILABLE"), None, worker("FAILED", id="8f14e45f-uuid")]) == {"success": True}
    rows = api.get("{ workerMonitoring { workerId workerType workerStatus createdAt } }")
    assert [row["workerId"] for row in rows] == ["w", "8f14e45f-uuid"]
    assert api.get('{ workerMonitoring(where: {workerStatus: "FAILED"}, order: "reverse:id") { id } }') == [{"id": 2}]


def test_without_a_list_nothing_is_kept(api):
    assert monitor(api) == monitor(api, w=None) == {"success": False}
    assert monitor(api, w=[]) == {"success": True}
    assert api.get("{ workerMonitoring { id } }") == []


@pytest.mark.parametrize("missing", ["workerId", "workerType", "workerStatus"])
def test_a_worker_must_say_all(api, missing):
    """B4b: this request killed the original's server."""
    told = {name: value for name, value in worker("AVAILABLE").items() if name != missing}
    text = "mutation($w: [workerInfoInput]) { workerMonitoringUpdate(workers: $w) { success } }"
    message = f"notNull Violation: workerMonitoring.{missing} cannot be null"
    assert api.refuse(text, w=[worker("AVAILABLE"), told]) == (message, "INVALID_INPUT")


def test_ping_and_pong(api):
    assert api.get("mutation { ping { success } }") == {"success": True}
    assert api.get('mutation { pong(workerInfoInput: [{workerId: "w"}, null]) { success } }') == {"success": True}
    assert api.get("mutation { pong { success } }") == {"success": False}


DAYS = "{ jobSuccessRating%s { day successRating successfulJobs failedJobs totalJobs } }"


def days_ago(number):
    return datetime.now(UTC) - timedelta(days=number)


def ended(api, status, ago, tenant=""):
    row = {"type": "mail", "status": status, "ended_at": days_ago(ago), "tenant": tenant}
    api.storage.inner.insert_jobs([row])


def test_ratings_of_days(api):
    for status, ago in (
        ("successful", 0),
        ("successful", 0),
        ("failed", 0),
        ("cancelled", 0),
        ("failed", 3),
        ("failed", 31),
    ):
        ended(api, status, ago)
    ended(api, "failed", 1, tenant="other")
    rows = api.get(DAYS % "")
    assert len(rows) == api.get("{ jobSuccessRatingCount(limit: 3) }") == 30
    assert [row["day"] for row in rows] == [f"{days_ago(ago):%Y/%m/%d}" for ago in range(30)]
    values = [(r["successRating"], r["successfulJobs"], r["failedJobs"], r["totalJobs"]) for r in rows]
    assert values[:4] == [(67, 2, 1, 3), (1000, 0, 0, 0), (1000, 0, 0, 0), (0, 0, 1, 1)]
    assert set(values[4:]) == {(1000, 0, 0, 0)}


def test_ratings_are_never_stale(api):
    ended(api, "failed", 0)
    assert api.get(DAYS % "(limit: 1)")[0]["successRating"] == 0
    ended(api, "successful", 0)
    assert api.get(DAYS % "(limit: 1)")[0]["successRating"] == 50


def test_ratings_are_filtered_ordered_and_counted(api):
    for ago, count in ((0, 1), (2, 3), (5, 2)):
        for _ in range(count):
            ended(api, "successful", ago)
    rows = api.get(DAYS % '(where: {totalJobs: {gt: 0}}, order: "reverse:totalJobs", limit: 2)')
    assert [row["totalJobs"] for row in rows] == [3, 2]
    assert api.get("{ jobSuccessRatingCount(where: {totalJobs: {gt: 0}}) }") == 3
    day = f"{days_ago(5):%Y/%m/%d}"
    assert [row["totalJobs"] for row in api.get(DAYS % f'(day: "{day}")')] == [2]
    assert api.get(f'{{ jobSuccessRatingCount(day: "{day}") }}') == 1
    assert api.get(DAYS % '(order: "day", limit: 1)')[0]["day"] == f"{days_ago(29):%Y/%m/%d}"
    assert [row["totalJobs"] for row in api.get(DAYS % "(limit: 2, offset: 1)")] == [0, 3]


def test_the_dates_of_ratings_can_be_selected(api):
    """B20."""
    monitor(api, w=[worker("AVAILABLE")])
    for name in ("jobSuccessRating", "workerSuccessRating"):
        row = api.get(f"{{ {name}(limit: 1) {{ createdAt updatedAt }} }}")[0]
        assert row["createdAt"] <= row["updatedAt"]


def test_ratings_of_hours(api):
    monitor(api, w=[worker(status) for status in ("AVAILABLE", "AVAILABLE", "PROCESSING", "ODD")])
    monitor(api, w=[worker("EXITED", "other"), worker("FAILED", "other")])
    text = "{ workerSuccessRating%s { uuid workerType timestamp availableRating processingRating failedRating exitedRating } }"
    first, second = api.get(text % '(order: "reverse:workerType")')
    ratings = ("availableRating", "processingRating", "failedRating", "exitedRating")
    assert [first[name] for name in ratings] == [50, 25, 0, 0]
    assert [second[name] for name in ratings] == [0, 0, 50, 50]
    assert datetime.strptime(first["timestamp"], "%H %Y/%m/%d").replace(tzinfo=UTC) <= datetime.now(UTC)
    assert api.get(text % f'(uuid: "{first["uuid"]}")') == [first]
    assert api.get("{ workerSuccessRatingCount }") == 2
    assert api.get('{ workerSuccessRatingCount(where: {workerType: "other"}) }') == 1


# Orders


def test_order_by_an_association(api):
    names = ("b", "a")
    pipelines = [
        api.get(f'mutation {{ pipelineCreate(pipeline: {{name: "{name}"}}) {{ id }} }}')["id"] for name in names
    ]
    for id in pipelines:
        api.create(pipelineId=id)
    api.create()
    assert [row["id"] for row in api.get('{ job(order: "pipeline.name") { id } }')] == [2, 1, 3]
    assert [row["id"] for row in api.get('{ job(order: "reverse:pipeline.name, id") { id } }')] == [3, 1, 2]
    assert [
        row["id"] for row in api.get('{ pipelineStep(order: "job.priorityLevel,reverse:pipeline.id") { id } }')
    ] == [2, 1]
    nested = api.get('{ pipeline { jobs(order: "reverse:batch.id,id", limit: 1) { id } } }')
    assert nested == [{"jobs": [{"id": 1}]}, {"jobs": [{"id": 2}]}]


@pytest.mark.parametrize(
    "order, message",
    [
        ("foo.id", "Association foo unknown on model job order"),
        ("batch.pipeline.name", "Association batch.pipeline unknown on model job order"),
        ("attempts.id", "Association attempts unknown on model job order"),
        (
            "batch.nope",
            "order: batch has no field 'nope'; there are: createdAt, deletedAt, id, pipelineId, status, updatedAt",
        ),
    ],
)
def test_orders_that_cannot_be(api, order, message):
    assert api.refuse(f'{{ job(order: "{order}") {{ id }} }}') == (message, "INVALID_INPUT")


def test_nothing_is_left_of_a_pipeline_that_was_deleted(api):
    pipeline_of(api, 2, "job", started=False)
    delete(api, "pipeline")
    assert all(job.deleted_at for job in api.storage.inner.find(Job, Select(deleted=True)))


def test_what_would_leave_others_hanging_is_not_deleted(api):
    """A job of the batch that is a step of a running pipeline: that one would wait for it for ever."""
    running = pipeline_of(api, "job")
    batch = api.get("mutation { batchCreate(batch: {}) { id } }")["id"]
    api.update(id=1, batchId=batch)
    message = "job 1 belongs to another batch or pipeline as well: take it out first"
    assert refuse_delete(api, "batch", batch) == (message, "ILLEGAL_TRANSITION")
    other = api.get('mutation { pipelineCreate(pipeline: {name: "q"}) { id } }')["id"]
    inner = api.get(f"mutation {{ batchCreate(batch: {{pipelineId: {other}}}) {{ id }} }}")["id"]
    api.update(id=1, batchId=inner)
    assert refuse_delete(api, "pipeline", other) == (message, "ILLEGAL_TRANSITION")
    api.update(id=1, batchId=None)
    delete(api, "pipeline", other)
    api.update(id=api.claim()["id"], status="successful")
    assert api.get(f"{{ pipeline(id: {running}) {{ status }} }}") == [{"status": "successful"}]


@pytest.mark.parametrize(
    "text",
    [
        'mutation { jobCreate(job: {type: "hook:alert"}) { id } }',
        'mutation { jobCreateMany(jobs: [{type: "mail"}, {type: "hook:alert"}]) { id } }',
        'mutation { jobUpdate(job: {id: 1, type: "hook:alert"}) { id } }',
        'mutation { acquireJob(typeList: ["mail", "hook:alert"]) { id } }',
        'mutation { acquireJobs(typeList: ["hook:alert"], limit: 1) { id } }',
    ],
)
def test_jobs_of_hooks_are_nobodys_to_make_nor_a_tenants_to_take(api, text):
    api.create(tenant="evil")
    message, code = api.refuse(text, tenant="evil")
    assert (message, code) == (
        "types that begin with 'hook:' are those of durable hooks, not 'hook:alert'",
        "INVALID_INPUT",
    )


@pytest.mark.parametrize("tenant", ["", "evil"])
@pytest.mark.parametrize(
    "text",
    [
        'mutation { jobCreate(job: {type: "gnj:bulk"}) { id } }',
        'mutation { jobCreateMany(jobs: [{type: "mail"}, {type: "gnj:bulk"}]) { id } }',
        'mutation { jobUpdate(job: {id: 1, type: "gnj:bulk"}) { id } }',
        'mutation { acquireJob(typeList: ["mail", "gnj:bulk"]) { id } }',
        'mutation { acquireJobs(typeList: ["gnj:bulk"], limit: 1) { id } }',
        "mutation { recover(id: 2) { id } }",
        "mutation { recoverJob(id: 2) { id } }",
        'mutation { recoverJob(typeList: ["gnj:bulk"]) { id } }',
        "mutation { retryJob(id: 2) { id } }",
        'mutation { retryJob(typeList: ["gnj:bulk"]) { id } }',
    ],
)
def test_the_librarys_own_jobs_are_nobodys_to_make_take_or_retry(api, text, tenant):
    api.create(tenant=tenant)
    failed = {"statuses": ["failed"]}
    bulk = api.queue.start_bulk("mail", "retry", failed, tenant=tenant)
    assert bulk.id == 2
    api.queue.fail(api.queue.acquire(["gnj:bulk"]), "no")
    before = api.queue.list(Job)
    assert api.refuse(text, tenant=tenant) == (
        "types that begin with 'gnj:' are the library's own, not 'gnj:bulk'",
        "INVALID_INPUT",
    )
    assert api.queue.list(Job) == before


@pytest.mark.parametrize(
    "values", ['status: "queued"', 'status: "successful"', "input: {}", 'processingInfo: {}, status: "cancelled"']
)
def test_a_job_of_the_librarys_own_can_be_cancelled_and_not_changed(api, values):
    job = api.queue.start_bulk("mail", "retry", {"statuses": ["failed"]}, tenant="")
    update = "mutation {{ jobUpdate(job: {{id: {}, {}}}) {{ status }} }}"
    before = api.queue.get(Job, job.id)
    assert api.refuse(update.format(job.id, values)) == (
        "a job of the library's own (gnj:bulk) can be cancelled by hand, and nothing else",
        "INVALID_INPUT",
    )
    assert api.queue.get(Job, job.id) == before
    assert api.get(update.format(job.id, 'status: "cancelled"'))["status"] == "cancelled"


@pytest.mark.parametrize("status", ["successful", "failed", "queued"])
@pytest.mark.parametrize("many", [False, True])
def test_nor_does_one_end_that_names_the_claim_which_every_job_shows(api, status, many):
    api.queue.start_bulk("mail", "retry", {"statuses": ["failed"]}, tenant="")
    claim = api.queue.acquire(["gnj:bulk"])
    told = f'{{id: {claim.id}, attempt: {claim.attempt}, status: "{status}"}}'
    says = "a job of the library's own (gnj:bulk) can be cancelled by hand, and nothing else"
    if many:
        (result,) = api.get(f"mutation {{ jobUpdateMany(jobs: [{told}]) {{ code message }} }}")
        assert result == {"code": "INVALID_INPUT", "message": says}
    else:
        assert api.refuse(f"mutation {{ jobUpdate(job: {told}) {{ id }} }}") == (says, "INVALID_INPUT")
    assert api.queue.get(Job, claim.id) == claim


def test_each_failed_job_is_retried_once_by_type(api):
    """By many at once: who has waited for the lock finds that another was faster."""
    jobs = api.queue.enqueue_many([NewJob("mail") for _ in range(8)])
    for job in api.queue.acquire(["mail"], 8):
        api.queue.fail(job, "no")

    def retry_all(_place):
        made = []
        while new := api.queue.retry_oldest(["mail"]):
            made.append(new.retry_of)
        return made

    assert sorted(id for made in together(4, retry_all) for id in made) == [job.id for job in jobs]
