"""What stands below the rows of a list costs as many statements for many rows as for a few."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event

from gnj.api.transform import face
from gnj.queue.model_transform import TransformFormat, TransformJob, TransformMapping, TransformSource
from gnj.queue.storage import Select
from tests.transform.face.conftest import FORMAT, RULES

pytestmark = pytest.mark.backend("sqlite")

PARTS = "source { name jobs { id } } mapping { mapping jobs { id } } targetFormat { targetFormat jobs { id } }"
ABOUT = re.compile(r"FROM gnj_(transform_|schedule|recurring)")
LISTS = {
    "jobs": f"{{ getJobs {{ id status nextRun {PARTS} }} }}",
    "sources": "{ getSources { id jobs { id nextRun mapping { id mapping } targetFormat { id } } } }",
    "mappings": "{ getMappings { id jobs { id source { id name } } } }",
    "formats": "{ getTargetFormats { id jobs { id source { id jobs { id } } } } }",
}


@pytest.fixture
def settings(tmp_path):
    return {"database": f"sqlite:///{tmp_path / 'jobs.db'}"}


def fill(jobs: Any, count: int) -> None:
    """So many jobs more, each with parts of its own; they share a schedule."""
    with jobs.queue.storage.begin() as tx:
        (kept,) = tx.find(TransformJob, Select(limit=1))
        rows = [{"tenant": ""} for _ in range(count)]
        sources = tx.insert(TransformSource, [{**row, "type": "Feed", "name": "s"} for row in rows])
        mappings = tx.insert(TransformMapping, [{**row, "mapping": RULES} for row in rows])
        formats = tx.insert(TransformFormat, [{**row, "definition": FORMAT, "is_default": False} for row in rows])
        tx.insert(
            TransformJob,
            [
                {
                    "tenant": "",
                    "source_id": source.id,
                    "mapping_id": mapping.id,
                    "format_id": format.id,
                    "schedule_id": kept.schedule_id,
                }
                for source, mapping, format in zip(sources, mappings, formats, strict=True)
            ],
        )


@contextmanager
def counted(jobs: Any) -> Iterator[list[str]]:
    """The statements of the block about what is asked for: the sweep has a thread of its own, and keys are looked up now and then."""
    statements: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if threading.current_thread().name == "gnj-request" and ABOUT.search(statement):
            statements.append(statement)

    engine = jobs.storage.engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(engine, "before_cursor_execute", note)


def test_two_hundred_jobs_cost_as_many_statements_as_five(jobs, ask, save):
    save()
    fill(jobs, 4)
    few: dict[str, int] = {}
    many: dict[str, int] = {}
    for costs, more in ((few, 0), (many, 195)):
        fill(jobs, more)
        for name, text in LISTS.items():
            with counted(jobs) as statements:
                (rows,) = ask(text).data.values()
            assert len(rows) == 5 + more
            costs[name] = len(statements)
    assert few == many
    # jobs and schedules; three parts; for each of these their jobs and schedules
    assert many == {"jobs": 2 + 3 + 3 * 2, "sources": 1 + 2 + 2, "mappings": 1 + 2 + 1, "formats": 1 + 2 + 1 + 2}


def test_what_was_loaded_is_what_belongs_there(jobs, ask, save):
    save()
    fill(jobs, 20)
    for job in ask("{ getJobs { id sourceID source { id jobs { id } } mappingID mapping { id jobs { id } } } }").value:
        for part in ("source", "mapping"):
            assert job[part]["id"] == job[f"{part}ID"]
            assert job[part]["jobs"] == [{"id": job["id"]}]


def test_rows_that_come_again_and_again_are_counted(jobs, ask, save):
    save()
    with jobs.queue.storage.begin() as tx:
        (kept,) = tx.find(TransformJob, Select(limit=1))
        own = {"source_id": kept.source_id, "mapping_id": kept.mapping_id, "format_id": kept.format_id}
        tx.insert(TransformJob, [{"tenant": "", **own} for _ in range(199)])
    assert len(ask("{ getJobs { id source { name } } }").value) == 200
    refused = ask("{ getJobs { source { jobs { id } } } }")  # 40,000
    assert set(refused.codes) == {"INVALID_INPUT"}
    assert "more than 20,000 rows" in refused.body["errors"][0]["message"]


def test_so_much_json_is_told_and_no_more(jobs, ask, save, work, monkeypatch):
    save()
    fill(jobs, 3)
    work()
    monkeypatch.setattr(face, "MOST", 250)
    assert ask("{ getMappings { id } }").codes == []
    assert set(ask("{ getMappings { mapping } }").codes) == {"INVALID_INPUT"}
    page = "{ getJobRecords(jobId: 1) { records } }"
    assert len(ask(page).value["records"]) == 2
    monkeypatch.setattr(face, "MOST", 30)
    assert "more than 30 characters" in ask(page).error["message"]
    assert len(ask("{ getJobRecords(jobId: 1, limit: 1) { records } }").value["records"]) == 1
