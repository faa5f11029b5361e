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
from gnj.graphql.limits import Limits
from gnj.queue.model_transform import TransformFormat, TransformJob, TransformMapping, TransformSource
from gnj.queue.storage import Select
from gnj.settings_transform import TransformLimits
from gnj.transform.jobs import TransformJobs
from gnj.transform.keeping import size_of
from tests.transform.face.conftest import FORMAT, RULES, SAVE

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
        rules: dict[str, Any] = {"mapping": RULES, "size": size_of({"mapping": RULES})}
        mappings = tx.insert(TransformMapping, [{**row, **rules} for row in rows])
        defined: dict[str, Any] = {"definition": FORMAT, "size": size_of({"definition": FORMAT})}
        formats = tx.insert(TransformFormat, [{**row, **defined} for row in rows])
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


def test_a_thousand_jobs_cost_as_many_statements_as_five(jobs, ask, save):
    save()
    fill(jobs, 4)
    few: dict[str, int] = {}
    many: dict[str, int] = {}
    for costs, more in ((few, 0), (many, 995)):
        fill(jobs, more)
        for name, text in LISTS.items():
            with counted(jobs) as statements:
                (rows,) = ask(text).data.values()
            assert len(rows) == 5 + more
            costs[name] = len(statements)
    assert few == many
    # jobs and schedules; three parts, of two of them what is large, and the jobs of all three
    assert many == {"jobs": 2 + 3 + 2 + 3, "sources": 1 + 2 + 2 + 1, "mappings": 1 + 1 + 1, "formats": 1 + 1 + 1 + 1}


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
    assert "more than 40,000 rows" in refused.error["message"]  # of all 10,000 jobs with their parts
    assert refused.body["data"] is None


@pytest.mark.parametrize(
    "settings", [{"limits": Limits(rows=20, rows_without_limit=1), "transform_limits": TransformLimits(jobs=10)}]
)
def test_all_jobs_with_their_parts_are_always_told(jobs, ask, save):
    save()
    fill(jobs, 9)
    whole = "{ getJobs { source { id } mapping { id } targetFormat { id } } }"
    assert len(ask(whole).value) == 10
    for _ in range(2):  # once without a plan, once by one
        refused = ask("{ getJobs { source { id } mapping { id } targetFormat { id jobs { id } } } }")
        assert refused.error["message"] == "the answer would have more than 40 rows: ask for fewer lists at once"
        assert refused.body["data"] is None
    fill(jobs, 31)
    for _ in range(3):
        assert ask("{ getJobs { id } }").error["code"] == "INVALID_INPUT"


@pytest.mark.parametrize(
    "settings", [{"limits": Limits(rows=20, rows_without_limit=1), "transform_limits": TransformLimits(jobs=5)}]
)
def test_what_a_mutation_did_stays_though_its_answer_would_be_too_much(ask, save):
    id = save()
    parts = ask("{ getJob(id: 1) { sourceID mappingID targetSchemaID } }").value
    for _ in range(4):
        ids = {"source": parts["sourceID"], "mapping": parts["mappingID"], "format": parts["targetSchemaID"]}
        assert ask(SAVE, **{name: {"id": each} for name, each in ids.items()}).codes == []
    pause = (
        "mutation($id: ID!) { setJobSchedule(id: $id, paused: true) { source { jobs { source { jobs { id } } } } } }"
    )
    refused = ask(pause, id=id)
    assert (refused.error["code"], refused.body["data"]) == ("INVALID_INPUT", None)
    assert ask("query($id: ID!) { getJob(id: $id) { status } }", id=id).value == {"status": "Paused"}


def test_only_what_is_asked_for_is_read(jobs, ask, save):
    save()
    large = re.compile(r"\.(mapping|definition|headers|body|credentials|validators|webhook_secret)\b")
    light = "{ getMappings { id name } getSources { name url } getTargetFormats { name default } }"
    nested = "{ getJobs { status source { name jobs { id } } mapping { name } targetFormat { name } } }"
    for text, some in ((light, False), (nested, False), ("{ getMappings { mapping } }", True)):
        with counted(jobs) as statements:
            assert ask(text).codes == []
        assert any(large.search(each) for each in statements) is some
    assert ask("{ getSources { sourceHeaders sourceBody } getMappings { mapping } }").data == {
        "getSources": [{"sourceHeaders": None, "sourceBody": None}],
        "getMappings": [{"mapping": RULES}],
    }


def test_no_more_is_loaded_than_may_be_told(jobs, ask, save, monkeypatch):
    save()
    fill(jobs, 9)
    loaded: list[int] = []
    rules_of = TransformJobs.rules_of

    def noted(self: Any, tenant: str, ids: Any) -> Any:
        loaded.append(len(ids))
        return rules_of(self, tenant, ids)

    monkeypatch.setattr(TransformJobs, "rules_of", noted)
    size = size_of({"mapping": RULES})
    monkeypatch.setattr(face, "MOST", 4 * size)
    assert "bytes of JSON" in ask("{ getMappings { mapping } }").error["message"]
    assert loaded == [4]
    # what is told again counts again, though it is loaded once
    assert ask("{ getJob(id: 1) { mapping { a: mapping b: mapping c: mapping d: mapping } } }").codes == []
    assert ask("{ getJob(id: 1) { mapping { a: mapping b: mapping c: mapping d: mapping e: mapping } } }").codes
    assert loaded == [4, 1, 1]


@pytest.mark.parametrize("field", ["url", "description", "sourceHeaders", "sourceBody"])
def test_the_texts_of_sources_count_as_well(jobs, ask, save, monkeypatch, field):
    save()
    with jobs.queue.storage.begin() as tx:
        (job,) = tx.find(TransformJob, Select(limit=1))
        texts = {"url": "x" * 99, "description": "x" * 99, "headers": ["x" * 95], "body": "x" * 99}
        tx.edit(TransformSource, [job.source_id], texts)
        own = {"source_id": job.source_id, "mapping_id": job.mapping_id, "format_id": job.format_id}
        tx.insert(TransformJob, [{"tenant": "", **own} for _ in range(9)])
    text = f"{{ getJobs {{ source {{ {field} }} }} }}"
    assert len(ask(text).value) == 10
    monkeypatch.setattr(face, "MOST", 800)
    assert "more than 800 bytes" in ask(text).error["message"]


def test_what_is_deleted_while_it_is_listed_is_told_as_that(jobs, ask, save, monkeypatch):
    save()
    monkeypatch.setattr(TransformJobs, "rules_of", lambda *_: {})
    assert ask("{ getMappings { mapping } }").error["code"] == "NOT_FOUND"


def test_each_mutation_of_an_operation_tells_how_things_are_after_it(ask, save):
    id = save()
    twice = """mutation($id: ID!) {
      a: setJobSchedule(id: $id, paused: true) { status nextRun source { jobs { status } } }
      b: setJobSchedule(id: $id, paused: false) { status source { jobs { status } } } }"""
    assert ask(twice, id=id).data == {
        "a": {"status": "Paused", "nextRun": None, "source": {"jobs": [{"status": "Paused"}]}},
        "b": {"status": "Pending", "source": {"jobs": [{"status": "Pending"}]}},
    }


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
    assert "more than 30 bytes" in ask(page).error["message"]
    assert len(ask("{ getJobRecords(jobId: 1, limit: 1) { records } }").value["records"]) == 1
