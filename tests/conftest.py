"""Fixtures of all tests, and the rule that a required backend is not skipped."""

from __future__ import annotations

import gc
import itertools
import os
import re
import ssl
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import certifi
import hypothesis
import pytest

# Their asserts are the tests' asserts, and must fail with both sides shown.
pytest.register_assert_rewrite("gnj.testing", "tests.databases")

from tests import databases  # noqa: E402

# A database's first answer may take longer than Hypothesis allows an example; under CI=true it chooses its own profile.
hypothesis.settings.register_profile("gnj", deadline=None)
if not os.environ.get("CI"):
    hypothesis.settings.load_profile("gnj")

_FIXTURE_BACKENDS = {
    "postgresql_server": "postgresql",
    "postgresql_url": "postgresql",
    "postgresql_database": "postgresql",
    "sqlite_database": "sqlite",
    "mysql_server": "mysql",
    "mysql_database": "mysql",
    "chromium": "chromium",
    "npm_packages": "node",
}

_ABOVE = {
    "adapters",
    "api",
    "client",
    "operations",
    "push",
    "queues_api",
    "reliability",
    "security",
    "transactions",
    "worker",
}
"""What is tested above the storage: on MySQL only with the slow ones, for what differs there the tests of the storage and the core
are to find.
"""


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[databases.PostgresqlServer]:
    with databases.find_postgresql() as server:
        yield server


@pytest.fixture(scope="session")
def postgresql_url(postgresql_server: databases.PostgresqlServer) -> str:
    """The server's maintenance database: for what asks about the server. Tests write to `postgresql_database()`."""
    return postgresql_server.url


@pytest.fixture
def with_tables(request: pytest.FixtureRequest) -> bool:
    """Whether the databases of the test have gnj's tables: but for `@pytest.mark.unmigrated`."""
    return request.node.get_closest_marker("unmigrated") is None


@pytest.fixture
def postgresql_database(
    postgresql_server: databases.PostgresqlServer,
    with_tables: bool,
) -> Iterator[Callable[[], str]]:
    """Call it for the URL of a database of its own, as often as the test needs one."""
    made: list[str] = []

    def make() -> str:
        made.append(postgresql_server.lend_database() if with_tables else postgresql_server.create_database())
        return made[-1]

    yield make
    for url in made:
        if with_tables:
            postgresql_server.give_back(url)
        else:
            postgresql_server.drop_database(url)


@pytest.fixture(scope="session")
def mysql_server() -> Iterator[databases.MysqlServer]:
    with databases.find_mysql() as server:
        yield server


@pytest.fixture
def mysql_database(
    mysql_server: databases.MysqlServer,
    with_tables: bool,
) -> Iterator[Callable[[], str]]:
    """Call it for the URL of a database of its own, as often as the test needs one."""
    made: list[str] = []

    def make() -> str:
        made.append(mysql_server.create_database(migrated=with_tables))
        return made[-1]

    yield make
    for url in made:
        if with_tables:
            mysql_server.give_back(url)
        else:
            mysql_server.drop_database(url)


@pytest.fixture
def sqlite_database(
    tmp_path: Path,
    with_tables: bool,
) -> Callable[[], str]:
    """Call it for the URL of a SQLite file of its own, as often as the test needs one."""
    numbers = itertools.count(1)
    return lambda: databases.sqlite_database(tmp_path, f"gnj{next(numbers)}", migrated=with_tables)


@pytest.fixture(scope="session", autouse=True)
def no_authorities() -> Iterator[None]:
    """No connection of this process loads the certificate authorities of the world: 20 ms for each client of HTTP and each connection to
    MySQL, none of which speaks TLS. Tests that do name their own.
    """
    load = ssl.SSLContext.load_verify_locations

    def load_own(self: ssl.SSLContext, cafile: Any = None, *args: Any, **named: Any) -> None:
        if cafile != certifi.where():
            load(self, cafile, *args, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ssl.SSLContext, "load_verify_locations", load_own)
        patch.setattr(ssl.SSLContext, "load_default_certs", lambda *_: None)
        yield


@pytest.fixture(scope="module", autouse=True)
def spared() -> None:
    """What is there when a module begins - 17,000 tests, and what they import - stays: to go through it all took Python's collector a
    sixth of the time.
    """
    gc.collect()
    gc.freeze()


def pytest_configure(config: pytest.Config) -> None:
    # A misspelt name must not wait for the first skip to be noticed.
    databases.required()


@pytest.hookimpl(tryfirst=True)  # before those that are slow are left out
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for fixture in getattr(item, "fixturenames", ()):
            if backend := _FIXTURE_BACKENDS.get(fixture):
                item.add_marker(pytest.mark.backend(backend))
        if unknown := _backends(item) - databases.BACKENDS:
            raise pytest.UsageError(f"{item.nodeid}: no such backend: {', '.join(sorted(unknown))}")
        if _is_slow_here(item):
            item.add_marker(pytest.mark.slow)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[Any]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2].removeprefix("Skipped: ") if isinstance(report.longrepr, tuple) else ""
        backends = _backends(item) & databases.required()
        if backends and not reason.startswith(databases.CAPABILITY):
            report.outcome = "failed"
            report.longrepr = (
                f"{', '.join(sorted(backends))} is required by GNJ_TEST_REQUIRE, but was skipped: {reason}"
            )
    return report


def _is_slow_here(item: pytest.Item) -> bool:
    """Whether the test is one of the slow ones on the database that it has got."""
    if not isinstance(item, pytest.Function) or not hasattr(item, "callspec"):
        return False
    names = _backends(item) | set(re.split("[- ]", item.callspec.id))
    slow = {name for marker in item.iter_markers("slow_on") for name in marker.args}
    return not names.isdisjoint(slow) or ("mysql" in names and item.path.parent.name in _ABOVE)


def _backends(item: pytest.Item) -> set[str]:
    return {name for marker in item.iter_markers("backend") for name in marker.args}
