"""Node, the published npm client, and servers for it."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from gnj import GNJ
from tests import databases
from tests.serving import Server

HERE = Path(__file__).parent
INSTALLED_FROM = ("package.json", "package-lock.json", ".npmrc")
SCRIPTS = ("jobs.js", "workers.js", "parents.js", "events.js")
OLDEST = 18
"""The version of Node."""


@pytest.fixture(scope="session")
def npm_packages() -> Path:
    """The folder in which the locked packages are installed: outside the tree, once for every lock file."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        databases.unavailable("node", "node and npm are not both on the PATH")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if int(version.lstrip("v").partition(".")[0]) < OLDEST:
        databases.unavailable("node", f"node {version} is older than {OLDEST}")
    digest = hashlib.sha256(b"".join((HERE / name).read_bytes() for name in INSTALLED_FROM)).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gnj-tests"
    cache.mkdir(parents=True, exist_ok=True)
    folder = cache / f"npm-{digest}"
    with (cache / "npm.lock").open("w") as lock:  # several processes test at once
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            _install(npm, folder)
    return folder


def _install(npm: str, folder: Path) -> None:
    # under another name until it is whole: an interrupted installation must not be taken for one
    with tempfile.TemporaryDirectory(dir=folder.parent) as making:
        for name in INSTALLED_FROM:
            shutil.copy(HERE / name, making)
        try:
            done = subprocess.run(
                [npm, "ci", "--prefer-offline"], cwd=making, capture_output=True, text=True, timeout=300, check=False
            )
        except subprocess.TimeoutExpired:
            databases.unavailable("node", "npm ci took longer than 5 minutes")
        if done.returncode:
            databases.unavailable("node", f"npm ci failed: {done.stderr[-500:]}")
        shutil.copytree(making, folder.with_suffix(".new"), symlinks=True, dirs_exist_ok=True)
        folder.with_suffix(".new").rename(folder)


@pytest.fixture(scope="session")
def node(npm_packages: Path) -> Callable[..., subprocess.Popen[str]]:
    """Starts a script of this folder for the server at a URL, its arguments after it; stdout and stderr are pipes."""

    def start(script: str, url: str, *arguments: object, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["node", str(HERE / script), *map(str, arguments)],
            env={**os.environ, "NODE_PATH": str(npm_packages / "node_modules"), "GNJ_URI": url, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


@pytest.fixture(scope="session")
def database_of(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Call it with the name of a backend for the URL of a fresh, migrated database; they go with the session."""

    def make(backend: str) -> str:
        if backend == "sqlite":
            return databases.sqlite_database(tmp_path_factory.mktemp("npm"))
        url: str = request.getfixturevalue("postgresql_server").create_database()
        with GNJ(url) as jobs:
            jobs.migrate()
        return url

    return make


@pytest.fixture(scope="session")
def results(
    node: Callable[..., subprocess.Popen[str]],
    database_of: Callable[[str], str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[str], dict[str, str | None]]:
    """Call it with a backend for what came of all scenarios on it, by name; "" has what was said on stderr."""
    known: dict[str, dict[str, str | None]] = {}

    def run(backend: str) -> dict[str, str | None]:
        with Server(database_of(backend), tmp_path_factory.mktemp("server")) as server:
            out, err = node("run.js", server.url, *(HERE / script for script in SCRIPTS)).communicate(timeout=110)
        told = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
        return {"": err, **{each["name"]: each["error"] for each in told}}

    def once(backend: str) -> dict[str, str | None]:
        if backend not in known:
            # the processes of pytest-xdist share a folder, and one run of Node
            base = tmp_path_factory.getbasetemp()
            kept = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / f"npm-{backend}.json"
            with kept.with_suffix(".lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if not kept.exists():
                    kept.write_text(json.dumps(run(backend)))
            known[backend] = json.loads(kept.read_text())
        return known[backend]

    return once
