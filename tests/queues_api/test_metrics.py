"""Figures of a queue over REST, and all of them for Prometheus."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta
from itertools import pairwise

import pytest

from gnj import GNJ
from gnj.access import Principal
from gnj.api import metrics
from gnj.queue.derived import STATES
from gnj.queue.figures import Quantiles, Recent
from gnj.queue.listing import QueueSummary
from gnj.queue.model import NewJob, PushWorker
from gnj.testing.clients import Call, asgi_client, wsgi_client

BACKENDS = [pytest.param(name, marks=pytest.mark.backend(name)) for name in ("memory", "sqlite", "postgresql", "mysql")]


def principal(context):
    tenant = context.headers.get("x-tenant")
    return None if tenant is None else Principal(f"of {tenant}", tenant=tenant)


@pytest.fixture(params=BACKENDS)
def jobs(request):
    backend = request.param
    url = "memory://" if backend == "memory" else request.getfixturevalue(f"{backend}_database")()
    with GNJ(url, authenticate=principal) as jobs:
        jobs.migrate()
        yield jobs


def asked(jobs, target, tenant="acme", client=asgi_client):
    app = jobs.asgi_app() if client is asgi_client else jobs.wsgi_app()
    return client(app)(Call("GET", target, headers=(("x-tenant", tenant),)))


def work(jobs, type="mail", tenant="acme", *, fails=False):
    jobs.queue.enqueue(NewJob(type, tenant=tenant))
    (claim,) = jobs.queue.acquire([type], 1, tenants=[tenant])
    return jobs.queue.fail(claim, "no") if fails else jobs.queue.succeed(claim)


def test_figures_of_a_queue(jobs):
    work(jobs)
    work(jobs)
    last = work(jobs, fails=True)
    work(jobs, tenant="other")
    told = json.loads(asked(jobs, "/queues/mail/metrics").body)
    assert len(told["minutes"]) == 60
    assert {key: sum(each[key] for each in told["minutes"]) for key in ("completed", "failed")} == {
        "completed": 2,
        "failed": 1,
    }
    at = [each["at"] for each in told["minutes"]]
    assert [later - earlier for earlier, later in pairwise(at)] == [60_000] * 59
    # the minute may have ended meanwhile
    assert -60_000 <= round(last.ended_at.timestamp() * 1000) - at[-1] < 60_000
    assert told["sampled"] == 3
    for name in ("wait", "run"):
        assert 0 <= told[name]["p50"] <= told[name]["p95"] < 30_000
    assert len(json.loads(asked(jobs, "/queues/mail/metrics?minutes=1440").body)["minutes"]) == 1440
    nothing = json.loads(asked(jobs, "/queues/nowhere/metrics?minutes=1").body)
    assert [(each["completed"], each["failed"]) for each in nothing["minutes"]] == [(0, 0)]
    assert (nothing["wait"], nothing["sampled"]) == ({"p50": None, "p95": None}, 0)


@pytest.mark.parametrize("jobs", ["memory"], indirect=True)
@pytest.mark.parametrize(
    "query, told",
    [
        ("minutes=0", "minutes must be from 1 to 1,440"),
        ("minutes=1441", "minutes must be from 1 to 1,440"),
        ("minutes=", "minutes must be an integer"),
        ("minutes=1.5", "minutes must be an integer"),
        ("hours=1", "Unexpected parameter: 'hours'"),
    ],
)
def test_figures_that_are_none(jobs, query, told):
    answer = asked(jobs, f"/queues/mail/metrics?{query}")
    assert (answer.status, json.loads(answer.body)) == (400, {"error": told})


LINE = re.compile(
    r'(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)\{(?P<labels>(?:[a-z_]+="(?:[^"\\\n]|\\[\\"n])*",?)*)\} (?P<value>[0-9.eE+-]+)'
)
ESCAPES = {"\\\\": "\\", '\\"': '"', "\\n": "\n"}
LABEL = re.compile(r'([a-z_]+)="((?:[^"\\\n]|\\[\\"n])*)"')


def parsed(text):
    """The samples by name and labels, as one reads them who knows the format (0.0.4); each name is described before it."""
    assert text.endswith("\n")
    samples, known, past = {}, None, set()
    lines = text.splitlines() if "\r" not in text else text.split("\n")[:-1]
    for place, line in enumerate(lines):
        if line.startswith("# HELP "):
            known = line.split()[2]
            assert known not in past
            past.add(known)
            assert lines[place + 1] == f"# TYPE {known} gauge"
        elif not line.startswith("# "):
            found = LINE.fullmatch(line)
            assert found, line
            assert found["name"] == known
            labels = {
                name: re.sub(r"\\.", lambda m: ESCAPES[m[0]], text) for name, text in LABEL.findall(found["labels"])
            }
            key = (known, tuple(labels.values()))
            assert key not in samples
            samples[key] = float(found["value"])
    return samples


@pytest.mark.parametrize("client", [asgi_client, wsgi_client])
def test_prometheus(jobs, client):
    work(jobs)
    work(jobs, fails=True)
    jobs.queue.enqueue(NewJob("mail", tenant="acme"))
    jobs.queue.enqueue(NewJob("thumb", tenant="acme", start_after=timedelta(hours=1)))
    jobs.queue.hold("thumb", tenant="acme")
    jobs.queue.enqueue(NewJob("private", tenant="other"))
    answer = asked(jobs, "/metrics", client=client)
    assert answer.status == 200
    assert answer.header("content-type") == "text/plain; version=0.0.4; charset=utf-8"
    found = parsed(answer.body.decode())
    assert {key: value for key, value in found.items() if key[0] == "gnj_queue_jobs" and value} == {
        ("gnj_queue_jobs", ("mail", "waiting")): 1,
        ("gnj_queue_jobs", ("mail", "completed")): 1,
        ("gnj_queue_jobs", ("mail", "failed")): 1,
        ("gnj_queue_jobs", ("thumb", "delayed")): 1,
    }
    assert {labels[1] for name, labels in found if name == "gnj_queue_jobs"} == set(STATES)
    assert found["gnj_queue_paused", ("mail",)] == 0
    assert found["gnj_queue_paused", ("thumb",)] == 1
    assert found["gnj_queue_ended_last_minute", ("mail", "completed")] == 1
    assert found["gnj_queue_ended_last_minute", ("mail", "failed")] == 1
    assert found["gnj_queue_ended_last_minute", ("thumb", "completed")] == 0
    assert 0 <= found["gnj_queue_run_seconds", ("mail", "0.5")] < 30
    assert 0 <= found["gnj_queue_wait_seconds", ("mail", "0.95")] < 30
    assert b"private" not in answer.body
    assert client(jobs.asgi_app() if client is asgi_client else jobs.wsgi_app())(Call("GET", "/metrics")).status == 401


def test_names_are_escaped():
    name = 'a"b\\c\nd é'
    now = datetime(2026, 1, 1)  # noqa: DTZ001 - not looked at
    worker = PushWorker(
        id=1, created_at=now, updated_at=now, type=name, url="https://x", method="POST", timeout_ms=1, secret="s",
        version=1, failed=50, disabled_at=now,
    )  # fmt: skip
    summary = QueueSummary(name, paused=True, limited=False, counts={"waiting": 2_000_000})
    recent = Recent(1, 2, Quantiles(1.0, 12_345.678), Quantiles(None, None))
    found = parsed(metrics.exposition([summary], {name: recent, "gone": recent}, [worker]))
    assert found["gnj_queue_jobs", (name, "waiting")] == 2_000_000
    assert found["gnj_queue_wait_seconds", (name, "0.5")] == 0.001
    assert found["gnj_queue_wait_seconds", (name, "0.95")] == 12.345678
    assert not [key for key in found if key[0] == "gnj_queue_run_seconds"]
    assert found["gnj_push_worker_up", (name,)] == 0
    assert parsed(metrics.exposition([], {}, [])) == {}


def test_the_face_stands_alone():
    jobs = GNJ("memory://", authenticate=principal)
    assert [route.path for route in jobs.routes(["metrics"])] == ["/metrics"]
