"""Every example runs, as its own text says it does."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from gnj import Schedule
from gnj.content.filters import EVERYTHING
from tests.waiting import until

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
RUN = {
    "content_tour.py",
    "custom_mutations.py",
    "embed_starlette.py",
    "embed_flask.py",
    "embed_fastapi.py",
    "host_transaction.py",
    "own_content_operations.py",
    "own_content_store.py",
    "push_worker.py",
    "recurring.py",
    "remote_worker.py",
    "rest_client.py",
    "transform_tour.py",
    "worker_only.py",
}


@pytest.fixture
def environment():
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GNJ_")}
    return kept | {"PYTHONPATH": f"{EXAMPLES.parent}{os.pathsep}{EXAMPLES}", "PYTHONWARNINGS": "error"}


def load(name, monkeypatch, folder):
    """The module of an example, imported anew with `folder` as its working directory."""
    monkeypatch.chdir(folder)
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_all_of_them_are_run_here():
    assert {path.name for path in EXAMPLES.glob("*.py")} == RUN


def test_embed_starlette(monkeypatch, tmp_path):
    testclient = pytest.importorskip("starlette.testclient")
    example = load("embed_starlette", monkeypatch, tmp_path)
    with testclient.TestClient(example.app, "http://localhost", client=("127.0.0.1", 50000)) as client:
        made = client.post("/texts", content="to be or not to be")
        assert made.status_code == 202
        id = made.json()["id"]
        done = until(lambda: (text := client.get(f"/texts/{id}").json())["status"] == "successful" and text)
        assert done["words"] == {"to": 2, "be": 2, "or": 1, "not": 1}
        asked = client.post("/jobs/graphql", json={"query": "{ job { id status processingInfo } }"})
        assert asked.json()["data"] == {"job": [{"id": id, "status": "successful", "processingInfo": {"words": 6}}]}
        assert client.get("/texts/99").status_code == 404


def test_embed_fastapi(monkeypatch, tmp_path):
    pytest.importorskip("fastapi", reason="capability: fastapi is not installed")
    testclient = pytest.importorskip("starlette.testclient")
    example = load("embed_fastapi", monkeypatch, tmp_path)
    with testclient.TestClient(example.app, "http://localhost", client=("127.0.0.1", 50000)) as client:
        made = client.post("/texts", json={"text": "to be or not to be"})
        assert (made.status_code, made.json()["status"]) == (202, "queued")
        id = made.json()["id"]
        done = until(lambda: (text := client.get(f"/texts/{id}").json())["status"] == "successful" and text)
        assert done["words"] == {"to": 2, "be": 2, "or": 1, "not": 1}
        asked = client.post("/jobs/graphql", json={"query": "{ job { id status } }"})
        assert asked.json()["data"] == {"job": [{"id": id, "status": "successful"}]}
        assert client.get("/texts/99").status_code == 404


def test_embed_flask(environment, monkeypatch, tmp_path):
    pytest.importorskip("flask", reason="capability: flask is not installed")
    pytest.importorskip("typer")
    example = load("embed_flask", monkeypatch, tmp_path)
    app = example.create_app()
    client = app.test_client()
    made = client.post("/texts", data="to be or not to be")
    assert made.status_code == 202
    id = made.json["id"]
    assert client.get(f"/texts/{id}").json == {"status": "queued", "words": None}
    arguments = ["worker", "embed_flask:handlers", "--database", "sqlite:///texts.db", "--poll", "0.1"]
    with subprocess.Popen([sys.executable, "-m", "gnj.cli", *arguments], cwd=tmp_path, env=environment) as worker:
        try:
            done = until(lambda: (text := client.get(f"/texts/{id}").json)["status"] == "successful" and text)
            assert done["words"] == {"to": 2, "be": 2, "or": 1, "not": 1}
            asked = client.post("/jobs/graphql", json={"query": "{ job { id processingInfo } }"})
            assert asked.json["data"] == {"job": [{"id": id, "processingInfo": {"words": 6}}]}
            assert client.get("/texts/99").status_code == 404
        finally:
            worker.send_signal(signal.SIGTERM)
    assert worker.returncode == 0
    app.extensions["gnj"]["/jobs"].close()


def test_custom_mutations(environment, tmp_path):
    done = subprocess.run(
        [sys.executable, EXAMPLES / "custom_mutations.py"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == [
        "customAcquire: {'id': 2, 'input': {'size': 30}}",
        "customAcquire2: {'id': 3, 'input': {'size': 20}}",
        "customAcquire3: {'id': 1, 'input': {'size': 10}}",
        "customAcquire: None",
        "{'summary': {'waiting': 0, 'byColor': [{'color': 'GREEN', 'count': 1}]}}",
    ]


def test_host_transaction(environment, tmp_path):
    done = subprocess.run(
        [sys.executable, EXAMPLES / "host_transaction.py"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "refused: an order needs an item\njobs: 1\norders: [('tea', 1)]\n"


def test_worker_only(environment, tmp_path):
    pytest.importorskip("typer")
    made = subprocess.run(
        [sys.executable, EXAMPLES / "worker_only.py", "3"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert made.stdout == "3 jobs wait for a worker\n"
    arguments = ["worker", "worker_only:handlers", "--database", "sqlite:///primes.db", "--poll", "0.1"]
    with subprocess.Popen(
        [sys.executable, "-m", "gnj.cli", *arguments], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True
    ) as worker:
        try:
            from gnj import GNJ

            assert worker.stdout is not None
            assert worker.stdout.readline().startswith("gnj worker for find-prime")
            with GNJ(f"sqlite:///{tmp_path / 'primes.db'}") as jobs:
                until(lambda: jobs.count(status="successful") == 3)
                assert [job.output for job in jobs.list(order=("id",))] == [11, 101, 1009]
        finally:
            worker.send_signal(signal.SIGTERM)
    assert worker.returncode == 0


def test_remote_worker(environment, tmp_path):
    pytest.importorskip("typer")
    from tests.serving import Server

    secret = environment | {"GNJ_TOKEN": "a-long-random-text"}
    with Server(f"sqlite:///{tmp_path / 'jobs.db'}", tmp_path, GNJ_TOKEN="a-long-random-text") as server:
        command = [sys.executable, str(EXAMPLES / "remote_worker.py"), server.url]
        with subprocess.Popen(command, cwd=tmp_path, env=secret) as worker:
            try:
                asked = subprocess.run(
                    [*command, "to be or not to be"],
                    cwd=tmp_path,
                    env=secret,
                    capture_output=True,
                    text=True,
                    timeout=60,
                    check=True,
                )
                assert asked.stdout == "successful {'be': 2, 'not': 1, 'or': 1, 'to': 2}\n"
            finally:
                worker.send_signal(signal.SIGTERM)
        assert worker.returncode == 0


def test_rest_client(environment, tmp_path):
    pytest.importorskip("typer")
    from tests.serving import Server

    secret = environment | {"GNJ_TOKEN": "a-long-random-text"}
    served = {"GNJ_TOKEN": "a-long-random-text", "PYTHONPATH": environment["PYTHONPATH"]}
    options = ("--workers", "remote_worker:handlers")
    with Server(f"sqlite:///{tmp_path / 'jobs.db'}", tmp_path, *options, **served) as server:
        command = [sys.executable, str(EXAMPLES / "rest_client.py"), server.url.removesuffix("/graphql")]

        def run(*texts, token="a-long-random-text"):
            return subprocess.run(
                [*command, *texts],
                cwd=tmp_path,
                env=secret | {"GNJ_TOKEN": token},
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )

        done = run("to be or not to be", "to sleep")
        assert (done.returncode, done.stderr) == (0, "")
        *lines, last = done.stdout.splitlines()
        assert sorted(lines) == [
            "to be or not to be: {'be': 2, 'not': 1, 'or': 1, 'to': 2}",
            "to sleep: {'sleep': 1, 'to': 1}",
        ]
        assert last == "2 jobs have ended so far"
        refused = run("a", token="wrong")
        assert (refused.returncode, refused.stdout, refused.stderr) == (1, "", "rest_client: 401: Unauthorized\n")


def test_content_tour(environment, tmp_path):
    pytest.importorskip("typer")
    from tests.serving import Server

    with Server(f"sqlite:///{tmp_path / 'jobs.db'}", tmp_path) as server:
        command = [sys.executable, str(EXAMPLES / "content_tour.py"), server.url.removesuffix("/graphql"), "acme"]

        def run(*more):
            ran = subprocess.run(
                [*command, *more],
                cwd=tmp_path,
                env=environment,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            return ran.returncode, ran.stdout.splitlines(), ran.stderr

        code, lines, errors = run()
        assert (code, errors) == (0, "")
        assert [line for line in lines if "%" not in line] == [
            "INFORMATION: 3 entries were imported, 0 refused",
            "the site blog has 3 entries",
            "INFORMATION: 3 entries were exported",
            "export.jsonl has 3 lines",
        ]
        assert "PROCESS_ENTRIES 100 %, REINDEX_ENTRIES 100 %, REINDEX_URLS 100 %, REINDEX_TAGS 100 %" in lines
        # what was exported can be imported: it is all there already
        code, lines, errors = run("export.jsonl")
        assert (code, errors, lines[-1]) == (0, "", "export.jsonl has 3 lines")
        (tmp_path / "bad.json").write_text('[{"id": "article-1"}, {"id"')
        code, lines, errors = run("bad.json")
        assert (code, errors) == (1, "content_tour: the job 5 has ended as FAILED\n")
        assert [line for line in lines if "%" not in line] == [
            "ERROR: entry 1: system.siteId is missing",
            "INFORMATION: 0 entries were imported, 1 refused",
            "ERROR: the file breaks off at value 2: the file ends before it does",
        ]


def test_own_content_store(monkeypatch, tmp_path):
    """Imported, exported and synced as the tour does it; `tests/content/test_own_store.py` has the contract."""
    testclient = pytest.importorskip("starlette.testclient")
    monkeypatch.syspath_prepend(EXAMPLES)
    example = load("own_content_store", monkeypatch, tmp_path)
    tour = load("content_tour", monkeypatch, tmp_path)
    made = """mutation ($base: String!) { createEnvironmentJob(createJobInput: {
        jobName: "Stage", baseEnvironmentId: $base, newEnvironmentAlias: "stage", newEnvironmentDisplayName: "Stage"
    }) { id } }"""
    sync = """mutation ($base: String!, $target: String!) { syncEnvironmentJob(createJobInput: {
        jobName: "Sync", baseEnvironmentId: $base, targetEnvironmentId: $target
    }) { job { id } } }"""
    with testclient.TestClient(example.app, "http://localhost", client=("127.0.0.1", 50000)) as client:
        acme = tour.Organisation(client, "acme")

        def imported(*titles):
            entries = [
                {
                    "id": f"e{number}",
                    "system": {"siteId": "blog", "modelId": "article", "slug": title.lower()},
                    "content": {"title": title},
                }
                for number, title in enumerate(titles)
            ]
            key = acme.upload("articles.json", json.dumps(entries).encode())
            acme.wait(acme.ask(tour.IMPORT, job={"jobName": "In", "jobType": "IMPORT_ENTRIES", "fileKey": key})["id"])

        def titles(environment):
            found = example.website.entries("acme", environment, EVERYTHING, offset=0, limit=9)
            return sorted(each.content["title"] for each in found.items)

        imported("Hello", "Again")
        assert client.get("/acme/blog/hello").json() == {"title": "Hello"}
        assert client.get("/acme/blog/goodbye").status_code == 404
        done = acme.wait(acme.ask(tour.EXPORT, job={"jobName": "Out", "jobType": "EXPORT_ENTRIES"})["id"])
        file = client.get(acme.ask(tour.DOWNLOAD, key=done["fileKey"]))
        assert [json.loads(line)["id"] for line in file.text.splitlines()] == ["e0", "e1"]
        (main,) = [each["id"] for each in acme.ask("{ environments { id } }")]
        acme.wait(acme.ask(made, base=main)["id"])
        _, stage = [each["id"] for each in acme.ask("{ environments { id } }")]
        imported("Hello", "Goodbye")
        assert (titles(main), titles(stage)) == (["Goodbye", "Hello"], ["Again", "Hello"])
        acme.wait(acme.ask(sync, base=main, target=stage)["job"]["id"])
        assert titles(stage) == ["Goodbye", "Hello"]
        assert client.get("/acme/blog/again").status_code == 404


def test_what_the_rest_client_does_when_things_go_wrong(monkeypatch, tmp_path):
    """It asks again where that helps, reads all pages, and finds what ended before it listened, failed or was removed."""
    import httpx

    from gnj import GNJ
    from gnj.testing.clients import Call, wsgi_client

    example = load("rest_client", monkeypatch, tmp_path)
    slept: list[float] = []
    wrong: list[Exception | httpx.Response] = []
    events: list[list[bytes]] = []
    # of the example alone: threads of other tests' storages may still be about
    monkeypatch.setattr(example, "time", SimpleNamespace(sleep=slept.append))
    jobs = GNJ("memory://", token="a-long-random-text")
    app = wsgi_client(jobs.wsgi_app())

    def breaking(chunks):
        yield from chunks
        raise httpx.RemoteProtocolError("the server has gone")

    def answer(request):
        if wrong:
            bad = wrong.pop(0)
            if isinstance(bad, Exception):
                raise bad
            return bad
        headers = [("host", "jobs.example"), ("authorization", "Bearer a-long-random-text")]
        if "content-type" in request.headers:
            headers.append(("content-type", request.headers["content-type"]))
        if request.url.path.endswith("/events"):
            return httpx.Response(200, content=breaking(events.pop(0)))
        sent = app(Call(request.method, request.url.raw_path.decode(), request.read(), tuple(headers)))
        return httpx.Response(sent.status, content=sent.body)

    with jobs, httpx.Client(base_url="http://jobs.example", transport=httpx.MockTransport(answer)) as http:
        name = "mails: %2F"
        queue = example.Queue(http, name)
        busy = httpx.Response(503, headers={"retry-after": "5"}, json={"error": "The server is busy"})
        wrong += [httpx.ConnectError("refused"), busy, httpx.Response(429, text="slow down")]
        made = queue.add("welcome", range(250), attempts=1)
        assert (len(made), slept) == (250, [0.5, 5, 2])
        assert [job["data"] for job in queue.jobs("waiting")] == list(range(249, -1, -1))
        wrong += [httpx.ReadTimeout("lost")]
        assert queue.get(made[0]["id"])["opts"]["attempts"] == 1
        with pytest.raises(example.Refused, match="400: Invalid status: x") as refused:
            list(queue.jobs("x"))
        assert refused.value.status == 400
        wrong += [busy] * 6
        with pytest.raises(example.Refused, match="503: The server is busy"):
            queue.get("1")
        wrong += [httpx.ConnectError("refused")] * 6
        with pytest.raises(httpx.ConnectError):
            queue.get("1")
        (first,) = jobs.queue.acquire([name], 1)
        jobs.queue.succeed(first, {"sent": 1})
        (second,) = jobs.queue.acquire([name], 1)
        jobs.queue.fail(second, "no such address")
        one, two, three, four, five = [job["id"] for job in made[:5]]
        jobs.queue.remove_job(name, three, tenant="")
        events = [
            [
                b": nothing\n\n",
                b"event: completed\nid: 1\n",
                f'data: {{"jobId":"{four}","returnvalue":[4]}}\n\n'.encode(),
            ],
            [
                b'event: completed\ndata: {"jobId":"x","returnvalue":1}\n\n',
                f'event: removed\ndata: {{"jobId":"{five}"}}\n\n'.encode(),
            ],
        ]
        ends = {end.id: end[1:] for end in queue.ends([one, two, three, four, five])}
        assert ends == {
            one: ({"sent": 1}, None),
            two: (None, "no such address"),
            three: (None, "removed"),
            four: ([4], None),
            five: (None, "removed"),
        }
        assert events == []


def test_push_worker(environment, tmp_path):
    pytest.importorskip("typer")
    import socket
    import urllib.error
    import urllib.request

    from tests.serving import Server

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    secret = environment | {"GNJ_TOKEN": "a-long-random-text"}
    headers = {"authorization": "Bearer a-long-random-text", "content-type": "application/json"}
    options = ("--fetch-allow", f"127.0.0.1:{port}")
    with Server(f"sqlite:///{tmp_path / 'jobs.db'}", tmp_path, *options, GNJ_TOKEN="a-long-random-text") as server:
        base = server.url.removesuffix("/graphql")
        command = [sys.executable, str(EXAMPLES / "push_worker.py"), base, str(port)]
        with subprocess.Popen(
            command, cwd=tmp_path, env=secret, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as worker:
            try:
                assert worker.stdout is not None
                assert worker.stdout.readline() == "OK\n"
                from gnj import GNJ, NewJob

                with GNJ(f"sqlite:///{tmp_path / 'jobs.db'}") as jobs:
                    good, bad = jobs.enqueue_many(
                        [NewJob("word-counts", data) for data in ({"text": "to be or not to be"}, {"words": 5})]
                    )
                    until(lambda: jobs.count(status=["successful", "failed"]) == 2)
                    outputs = {job.id: job.output for job in jobs.list()}
                    assert outputs[good.id] == {"be": 2, "not": 1, "or": 1, "to": 2}
                    assert outputs[bad.id] == {"error": "Unprocessable Entity"}
                forged = urllib.request.Request(
                    f"http://127.0.0.1:{port}/",
                    json.dumps({"job": {"id": "1", "data": {"text": "a"}}}).encode(),
                    headers,
                )
                with pytest.raises(urllib.error.HTTPError, match="401"):
                    urllib.request.urlopen(forged, timeout=10)
            finally:
                worker.kill()


def test_recurring(monkeypatch, tmp_path):
    example = load("recurring", monkeypatch, tmp_path)
    with example.jobs as jobs:
        rows = {row.name: row for row in jobs.queue.list(Schedule)}
        assert {name: (row.cron, row.every_ms, row.may_overlap) for name, row in rows.items()} == {
            "nightly": ("0 3 * * *", None, True),
            "poll": (None, 30_000, False),
        }
        # as `gnj recurring run` does
        made = [jobs.queue.run_schedule(row.id) for row in rows.values()]
        with jobs.worker():
            until(lambda: jobs.count(status="successful") == 2)
        assert {job.type: job.output for job in jobs.list(status="successful")} == {
            "nightly": {"report_of": None},
            "poll": {"mails": 0},
        }
        assert len(made) == 2


def test_transform_tour(environment, tmp_path):
    pytest.importorskip("typer")
    from tests.serving import Server
    from tests.transform.sites import answer, site

    feed = b"sku,title,price,stock\nTEA-1,green tea,3.50 USD,12\nCUP-7,a cup,12 USD,0\n,nobody knows,9 USD,1\n"
    options = ("--fetch-allow", "127.0.0.1")
    with (
        site(**{"feed.csv": answer(feed, "text/csv")}) as shop,
        Server(f"sqlite:///{tmp_path / 'jobs.db'}", tmp_path, *options) as server,
    ):
        command = [sys.executable, str(EXAMPLES / "transform_tour.py"), server.url.removesuffix("/graphql")]

        def run(url):
            ran = subprocess.run(
                [*command, url], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
            )
            return ran.returncode, ran.stdout.splitlines(), ran.stderr

        assert run(shop.url("/feed.csv")) == (
            0,
            [
                "sku is sku",
                "name is title",
                (
                    r'price is price match("^[^-\u2212(0-9]*\K(?:(?<!\w)-)?[0-9]+(?:[\s,][0-9]{3})*(?:\.[0-9]+)?(?=[^-\u22120-9]*$)")'
                    '.replace(" ", "").toNumber()'
                ),
                "available is stock toNumber() > 0",
                "3 records read, 2 written, 1 rejected",
                '{"sku": "TEA-1", "name": "Green Tea", "price": 3.5, "available": true}',
                '{"sku": "CUP-7", "name": "A Cup", "price": 12, "available": false}',
                "rejected: sku is primary and has no value",
            ],
            "",
        )
        assert run(shop.url("/missing.csv")) == (1, [], "transform_tour: the source answered 404 Not Found\n")
        told = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert (told.returncode, told.stdout) == (2, "")
        assert told.stderr.startswith("usage: python transform_tour.py SERVER FEED, such as http://")
        code, lines, told = run(shop.url("/feed.csv", host="127.0.0.2"))
        assert (code, lines) == (1, [])
        assert told.startswith("transform_tour: ")
