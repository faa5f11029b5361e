"""Every example runs, as its own text says it does."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
RUN = {
    "custom_mutations.py",
    "embed_starlette.py",
    "embed_flask.py",
    "embed_fastapi.py",
    "host_transaction.py",
    "remote_worker.py",
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


def until(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return result


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
