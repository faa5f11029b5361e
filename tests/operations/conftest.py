"""A GNJ on each database, and a way to call its operations that shows what went wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from sqlalchemy.engine import make_url
from starlette.applications import Starlette

import gnj
from gnj_starlette import mount
from tests import databases


class Called:
    """Calls operations within the process."""

    def __init__(self, jobs: gnj.GNJ) -> None:
        self.jobs = jobs

    def __call__(self, query: str, principal: gnj.Principal | None = None, **variables: Any) -> Any:
        """The value of the only root field, which must succeed."""
        body = self.jobs.execute(query, variables, principal=principal)
        assert "errors" not in body, body
        (value,) = body["data"].values()
        return value

    def error(self, query: str, principal: gnj.Principal | None = None, **variables: Any) -> tuple[str, str]:
        """Message and code of the only error."""
        body = self.jobs.execute(query, variables, principal=principal)
        (error,) = body["errors"]
        return error["message"], error["extensions"]["code"]


@pytest.fixture
def jobs() -> Iterator[gnj.GNJ]:
    """In memory: where the database does not matter."""
    with gnj.GNJ("memory://") as made:
        yield made


@pytest.fixture
def call(jobs: gnj.GNJ) -> Called:
    return Called(jobs)


@pytest.fixture(scope="session")
def postgresql_emptied(postgresql_server: databases.PostgresqlServer) -> Iterator[Callable[[], str]]:
    """Call it for the URL of a migrated database without rows: the same each time."""
    with postgresql_server.database(migrated=True) as url:
        with gnj.GNJ(url) as first:
            first.migrate()

        def make() -> str:
            databases.empty(url)
            return url

        yield make


@pytest.fixture(
    params=[
        pytest.param("memory", marks=pytest.mark.backend("memory")),
        pytest.param("sqlite", marks=pytest.mark.backend("sqlite")),
        pytest.param("postgresql", marks=pytest.mark.backend("postgresql")),
    ]
)
def url(request: pytest.FixtureRequest) -> str:
    """A database without rows, of each sort."""
    if request.param == "memory":
        return "memory://"
    if request.param == "sqlite":
        return str(request.getfixturevalue("sqlite_database")())
    return str(request.getfixturevalue("postgresql_emptied")())


@pytest.fixture(
    params=[
        pytest.param("sqlite", marks=pytest.mark.backend("sqlite")),
        pytest.param("postgresql", marks=pytest.mark.backend("postgresql")),
    ]
)
def sql_url(request: pytest.FixtureRequest) -> str:
    """A database without rows, of each sort that a connection can be made to."""
    if request.param == "sqlite":
        return str(request.getfixturevalue("sqlite_database")())
    return str(request.getfixturevalue("postgresql_emptied")())


def driver(url: str) -> Any:
    """The URL as SQLAlchemy takes it."""
    made = make_url(url)
    return made.set(drivername="postgresql+psycopg") if made.drivername == "postgresql" else made


def client(jobs: gnj.GNJ, host: str = "127.0.0.1", port: int = 50000) -> httpx.AsyncClient:
    """Speaks to a Starlette application with the jobs below /jobs, on the event loop that runs."""
    app = Starlette()
    mount(app, jobs, "/jobs")
    return httpx.AsyncClient(transport=httpx.ASGITransport(app, client=(host, port)), base_url="http://localhost")
