"""The face inside applications of others, among the other faces, and where its libraries are not installed."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

import gnj_starlette
from gnj import GNJ
from gnj.transform import NEEDS
from tests.serving import ROOT
from tests.transform.face.conftest import FORMAT, RULES, SAVE

flask = pytest.importorskip("flask", reason="capability: flask is not installed")

import gnj_flask  # noqa: E402 - not without flask

ASKED = {"query": "{ getJobs { id } }"}


@pytest.fixture(params=["starlette", "flask"])
def host(request, jobs):
    """A client of an application in which gnj is at `/jobs`, with all that it has by default."""
    given = {"authorization": f"Bearer {jobs.create_token('k', scopes=['admin'], tenant='acme')}"}
    if request.param == "starlette":
        app = Starlette()
        gnj_starlette.mount(app, jobs, "/jobs")
        with TestClient(app, headers=given) as client:
            yield client
    else:
        made: Any = flask.Flask(__name__)
        gnj_flask.mount(made, jobs, "/jobs")
        client = made.test_client()
        client.environ_base["HTTP_AUTHORIZATION"] = given["authorization"]
        yield client


def content(response: Any) -> Any:
    return response.json() if callable(response.json) else response.json


@pytest.mark.parametrize("settings", [{"transform_workers": 1}])
def test_it_is_served_by_default_and_works_runs_itself(host, jobs, shop):
    def ask(query: str, **variables: Any) -> Any:
        answer = host.post("/jobs/transform/graphql", json={"query": query, "variables": variables})
        assert answer.status_code == 200
        return content(answer)

    request = {"type": "Feed", "url": shop.url("/feed")}
    given = {"mapping": {"data": RULES}, "format": {"data": FORMAT}}
    id = ask(SAVE, source={"sourceRequest": request}, **given)["data"]["saveJob"]
    assert ask("mutation($id: ID!) { runJob(id: $id) }", id=id) == {"data": {"runJob": True}}
    assert ask("{ getJobs { status } }") == {"data": {"getJobs": [{"status": "Live"}]}}
    assert host.post("/transform/graphql", json=ASKED).status_code == 404
    jobs.close()


def test_to_mount_it_imports_none_of_its_libraries():
    script = (
        "import sys, gnj; jobs = gnj.GNJ('memory://'); paths = [each.path for each in jobs.routes()];"
        "assert '/transform/graphql' in paths, paths;"
        "print([name for name in sys.argv[1:] if name in sys.modules])"
    )
    command = [sys.executable, "-c", script, *NEEDS]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("name", ["pint", "rapidfuzz"])
def test_without_a_library_it_is_left_out_and_says_what_is_missing(monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    with GNJ("memory://") as jobs:
        assert "/transform/graphql" not in [each.path for each in jobs.routes()]
        assert not jobs.serves_transform
        for ask in (lambda: jobs.routes(["transform"]), lambda: jobs.asgi_app(["transform"]), lambda: jobs.transform):
            with pytest.raises(ValueError, match=rf'no module {name}: pip install "gnj\[transform\]"'):
                ask()
        jobs.start()


def test_what_it_needs_is_what_the_extra_brings():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    brought = {each.partition(">")[0].replace("-", "_") for each in extras["transform"]}
    assert {{"dateutil": "python_dateutil"}.get(name, name) for name in NEEDS} == brought


def test_there_is_no_other_face():
    with GNJ("memory://") as jobs, pytest.raises(ValueError, match=r"there are: .*transform"):
        jobs.routes(["transforms"])
