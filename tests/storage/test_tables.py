"""Tables are made when they are asked for, and are those that all of them together have."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from sqlalchemy import Table

from gnj.queue.catalog import RECORDS
from gnj.queue.model import Hold, Job, Schedule
from gnj.storage.sql import schema
from gnj.storage.sql.schema import Tables

KEYED = pytest.mark.parametrize("keyed, only", [(False, "postgresql"), (False, "sqlite"), (True, "mysql")])


def shape(table):
    return [(c.name, repr(c.type), c.nullable, str(c.server_default)[:20], c.primary_key) for c in table.columns]


def test_none_is_made_before_it_is_asked_for(monkeypatch):
    made = []

    def make(name, *arguments, **options):
        made.append(name)
        return Table(name, *arguments, **options)

    monkeypatch.setattr(schema, "Table", make)
    tables = Tables(only="sqlite")
    assert made == ["gnj_job"]
    assert tables.of(Job) is tables.job
    assert tables.of(Hold) is tables.hold
    assert made == ["gnj_job", "gnj_hold"]


def test_all_threads_have_the_same_one():
    tables, barrier = Tables(only="sqlite"), Barrier(8)

    def ask(_):
        barrier.wait(10)
        return tables.of(Schedule)

    with ThreadPoolExecutor(8) as pool:
        assert len(set(map(id, pool.map(ask, range(8))))) == 1


@KEYED
def test_they_are_those_of_the_whole(keyed, only):
    tables = Tables("x_", keyed=keyed, only=only)
    whole = tables.metadata.tables
    for name, kind in RECORDS.items():
        assert shape(tables.of(kind)) == shape(whole[f"x_{name}"])
        assert tables.of(kind).name == f"x_{name}"
    content = {name for name in whole if name.startswith("x_content_")} - {"x_content_job", "x_content_log"}
    others = {"x_worker", "x_bucket"} if keyed else {"x_worker", *content}
    assert set(whole) - others == {f"x_{name}" for name in RECORDS}
    assert len(content) == (0 if keyed else 10)
    assert (tables.content is None, tables.bucket is None) == (keyed, not keyed)


def test_only_the_whole_has_indexes():
    tables = Tables(only="sqlite")
    assert not tables.job.indexes
    assert "gnj_job_ready_idx" in {index.name for index in tables.metadata.tables["gnj_job"].indexes}
