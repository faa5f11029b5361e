from __future__ import annotations

import pytest

from gnj.cli.output import CommandError
from gnj.cli.schema import compare

OLD = "type Query {\n  a: Int\n  b(x: Int): Int\n}\n\nenum E {\n  ONE\n}\n"


@pytest.fixture
def stored(gnj_here, home):
    """The file with the schema of this gnj."""
    path = home / "schema.graphql"
    path.write_text(gnj_here("schema").stdout)
    return path


def test_the_schema_of_this_gnj(gnj_here, stored):
    result = gnj_here("schema", "--check", stored)
    assert (result.returncode, result.stderr) == (0, "")
    stored.write_bytes(stored.read_text().replace("\n", "\r\n").encode())
    assert gnj_here("schema", "--check", stored).returncode == 0


@pytest.mark.parametrize("face, has", [("content", "createImportJob"), ("transform", "applyMapping")])
def test_the_schemas_of_the_other_faces(gnj_here, home, face, has):
    printed = gnj_here("schema", "--face", face).stdout
    assert f"  {has}(" in printed
    (home / "face.graphql").write_text(printed)
    assert gnj_here("schema", "--face", face, "--check", "face.graphql").returncode == 0
    assert gnj_here("schema", "--check", "face.graphql").returncode == 1
    refused = gnj_here("schema", "app:jobs", "--face", face)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith(f"gnj: the schema of --face {face} is the same for every application")


def test_another_schema(gnj_here, stored):
    stored.write_text(stored.read_text().replace("type Mutation {", "type Mutation {\n  gone: Int", 1))
    result = gnj_here("schema", "--check", stored)
    assert (result.returncode, result.stderr) == (1, "")
    lines = result.stdout.splitlines()
    assert lines[0].startswith("breaking: ")
    assert "gone" in lines[0]
    assert lines[1] == "text: 0 lines added, 1 removed"


def test_another_text(gnj_here, stored):
    stored.write_text(stored.read_text() + "# a comment\n")
    result = gnj_here("schema", "--check", stored)
    assert (result.returncode, result.stderr) == (1, "")
    assert result.stdout == "text: nothing but the text differs (0 lines added, 1 removed)\n"


@pytest.mark.parametrize(
    "content, part",
    [
        (None, "there is no file"),
        (b"", "no GraphQL schema"),
        (b"type Query {", "no GraphQL schema"),
        (b"type Query { a: Missing }", "Missing"),
        (b"\xff\xfe", "UTF-8"),
        (b"{" * 100_000, "no GraphQL schema"),
    ],
)
def test_what_is_no_schema(gnj_here, home, content, part):
    if content is not None:
        (home / "bad.graphql").write_bytes(content)
    result = gnj_here("schema", "--check", "bad.graphql")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("gnj: ")
    assert result.stderr.count("\n") == 1
    assert part in result.stderr


def test_a_folder_is_no_schema(gnj_here):
    result = gnj_here("schema", "--check", ".")
    assert (result.returncode, result.stdout) == (2, "")
    assert "cannot be read" in result.stderr


@pytest.mark.parametrize(
    "old, new, kinds",
    [
        ("  a: Int\n", "  a: Int\n", ["text"]),
        ("  a: Int\n", "  a: String\n", ["breaking", "text"]),
        ("  ONE\n", "  ONE\n  TWO\n", ["dangerous", "text"]),
        ("  a: Int\n", "  a: Int\n  c: Int\n", ["safe", "text"]),
        ("  a: Int\n", '  "a comment"\n  a: Int\n', ["text"]),
    ],
)
def test_kinds_of_changes(old, new, kinds):
    changes = compare(OLD, OLD.replace(old, new), "file")
    if old == new:
        assert changes == []
        return
    # what graphql-core counts as a safe change beyond additions is its own affair
    found = [change.partition(":")[0] for change in changes]
    assert [kind for kind in dict.fromkeys(found) if kind in kinds] == kinds
    assert "breaking" not in found or "breaking" in kinds


def test_the_old_must_be_a_schema():
    with pytest.raises(CommandError, match="file is no GraphQL schema"):
        compare("nothing", OLD, "file")


CUSTOM = """
import gnj

jobs = gnj.GNJ("memory://")
handlers = gnj.Handlers()


@jobs.mutation
def custom(a: int) -> None:
    "Does something."
"""


def test_the_schema_of_an_application(gnj_here, home, stored):
    (home / "application.py").write_text(CUSTOM)
    result = gnj_here("schema", "application:jobs")
    assert (result.returncode, result.stderr) == (0, "")
    assert '  """Does something."""\n  custom(a: Int!): Boolean\n' in result.stdout
    assert gnj_here("schema", "application:handlers").stdout == stored.read_text()
    changed = gnj_here("schema", "application:jobs", "--check", stored)
    assert changed.returncode == 1
    assert "safe: " in changed.stdout
    assert "custom" in changed.stdout


def test_an_application_whose_operations_are_wrong(gnj_here, home):
    (home / "broken.py").write_text(CUSTOM.replace("a: int", "a"))
    result = gnj_here("schema", "broken:jobs")
    assert (result.returncode, result.stdout) == (1, "")
    assert "the parameter a has no annotation" in result.stderr
    assert "broken.py:8" in result.stderr
