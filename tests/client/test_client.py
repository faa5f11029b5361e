"""`gnj.client`: each test is run with the plain functions and with their twins."""

from __future__ import annotations

import asyncio
import gc
import inspect
import logging
import signal
import subprocess
import sys
import threading
import time
import warnings

import pytest

import gnj.client
from gnj import GNJ, CancelRequested, NewJob
from gnj.access import Principal
from gnj.client import ClientError, Unreachable, check_for_jobs, check_for_jobs_async, get_new_client
from gnj.queue.errors import GnjError, InvalidInput
from tests.reliability.proxies import Forgetful
from tests.serving import ROOT, Server


def check(api, client, fn, types=("work",), **options):
    return api.check_for_jobs(client, fn, type_list=list(types), **{"looping": False, **options})


def test_every_function_has_a_twin_with_the_same_arguments():
    plain = [name for name in gnj.client.__all__ if name[0].islower() and not name.endswith("_async")]
    assert sorted(plain) == ["check_for_jobs", "create_job", "get_new_client", "list_jobs", "toggle_hold_job_type"]
    for name in plain:
        one = inspect.signature(getattr(gnj.client, name))
        other = inspect.signature(getattr(gnj.client, f"{name}_async"))
        assert list(one.parameters) == list(other.parameters)
        defaults = {n: p.default for n, p in one.parameters.items()}
        assert defaults == {n: p.default for n, p in other.parameters.items()}


def test_create_job_gives_the_job_as_on_the_wire(api, client, jobs):
    made = api.create_job(
        client, {"type": "work", "name": "ü", "input": {"a": 1}, "jobUniqueId": "u", "priorityLevel": 8}
    )
    assert made["createdAt"].endswith("Z")
    picked = {name: made[name] for name in ("id", "type", "name", "input", "status", "jobUniqueId", "priorityLevel")}
    assert picked == {
        "id": 1, "type": "work", "name": "ü", "input": {"a": 1}, "status": "queued", "jobUniqueId": "u", "priorityLevel": 8,
    }  # fmt: skip
    assert api.create_job(client, {"type": "work", "jobUniqueId": "u"})["id"] == made["id"]
    assert jobs.get(1).priority == 8


@pytest.mark.parametrize("value", ["words", '{"a": 1}', "1", None, 1, ["x"], {"a": "b"}])
def test_json_values_arrive_as_they_are(api, client, jobs, value):
    made = api.create_job(client, {"type": "work", "input": value})
    assert made["input"] == value
    assert jobs.get(made["id"]).input == value
    done = check(api, client, lambda job: job["input"])
    assert (done["status"], done["output"]) == ("successful", value)


@pytest.mark.parametrize("job", [None, {}, "work", 3])
def test_no_job_to_create(api, client, job):
    with pytest.raises(InvalidInput, match=r"^Please provide a job to create\.$"):
        api.create_job(client, job)


@pytest.mark.parametrize(
    "job, code, says",
    [
        ({"name": "x"}, "INVALID_INPUT", "notNull Violation: job.type cannot be null"),
        ({"type": "x", "nope": 1}, "BAD_USER_INPUT", 'unknown field "nope"'),
        ({"type": "x", "status": "nope"}, "INVALID_INPUT", "Validation error: Validation isIn on status failed"),
    ],
)
def test_what_the_server_refuses(api, client, job, code, says):
    with pytest.raises(ClientError, match=says) as caught:
        api.create_job(client, job)
    error = caught.value
    assert isinstance(error, GnjError)
    assert (error.code, error.status, error.errors[0]["extensions"]["code"]) == (code, error.status, code)
    assert not isinstance(error, Unreachable)


@pytest.mark.parametrize("value", [{1, 2}, float("nan"), {1: 2}, "a\0b"])
def test_what_is_no_json_is_not_sent(api, client, value):
    with pytest.raises(InvalidInput, match=r"job\.input must"):
        api.create_job(client, {"type": "work", "input": value})


