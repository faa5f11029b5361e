"""The published examples, word for word, apart from the ids of what has to exist."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from gnj.content.store import ContentStore, Holder
from tests.content.conftest import Ask

SEED = Path(__file__).parent / "seed"
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
MADE = {"status": "PENDING", "createdBy": "anonymous", "updatedBy": "anonymous"}
SYNC = """mutation($base: String!, $target: String!) { syncEnvironmentJob(createJobInput: {
  jobName: "Nightly", baseEnvironmentId: $base, targetEnvironmentId: $target, cronExpression: "0 3 * * *"
}) { recurringJob { id } } }"""


def example(name: str) -> str:
    return (SEED / f"{name}.graphql").read_text()


def held_to(made: Any, tasks: list[str], **expected: Any) -> None:
    """What every job is that was just made."""
    for name, value in {**MADE, **expected}.items():
        assert made[name] == value, name
    assert int(made["id"]) > 0
    for name in ("createdAt", "updatedAt"):
        assert TIME.fullmatch(made[name])
    assert [task["type"] for task in made["tasks"]] == tasks
    for task in made["tasks"]:
        assert (task["consoleAppName"], task["status"]) == ("gnj-content", "PENDING")
        assert task["displayName"]
        assert int(task["id"]) > 0
    assert TIME.fullmatch(made["tasks"][0]["runAt"])


def test_the_examples_run_word_for_word(ask, jobs, org):
    """On each database and over each kind of application; one test, because each needs a database of its own."""
    assert ask(example("create_import_job")).codes == ["INVALID_INPUT"]
    sink = jobs.content.files.create(org, "assets/file.zip")
    sink.write(b"PK\x05\x06" + bytes(18))
    sink.finish()
    made = ask(example("create_import_job")).data["createImportJob"]
    tasks = ["PROCESS_ASSETS", "REINDEX_GENERAL"]
    held_to(made, tasks, name="Import Assets", type="IMPORT_ASSETS", fileKey="assets/file.zip")

    made = ask(example("create_delete_job")).data["createDeleteJob"]
    tasks = ["DELETE_CONTENT", "REINDEX_ENTRIES"]
    held_to(made, tasks, name="Delete Content", type="DELETE_FILTERED_CONTENT")

    made = ask(example("create_export_job")).data["createExportJob"]
    held_to(made, ["PROCESS_ENTRIES"], name="Export Entries", type="EXPORT_ENTRIES")

    for name in ("run_recurring_job", "toggle_recurring_job_status", "delete_recurring_job"):
        assert ask(example(name)).codes == ["NOT_FOUND"]
    id = recurring(ask, jobs.content.store, org)

    def text(name: str) -> str:
        return example(name).replace("recurring123", id)

    run = ask(text("run_recurring_job")).data["runRecurringJob"]
    assert (run["id"], run["name"], run["cronExpression"], run["type"]) == (id, "Nightly", "0 3 * * *", "SYNC")
    assert run["status"] == "ACTIVE"
    assert [attr["key"] for attr in run["attrs"]] == ["jobId"]
    assert (run["createdBy"], run["updatedBy"]) == ("anonymous", "anonymous")
    assert ask(text("toggle_recurring_job_status")).data == {"toggleRecurringJobStatus": {"success": True}}
    gone = ask(text("delete_recurring_job")).data["deleteRecurringJob"]
    assert gone == {"success": True, "recurringJobId": id}


def recurring(ask: Ask, store: ContentStore, org: str) -> str:
    """The id of a recurring job that is made."""
    made = store.reserve(org, "stage", "Stage", 1)
    store.publish(org, made, Holder(1, 1, 1))
    base = store.environment(org, None)
    assert base is not None
    return str(ask(SYNC, {"base": base.id, "target": made}).data["syncEnvironmentJob"]["recurringJob"]["id"])


def test_no_example_is_left_out():
    tried = set(re.findall(r'(?:example|text)\("(\w+)"\)', Path(__file__).read_text()))
    assert {path.stem for path in SEED.glob("*.graphql")} == tried
