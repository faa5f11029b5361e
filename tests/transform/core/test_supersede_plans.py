"""Records of equal keys are found by their keys, however many records and older versions of them there are.

As in tests/plans: on PostgreSQL by the plans that are carried out, on SQLite by the steps taken.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from sqlalchemy import text

from gnj.queue import transforms
from gnj.queue.many import Many
from gnj.queue.model_transform import RecordStatus, TransformRecord, TransformRun
from gnj.storage.sql import SqlStorage, direct_postgresql
from tests.plans.explained import Postgresql, Sqlite

KEYS = [f"{number:032x}" for number in range(3_000)]
FEW = tuple(KEYS[1_000:1_500])


@pytest.fixture(
    scope="module", params=[pytest.param(name, marks=pytest.mark.backend(name)) for name in ("postgresql", "sqlite")]
)
def watched(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Postgresql | Sqlite, SqlStorage]]:
    if request.param == "sqlite":
        yield from filled(Sqlite(f"sqlite:///{tmp_path_factory.mktemp('plans') / 'gnj.db'}"))
    else:
        with request.getfixturevalue("postgresql_server").database() as url:
            yield from filled(Postgresql(url, "analyzed", direct_postgresql._ROUTE))


def filled(watch: Postgresql | Sqlite) -> Iterator[tuple[Postgresql | Sqlite, SqlStorage]]:
    """What five runs of one job have left: each wrote all keys."""
    storage = SqlStorage(watch.engine)
    storage.migrate()
    table = storage.tables.of(TransformRecord)
    if isinstance(watch, Postgresql):
        with watch.engine.begin() as connection:
            connection.execute(text(f"ALTER TABLE {table.name} SET (autovacuum_enabled = off)"))
    with storage.begin() as tx:
        for run in range(1, 6):
            last = run == 5
            same = {"tenant": "acme", "transform_job_id": 1, "born": run, "died": None if last else run + 1}
            same["status"] = RecordStatus.LIVE if last else RecordStatus.SUPERSEDED
            values = [{"name": "x" * 200}] * len(KEYS)
            tx.insert(TransformRecord, Many(len(KEYS), same, {"key": KEYS, "value": values}))
    if isinstance(watch, Postgresql):
        with watch.engine.begin() as connection:
            connection.execute(text("ANALYZE"))
        watch.sizes[table.name] = 5 * len(KEYS)
    yield watch, storage
    watch.engine.dispose()


class Undone(Exception):
    pass


@pytest.mark.parametrize("run", [5, 6], ids=["its own", "older ones"])
def test_only_the_newest_of_each_key_is_read(watched: tuple[Postgresql | Sqlite, SqlStorage], run: int) -> None:
    watch, storage = watched
    found: list[str] = []
    now = datetime(2030, 1, 1, tzinfo=UTC)
    writes = TransformRun(
        id=run, tenant="acme", created_at=now, updated_at=now, transform_job_id=1, job_id=1, pipeline_id=1
    )
    again = 0
    with suppress(Undone), storage.begin() as tx:
        with watch.looking():
            again = transforms._supersede(tx, writes, FEW)
        found = watch.complaints(len(FEW))
        raise Undone
    assert found == []
    assert again == (len(FEW) if run == 5 else 0)