def test_list_jobs(api, client):
    for n in range(5):
        api.create_job(client, {"type": "even" if n % 2 == 0 else "odd", "name": f"n{n}", "input": {"n": n}})

    def names(**asked):
        return [job["name"] for job in api.list_jobs(client, **asked)]

    assert names() == ["n0", "n1", "n2", "n3", "n4"]
    assert names(where={"type": "even"}, order="reverse:id", limit=2) == ["n4", "n2"]
    assert names(where={"input.n": {"gte": 1}}, offset=1, limit=2) == ["n2", "n3"]
    assert names(limit=0) == []
    api.create_job(client, {"type": "even", "name": "later"})
    assert names(where={"type": "even"})[-1] == "later"  # no list is remembered
    with pytest.raises(ClientError, match="nope"):
        names(where={"nope": 1})
    with pytest.raises(InvalidInput, match="limit must be an integer"):
        names(limit="2")


def test_toggle_hold_job_type(api, client, jobs):
    api.create_job(client, {"type": "work"})
    assert api.toggle_hold_job_type(client, "work")["type"] == "work"
    assert check(api, client, lambda job: 1) is None
    assert api.toggle_hold_job_type(client, "work") is None
    assert check(api, client, lambda job: 1)["status"] == "successful"
    with pytest.raises(InvalidInput, match=r"^Please provide a type to toggle\.$"):
        api.toggle_hold_job_type(client, "")


def test_a_job_is_run(api, client, jobs):
    api.create_job(client, {"type": "work", "input": 2, "name": "n"})
    seen = []

    def run(job):
        seen.append(job)
        return {"twice": job["input"] * 2}

    done = check(api, client, run, worker_id="me", worker_type="kind")
    assert (seen[0]["status"], seen[0]["name"], seen[0]["workerId"]) == ("processing", "n", "me")
    assert (done["status"], done["output"]) == ("successful", {"twice": 4})
    job = jobs.get(1)
    assert (job.worker_id, job.worker_type, job.attempt) == ("me", "kind", 1)
    assert check(api, client, run) is None


def test_none_leaves_the_output_alone(api, client):
    api.create_job(client, {"type": "work", "output": {"before": 1}})
    assert check(api, client, lambda job: None)["output"] == {"before": 1}


def test_an_exception_fails_the_job(api, client):
    api.create_job(client, {"type": "work"})

    def run(job):
        raise ValueError("no\ud800")

    done = check(api, client, run)
    assert done["status"] == "failed"
    error = done["output"]["error"]
    assert error.startswith("[ValueError: no?] Stack: Traceback (most recent call last):\n")
    assert "in run" in error
    assert "gnj/client" not in error


def test_an_output_that_is_no_json_fails_the_job(api, client):
    api.create_job(client, {"type": "work"})
    done = check(api, client, lambda job: {1, 2})
    assert done["status"] == "failed"
    assert done["output"]["error"].startswith(
        "[InvalidInput: job.output must be JSON, without values of the type set] Stack: "
    )


@pytest.mark.parametrize("message, told", [(["stopped"], "stopped"), ([], "No cancel message provided")])
def test_cancel_requested_cancels_the_job(api, client, message, told):
    api.create_job(client, {"type": "work"})

    def run(job):
        raise CancelRequested(*message)

    done = check(api, client, run)
    assert (done["status"], done["output"]) == ("cancelled", {"cancelMessage": told})


def test_progress(api, client, jobs):
    api.create_job(client, {"type": "work"})

    @api.as_function
    def run(job, updates):
        yield updates.update_processing_info({"percent": 1, "steps": {"a": {"status": "processing"}}})
        yield updates.update_processing_info({"steps": {"a": {"status": "done"}}})
        return jobs.get(job["id"]).progress

    done = check(api, client, run)
    assert list(done["output"]) == ["steps"]
    assert set(done["output"]["steps"]["a"]) == {"status", "doneAt", "elapsedTime"}


@pytest.mark.parametrize("stops", [True, False])
def test_a_requested_cancellation(api, client, jobs, stops):
    api.create_job(client, {"type": "work"})

    @api.as_function
    def run(job, updates):
        jobs.cancel(job["id"])
        yield updates.update_processing_info({"percent": 1})
        yield updates.update_processing_info({"percent": 2})
        return "ran on"

    done = check(api, client, run, cancel_on_request=stops)
    if stops:
        assert (done["status"], done["output"]) == ("cancelled", {"cancelMessage": "A job cancelation was requested !"})
    else:
        assert done["status"] == "failed"
        assert "The job was requested to be cancelled at the previous call" in done["output"]["error"]


