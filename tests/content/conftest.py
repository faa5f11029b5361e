"""An application with content jobs on each database that has a content store, and ways to ask it.

A module has one database, emptied for every test; each test has an organisation of its own besides.
"""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol

import httpx
import pytest
from sqlalchemy import event
from sqlalchemy.pool import Pool

from gnj import GNJ
from gnj.content import handlers as content_handlers
from gnj.queue.model import Job
from gnj.storage.sql.content import SqlContentStore
from gnj.testing import drain
from gnj.worker import Handlers
from tests import databases
from tests.content.choosing import is_chosen
from tests.content.operating import open_store

TestClient = pytest.importorskip("starlette.testclient").TestClient
BACKENDS = ["sqlite", "postgresql"]
_NUMBERS = itertools.count(1)


@pytest.hookimpl(tryfirst=True)  # before those that are slow are left out
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents and not is_chosen(item):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="module", autouse=True)
def unsynced() -> Iterator[None]:
    """No SQLite file of the test's process waits for the disk: what is written need not survive a power cut."""

    def connected(connection: Any, _: object) -> None:
        if isinstance(connection, sqlite3.Connection):
            connection.execute("PRAGMA synchronous = OFF")

    event.listen(Pool, "connect", connected)
    yield
    event.remove(Pool, "connect", connected)


@pytest.fixture(scope="module", params=[pytest.param(name, marks=pytest.mark.backend(name)) for name in BACKENDS])
def backend(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of the module's database."""
    if request.param == "sqlite":
        yield databases.sqlite_database(tmp_path_factory.mktemp("content"), migrated=True)
        return
    with request.getfixturevalue("postgresql_server").database(migrated=True) as url:
        yield url


@pytest.fixture(scope="module")
def store(backend: str) -> Iterator[SqlContentStore]:
    """A content store on the module's database."""
    with open_store(backend) as made:
        yield made


@pytest.fixture
def jobs(backend: str, tmp_path: Path) -> Iterator[GNJ]:
    """An application on an empty database, with files in a directory of the test's, and no worker of its own."""
    databases.wipe(backend)
    with GNJ(backend, files=str(tmp_path / "files"), content_workers=0) as made:
        made.migrate()
        yield made


@pytest.fixture
def org() -> str:
    """An organisation that no other test has."""
    return f"org-{next(_NUMBERS)}"


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    body: Any

    @property
    def data(self) -> Any:
        """What the operation gave; there must be no errors."""
        assert self.status == 200, self.body
        assert "errors" not in self.body, self.body["errors"]
        return self.body["data"]

    @property
    def codes(self) -> list[str]:
        """Those of the errors."""
        return [error["extensions"]["code"] for error in self.body.get("errors", ())]


class Ask(Protocol):
    """Asks the GraphQL endpoint of an organisation; of the test's own, unless told."""

    def __call__(
        self,
        query: str,
        variables: Mapping[str, Any] | None = None,
        *,
        key: str | None = None,
        org: str | None = None,
    ) -> Answer: ...


@pytest.fixture(params=["asgi", "wsgi"])
def client(request: pytest.FixtureRequest, jobs: GNJ) -> Iterator[httpx.Client]:
    """A direct client of this machine, of the content face alone, over either kind of application.

    A test that needs one kind only: `@pytest.mark.parametrize("client", ["asgi"], indirect=True)`.
    """
    if request.param == "asgi":
        with TestClient(
            jobs.asgi_app(["content"]), base_url="http://localhost", client=("127.0.0.1", 50000)
        ) as over_asgi:
            yield over_asgi
    else:
        transport = httpx.WSGITransport(jobs.wsgi_app(["content"]), remote_addr="127.0.0.1")
        with httpx.Client(transport=transport, base_url="http://localhost") as over_wsgi:
            yield over_wsgi


@pytest.fixture
def ask(client: httpx.Client, org: str) -> Ask:
    """Asks over `client`."""
    own = org

    def ask(
        query: str, variables: Mapping[str, Any] | None = None, *, key: str | None = None, org: str | None = None
    ) -> Answer:
        headers = {} if key is None else {"authorization": f"Bearer {key}"}
        body = {"query": query, "variables": variables or {}}
        response = client.post(f"/v2/{org or own}/jobs/graphql", json=body, headers=headers)
        return Answer(response.status_code, response.json())

    return ask


@pytest.fixture
def work(jobs: GNJ) -> Callable[[], list[Job]]:
    """Works content tasks in the calling thread until none is ready; the tasks as each try left them."""

    def work() -> list[Job]:
        handlers = Handlers()
        content_handlers.register(handlers, jobs.content)
        return drain(SimpleNamespace(queue=jobs.queue, handlers=handlers))

    return work
