"""The npm libraries graphql-ws and graphql-sse, which most pages subscribe with, against a real server."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import gnj
import gnj_starlette
from tests.subscribers import WAIT, served

HERE = Path(__file__).parent / "clients"


@pytest.fixture(scope="module")
def packages() -> Path:
    """The folder with the installed packages: outside the tree, and kept for the next run."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("capability: no Node")
    described = (HERE / "package.json").read_bytes()
    folder = Path(tempfile.gettempdir()) / f"gnj-clients-{os.getuid()}-{hashlib.sha256(described).hexdigest()[:16]}"
    if not folder.exists():
        # under another name until it is whole, for several processes test at once
        with tempfile.TemporaryDirectory(dir=folder.parent) as making:
            (Path(making) / "package.json").write_bytes(described)
            command = [npm, "install", "--no-fund", "--no-audit", "--ignore-scripts", "--prefer-offline"]
            done = subprocess.run(command, cwd=making, capture_output=True, text=True, timeout=100, check=False)
            if done.returncode:
                pytest.skip(f"capability: npm install failed: {done.stderr[-300:]}")
            whole = Path(making).with_suffix(".whole")
            shutil.copytree(making, whole, symlinks=True)
            try:
                whole.rename(folder)
            except OSError:
                shutil.rmtree(whole)
    return folder


@pytest.fixture
def jobs() -> Iterator[gnj.GNJ]:
    with gnj.GNJ("memory://", token="s3cret") as jobs:
        yield jobs


@pytest.mark.parametrize("library", ["graphql-ws", "graphql-sse"])
def test_queries_mutations_and_subscriptions(jobs, packages, library):
    with (
        served(gnj_starlette.asgi_app(jobs)) as host,
        subprocess.Popen(
            ["node", str(HERE / "subscribe.js"), library, host],
            env={**os.environ, "GNJ_PACKAGES": str(packages)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process,
    ):
        assert process.stdout is not None
        assert process.stderr is not None
        lines = iter(process.stdout.readline, "")
        told = []
        for line in lines:
            told.append(json.loads(line))
            if "subscribing" in told[-1]:
                break
        else:
            raise AssertionError(process.stderr.read())
        assert told[:4] == [
            {"answer": {"data": {"jobCount": 0}}},
            {"complete": True},
            {"answer": {"data": {"jobCreate": {"id": 1}}}},
            {"complete": True},
        ]
        # one protocol has a message for what cannot begin, in the other it is an answer
        refusals = json.dumps(told[4:])
        assert 'Cannot query field \\"nothing\\" on type \\"Query\\".' in refusals
        deadline = time.monotonic() + WAIT
        while not jobs._streams._groups:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        job = jobs.enqueue("mail")
        rest = [json.loads(line) for line in lines]
        assert (process.wait(WAIT), process.stderr.read()) == (0, "")
        assert rest[0] == {"answer": {"data": {"jobCreated": {"id": job.id, "type": "mail", "batch": None}}}}
        assert rest[1:] == [{"returned": True}]
        while not jobs._streams.idle:
            assert time.monotonic() < deadline
            time.sleep(0.01)