def test_a_claim_that_is_over_cannot_be_ended(api, client, jobs, caplog):
    api.create_job(client, {"type": "work"})

    def run(job):
        jobs.queue.release([jobs.get(job["id"])])
        return "late"

    with pytest.raises(ClientError) as caught:
        check(api, client, run)
    assert caught.value.code == "LEASE_LOST"
    assert (jobs.get(1).status, jobs.get(1).output) == ("queued", None)


@pytest.mark.parametrize("types", [[], (), "work", None, [3]])
def test_a_type_list_is_needed(api, client, types):
    with pytest.raises(InvalidInput):
        api.check_for_jobs(client, lambda job: 1, type_list=types, looping=False)


def event(api):
    return threading.Event() if api.kind == "sync" else asyncio.Event()


def test_a_loop_runs_one_job_after_the_other_until_it_is_told_to_stop(api, client, jobs):
    for n in range(5):
        api.create_job(client, {"type": "work", "input": n})
    ran, stop = [], event(api)

    def run(job):
        ran.append(job["input"])
        if len(ran) == 5:
            jobs.enqueue("work", 5)
        if job["input"] == 2:
            raise ValueError
        if job["input"] == 5:
            stop.set()
        return job["input"]

    assert check(api, client, run, looping=True, loop_time=0.02, stop=stop) is None
    assert ran == [0, 1, 2, 3, 4, 5]
    assert [job.status for job in jobs.list()] == ["successful", "successful", "failed", *["successful"] * 3]


def test_a_loop_that_is_told_to_stop_does_not_wait(api, client):
    stop = event(api)
    stop.set()
    begun = time.monotonic()
    assert check(api, client, lambda job: 1, looping=True, loop_time=60, stop=stop) is None
    assert time.monotonic() - begun < 5


def test_a_loop_outlives_a_claim_that_is_over(api, client, jobs, caplog):
    jobs.enqueue_many([NewJob("work") for _ in range(2)])
    stop = event(api)

    def run(job):
        if job["id"] == 1 and job["attempt"] == 1:
            jobs.queue.release([jobs.get(1)])
            jobs.delete(1)
            return "late"
        stop.set()
        return "done"

    check(api, client, run, looping=True, loop_time=0.01, stop=stop)
    assert jobs.get(2).output == "done"
    assert "job 1: how it ended cannot be told" in caplog.text


def test_an_interrupt_gives_the_job_back(url, jobs):
    jobs.enqueue("work")

    def run(job):
        raise KeyboardInterrupt

    with get_new_client(url) as client, pytest.raises(KeyboardInterrupt):
        check_for_jobs(client, run, type_list=["work"])
    assert (jobs.get(1).status, jobs.get(1).failures, jobs.get(1).stalled_count) == ("queued", 0, 0)


def test_cancelling_the_task_gives_the_job_back(url, jobs):
    async def main():
        async with get_new_client(url) as client:
            began = asyncio.Event()

            async def run(job):
                began.set()
                await asyncio.sleep(60)

            task = asyncio.ensure_future(check_for_jobs_async(client, run, type_list=["work"]))
            await began.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    jobs.enqueue("work")
    asyncio.run(main())
    assert (jobs.get(1).status, jobs.get(1).failures, jobs.get(1).stalled_count) == ("queued", 0, 0)


def test_an_async_function_is_refused_where_nobody_awaits(url):
    async def run(job):
        pass

    with get_new_client(url) as client, pytest.raises(InvalidInput, match="check_for_jobs_async"):
        check_for_jobs(client, run, type_list=["work"])


