"""A host with a table of its own in the database the jobs are in, that opens transactions in every way there is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session

import gnj

DRIVERS = {"sqlite": "sqlite", "postgresql": "postgresql+psycopg", "mysql": "mysql+pymysql"}
TIMEOUT = 30.0


@dataclass
class Host:
    """An application: its engine, its jobs, and what it was told."""

    kind: str
    url: str
    engine: Engine
    jobs: gnj.GNJ
    told: list[tuple[str, str | None]] = field(default_factory=list)
    changes: list[Any] = field(default_factory=list)

    @contextmanager
    def opened(self, style: str, engine: Engine | None = None) -> Iterator[tuple[Any, dict[str, Any]]]:
        """A session or connection, and how it is handed to gnj."""
        with Session(engine or self.engine) if style == "session" else (engine or self.engine).connect() as handle:
            yield handle, {style: handle}

    def note(self, handle: Any, word: str = "note") -> None:
        handle.execute(text("INSERT INTO note (word) VALUES (:word)"), {"word": word})

    def notes(self) -> list[str]:
        with self.engine.connect() as connection:
            return list(connection.execute(text("SELECT word FROM note ORDER BY word")).scalars())

    def names(self) -> list[str | None]:
        """The names of the jobs there are, as another transaction sees them."""
        return [job.name for job in self.jobs.list(order=("id",))]

    def heard(self) -> list[tuple[str, str | None]]:
        """What plain hooks were told so far."""
        assert self.jobs.hooks.flush(TIMEOUT)
        return list(self.told)

    def rings(self) -> int:
        """How often those were woken who wait for work."""
        return self.jobs.queue.wake.rings


@pytest.fixture(scope="module", params=["sqlite", "postgresql", "mysql"])
def made(request, tmp_path_factory):
    """A migrated database of that kind, with the host's table: its kind, and its URL for the host."""
    kind = request.param
    if kind == "sqlite":
        yield from _prepared(kind, f"sqlite:///{tmp_path_factory.mktemp('host')}/host.db")
        return
    with request.getfixturevalue(f"{kind}_server").database(migrated=True) as url:
        yield from _prepared(kind, make_url(url).set(drivername=DRIVERS[kind]).render_as_string(hide_password=False))


def _prepared(kind, url):
    engine = create_engine(url)
    with gnj.GNJ(url) as jobs, engine.begin() as connection:
        jobs.migrate()
        connection.execute(text("CREATE TABLE note (word varchar(50))"))
    engine.dispose()
    yield kind, url


@pytest.fixture
def host(made):
    kind, url = made
    engine = create_engine(url)
    host = Host(kind, url, engine, gnj.GNJ(url))
    host.jobs.on("created", "cancelled", "succeeded")(lambda event: host.told.append((event.name, event.job.name)))
    with host.jobs.queue.feed.follow(host.changes.extend):
        yield host
    host.jobs.close()
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM note"))
        for table in host.jobs.storage.tables.metadata.sorted_tables:  # type: ignore[attr-defined]
            connection.execute(table.delete())
    assert engine.pool.checkedout() == 0 if hasattr(engine.pool, "checkedout") else True
    engine.dispose()


@pytest.fixture(params=["session", "connection"])
def style(request):
    return request.param
