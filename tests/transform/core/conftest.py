"""Transformation jobs on each storage, with simple parts, and ways to work their runs by hand."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from gnj.queue.kinds import SCHEDULE
from gnj.queue.model import Job
from gnj.queue.model_transform import RUN, TransformJob, TransformRun
from gnj.queue.run_maker import RunMaker
from gnj.queue.service import Queue
from gnj.queue.storage import Storage
from gnj.settings_transform import TransformLimits
from gnj.storage.memory import MemoryStorage
from gnj.storage.sql import SqlStorage
from gnj.testing import FakeClock, drain
from gnj.transform import running
from gnj.transform.application import Transform
from gnj.transform.jobs import TransformJobs
from gnj.transform.requests import FormatInput, MappingInput, SourceInput, SourceRequest
from gnj.worker import Handlers
from tests import databases
from tests.transform.core.fakes import FakeParts

THERE = ("memory", "sqlite", "postgresql")
NAMES = [pytest.param(name, marks=pytest.mark.backend(name)) for name in THERE]
MYSQL = pytest.param("mysql", marks=pytest.mark.backend("mysql"))
URL = "https://shop.example/feed"
RULES = [{"sourceField": "sku", "targetField": "id"}, {"sourceField": "title", "targetField": "name"}]
KEYED = {"id": {"type": "string", "attributes": ["primary", "required"]}, "name": {"type": "string"}}
PLAIN = {"id": {"type": "string"}, "name": {"type": "string"}}


def item(sku: Any, title: str = "x") -> dict[str, Any]:
    return {"sku": sku, "title": title}


class World:
    """One tenant's transformation jobs."""

    tenant = "acme"

    def __init__(self, storage: Storage, clock: FakeClock, **limits: Any) -> None:
        self.clock = clock
        self.queue = Queue(storage, lease=60.0, seed=0, makers={SCHEDULE: RunMaker()})
        self.parts = FakeParts()
        self.transform = Transform(queue=self.queue, parts=self.parts, limits=TransformLimits(**limits))
        self.jobs = TransformJobs(self.transform)
        self.handlers = Handlers()
        running.register(self.handlers, self.transform)

    def save(self, feed: Any, definition: Any = KEYED, *, url: str = URL) -> TransformJob:
        """A job with a source of its own."""
        self.parts.feeds[url] = feed
        return self.jobs.save_job(
            self.tenant,
            SourceInput(request=SourceRequest(type="Feed", url=url)),
            MappingInput(data=RULES),
            FormatInput(data=definition),
        )

    def work(self) -> None:
        """Works all runs that are queued."""
        drain(SimpleNamespace(queue=self.queue, handlers=self.handlers), types=(RUN,))

    def again(self, job: TransformJob, feed: Any = None) -> TransformRun:
        """Runs a job by hand, its feed changed if one is given; the run as it then is."""
        if feed is not None:
            self.parts.feeds[URL] = feed
        run = self.jobs.run_job(self.tenant, job.id)
        self.work()
        return self.run(run)

    def run(self, run: TransformRun) -> TransformRun:
        found = self.jobs.run(self.tenant, run.id)
        assert found is not None
        return found

    def runs(self, job: TransformJob) -> list[TransformRun]:
        return list(self.jobs.runs(self.tenant, job.id))

    def status(self, job: TransformJob) -> str:
        view = self.jobs.job(self.tenant, job.id)
        assert view is not None
        return view.status

    def current(self, job: TransformJob) -> list[tuple[Any, Any]]:
        page = self.jobs.job_records(self.tenant, job.id, limit=1_000)
        assert page.total >= len(page.records)
        return [(record["id"], record["name"]) for record in page.records]

    def claim(self) -> Job:
        job: Job | None = self.queue.acquire([RUN], worker_id="w")
        assert job is not None
        return job


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "everywhere" in metafunc.fixturenames:
        metafunc.parametrize("storage", NAMES, indirect=True)
    elif "on_every_storage" in metafunc.fixturenames:
        metafunc.parametrize("storage", [*NAMES, MYSQL], indirect=True)


@pytest.fixture
def everywhere() -> None:
    """The test runs in memory, on SQLite and on PostgreSQL."""


@pytest.fixture
def on_every_storage() -> None:
    """Likewise, and on MySQL or MariaDB."""


@pytest.fixture(scope="session")
def sqlite_transform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqlStorage]:
    url = databases.sqlite_database(tmp_path_factory.mktemp("transform"), migrated=True)
    with databases.migrated_storage(url) as storage:
        yield storage


@pytest.fixture(scope="session")
def postgresql_transform(postgresql_server: databases.PostgresqlServer) -> Iterator[SqlStorage]:
    with postgresql_server.database(migrated=True) as url, databases.migrated_storage(url) as storage:
        yield storage


@pytest.fixture(scope="session")
def mysql_transform(mysql_server: databases.MysqlServer) -> Iterator[SqlStorage]:
    with mysql_server.database(migrated=True) as url, databases.migrated_storage(url) as storage:
        yield storage


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def storage(request: pytest.FixtureRequest, clock: FakeClock) -> Storage:
    """Empty of what tests have left: the tables that they write to."""
    name = getattr(request, "param", "memory")
    if name == "memory":
        return MemoryStorage(clock)
    storage: SqlStorage = request.getfixturevalue(f"{name}_transform")
    with storage.engine.begin() as connection:
        for table in storage.tables.metadata.sorted_tables:
            if "content" not in table.name:
                connection.execute(table.delete())
    storage.clock = clock
    return storage


@pytest.fixture
def world(storage: Storage, clock: FakeClock) -> Iterator[World]:
    world = World(storage, clock, batch=3)
    yield world
    world.parts.close()