def test_one_client_serves_several_event_loops_and_threads(url, jobs):
    client = get_new_client(url)

    async def make(client):
        made = await asyncio.gather(*(gnj.client.create_job_async(client, {"type": "work"}) for _ in range(5)))
        await client.aclose()
        return made

    assert len(asyncio.run(make(client))) == 5
    assert len(asyncio.run(make(client))) == 5
    threads = [threading.Thread(target=gnj.client.create_job, args=(client, {"type": "work"})) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    client.close()
    assert jobs.count() == 15
    assert len(gnj.client.list_jobs(client)) == 15  # it opens again
    client.close()


def test_a_client_that_nobody_closes_closes_itself(url):
    client = get_new_client(url)
    gnj.client.list_jobs(client)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del client
        gc.collect()
    assert [str(each.message) for each in caught if each.category is ResourceWarning] == []


def test_no_server(api):
    client = api.get_new_client("http://127.0.0.1:1/graphql")
    with pytest.raises(Unreachable, match="the server cannot be reached: ConnectError") as caught:
        api.list_jobs(client)
    assert isinstance(caught.value, ConnectionError)
    assert (caught.value.code, caught.value.status) == ("UNREACHABLE", None)
    with pytest.raises(Unreachable):
        check(api, client, lambda job: 1)
    api.close(client)


def test_not_the_address_of_an_endpoint(api, url):
    client = api.get_new_client(url.replace("/graphql", "/nothing"))
    with pytest.raises(ClientError, match="answered 404 and no GraphQL"):
        api.list_jobs(client)
    api.close(client)


def test_tokens_and_headers(api, url, jobs):
    seen = []

    def authenticate(context):
        seen.append(dict(context.headers))
        return Principal("me") if context.headers.get("authorization") == "Bearer right" else None

    jobs.authenticate = authenticate
    for token, fine in (("right", True), ("wrong", False), (None, False)):
        client = api.get_new_client(url, token, {"X-Trace": "7"})
        assert "right" not in repr(client)
        if fine:
            assert api.list_jobs(client) == []
        else:
            with pytest.raises(ClientError) as caught:
                api.list_jobs(client)
            assert (caught.value.code, caught.value.status) == ("UNAUTHENTICATED", 401)
        api.close(client)
    assert {headers["x-trace"] for headers in seen} == {"7"}


@pytest.mark.parametrize(
    "arguments, says",
    [
        (["127.0.0.1:8080/graphql"], "url must be an address like"),
        (["file:///graphql"], "url must be an address like"),
        (["http://host:x/graphql"], "url must be an address like"),
        ([None], "url must be a string"),
        (["http://host/graphql", "a b"], "token must be printable ASCII"),
    ],
)
def test_what_no_request_can_carry(api, arguments, says):
    with pytest.raises(InvalidInput, match=says):
        api.get_new_client(*arguments)


@pytest.mark.slow
@pytest.mark.backend("sqlite")
def test_lost_answers_and_an_outage(sqlite_database, tmp_path, caplog):
    """A loop goes on after both; the end of a job is told until it is taken, and counts once (B25)."""
    database = sqlite_database()
    ran: list[int] = []
    stop = threading.Event()
    with Server(database, tmp_path) as server, GNJ(database) as jobs:
        first, second, third = (jobs.enqueue("work") for _ in range(3))

        def run(job):
            ran.append(job["id"])
            if job["id"] == second.id:
                server.kill()
                threading.Timer(0.3, server.start).start()
            if job["id"] == third.id:
                stop.set()
            return {"ran": job["id"]}

        with Forgetful(server.port, "successful", 2) as proxy, get_new_client(f"{proxy.url}/graphql") as client:
            check_for_jobs(client, run, type_list=["work"], loop_time=0.05, stop=stop)
        assert proxy.dropped >= 1
        assert [(job.output, job.attempt) for job in jobs.list()] == [({"ran": n}, 1) for n in ran]
    assert ran == [first.id, second.id, third.id]
    assert "cannot tell how job" in caplog.text


def test_a_loop_asks_again_when_nobody_answers(api, caplog):
    client = api.get_new_client("http://127.0.0.1:1/graphql")
    stop = event(api)

    class Stopping(logging.Handler):
        def emit(self, record):
            if len(caplog.records) >= 3:
                stop.set()

    handler = Stopping()
    logging.getLogger("gnj.client").addHandler(handler)
    try:
        assert check(api, client, lambda job: 1, looping=True, stop=stop) is None
    finally:
        logging.getLogger("gnj.client").removeHandler(handler)
    assert "cannot ask for jobs, trying again" in caplog.text
    api.close(client)


def test_ctrl_c_ends_a_loop(url, jobs):
    code = (
        "import sys, gnj.client as c; print('begun', flush=True);"
        "c.check_for_jobs(c.get_new_client(sys.argv[1]), lambda job: 1, type_list=['work'], loop_time=60)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, url], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        process.stdout.readline()
        job = jobs.enqueue("work")
        end = time.monotonic() + 20
        while jobs.count(id=job.id, status="successful") == 0:
            assert time.monotonic() < end
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        assert "KeyboardInterrupt" in process.communicate(timeout=10)[1]
    finally:
        process.kill()
        process.communicate()
