"""The documentation: every Python block in it runs, and nothing public is left out of it."""

import os
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

import gnj
import gnj.testing
from gnj.queue.model import attributes

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


def page(name):
    return (ROOT / "docs" / name).read_text()


@pytest.mark.parametrize("path", [p for p in PAGES if _BLOCK.search(p.read_text())], ids=lambda p: p.name)
def test_the_blocks_of_a_page_run_in_order(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    text = path.read_text()
    for block in _BLOCK.finditer(text):
        line = text.count("\n", 0, block.start(1))
        exec(compile("\n" * line + block[1], str(path), "exec"), names)
    if isinstance(jobs := names.get("jobs"), gnj.GNJ):
        jobs.close()


@pytest.mark.parametrize("path", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(path):
    targets = [target for target in _LINK.findall(path.read_text()) if "://" not in target]
    assert [target for target in targets if not (path.parent / target).exists()] == []


def test_every_public_name_is_documented():
    text = page("python.md")
    names = {f"gnj.{name}" for name in gnj.__all__} | set(gnj.testing.__all__)
    missing = [name for name in names if not re.search(rf"\b{re.escape(name.removeprefix('gnj.'))}\b", text)]
    assert missing == []


def test_every_attribute_of_a_job_is_documented_with_its_name_in_graphql():
    section = page("python.md").partition("### What a job tells")[2].partition("\n## ")[0]
    told = re.findall(r"^\| `(\w+)` \| (?:`(\w+)`|-) \| \S", section, re.MULTILINE)
    assert dict(told) == {name: each.wire or "" for name, each in attributes(gnj.Job).items()}


def test_every_path_that_a_host_serves_is_documented():
    text = page("hosts.md")
    begins = {f"/jobs/{route.path.split('/')[1]}" for route in gnj.GNJ("memory://").routes()}
    assert [path for path in begins if f"{path}`" not in text] == []


def test_every_operation_is_documented():
    text = page("graphql.md")
    roots = gnj.GNJ("memory://").schema
    fields = [
        name
        for root in (roots.query_type, roots.mutation_type, roots.subscription_type)
        if root
        for name in root.fields
    ]
    assert [name for name in fields if not re.search(rf"\b{name}\b", text)] == []


def test_every_operation_on_transformation_jobs_is_documented():
    from gnj.api.transform import build_schema

    text, schema = page("transform.md"), build_schema()
    roots = (schema.query_type, schema.mutation_type, schema.subscription_type)
    fields = [name for root in roots if root for name in root.fields]
    assert [name for name in fields if not re.search(rf"`{name}\b", text)] == []


def test_what_python_does_with_transformation_jobs_is_documented():
    from gnj.transform import requests
    from gnj.transform.application import Transform
    from gnj.transform.jobs import TransformJobs

    text = page("transform.md").partition("## From Python")[2].partition("\n## ")[0]
    commands = {name for name, each in vars(TransformJobs).items() if callable(each) and not name.startswith("_")}
    inputs = {"SourceInput", "SourceRequest", "MappingInput", "FormatInput"}
    assert inputs <= vars(requests).keys()
    assert [name for name in commands | inputs if not re.search(rf"`(commands\.)?{name}\b", text)] == []
    registering = {name for name in vars(Transform) if name in ("source", "attribute", "generator")}
    assert [name for name in registering if f"`jobs.transform.{name}" not in text] == []


def test_every_limit_of_content_jobs_is_documented_with_its_variable():
    from gnj.settings_content import ContentLimits

    text = page("content.md")
    names = [each.name for each in fields(ContentLimits)]
    assert [name for name in names if f"| `{name}` | `GNJ_CONTENT_{name.upper()}` |" not in text] == []


def test_every_rest_route_is_documented():
    from gnj.api import metrics, queues

    text = page("queues.md")
    assert [each.action for each in (*queues.OPERATIONS, *metrics.OPERATIONS) if f"`{each.action}`" not in text] == []


def test_every_event_state_and_option_is_documented():
    from gnj.api.queues.schemas import SCHEMAS
    from gnj.api.queues.telling import EVENTS
    from gnj.queue.derived import STATES

    text = page("queues.md")
    names = (*EVENTS, *STATES, *SCHEMAS["JobOptions"]["properties"])
    assert [name for name in names if f"`{name}`" not in text] == []
    assert [name for name in SCHEMAS["Job"]["properties"] if f"`{name}`" not in text] == []


def test_every_command_and_option_is_documented():
    from gnj.cli.commands import app

    text = page("cli.md")
    command: Any = get_command(app)
    missing = []
    for name, sub in command.commands.items():
        options = [option for parameter in sub.params for option in parameter.opts if option.startswith("--")]
        missing += [f"{name} {option}" for option in options if f"`{option}" not in text and f" {option}" not in text]
        if f"gnj {name}" not in text:
            missing.append(name)
    assert missing == []


def test_the_state_machines_are_those_of_the_code():
    command = [sys.executable, str(ROOT / "docs" / "state_machine.py"), "--check"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert done.returncode == 0, done.stderr


def test_the_tests_that_prove_promises_exist():
    proofs = re.findall(r"\[`(\w+)`\]\(\.\./([\w/]+\.py)\)", page("reliability.md"))
    assert len(proofs) > 30
    assert [
        proof for proof in proofs if not re.search(rf"(def|class) {proof[0]}\b", (ROOT / proof[1]).read_text())
    ] == []


def test_every_decision_is_listed():
    listed = page("decisions/README.md")
    assert [p.name for p in (ROOT / "docs" / "decisions").glob("0*.md") if p.name not in listed] == []
