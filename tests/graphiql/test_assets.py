"""What the wheel carries for the page is what the manifest says, and no more."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest

from gnj.api import graphiql
from gnj.api.graphiql import Assets

ROOM = Path(graphiql.__file__).parent
FRONTEND = ROOM / "frontend"
MANIFEST = json.loads((ROOM / "assets.json").read_text())


def lock():
    return json.loads((FRONTEND / "package-lock.json").read_text())["packages"]


@pytest.mark.parametrize("file", MANIFEST["files"], ids=lambda file: file["name"].rpartition(".")[2])
def test_every_file_is_the_one_that_was_built(file):
    content = (ROOM / "assets" / file["name"]).read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    assert (digest, len(content)) == (file["sha256"], file["bytes"])
    assert re.findall(r"-([0-9a-f]+)\.", file["name"]) == [digest[:16]]
    asset = Assets().get(file["name"])
    assert asset is not None
    assert (asset.read(), asset.sha256) == (content, digest)


def test_there_is_no_other_file():
    assert {path.name for path in (ROOM / "assets").iterdir()} == {file["name"] for file in MANIFEST["files"]}
    assert sorted(asset.kind for asset in Assets()) == ["css", "js", "txt"]


def test_it_stays_small():
    assert sum(file["bytes"] for file in MANIFEST["files"]) < 2_000_000


def test_the_versions_are_those_of_the_lock_file():
    packages = lock()
    locked = {(path.rpartition("node_modules/")[2], each.get("version")) for path, each in packages.items()}
    assert [each for each in MANIFEST["packages"] if tuple(each.split(" ")) not in locked] == []
    assert f"graphiql {MANIFEST['version']}" in MANIFEST["packages"]
    wanted = json.loads((FRONTEND / "package.json").read_text())
    exact = {**wanted["dependencies"], **wanted["devDependencies"]}
    assert exact == {name: packages[f"node_modules/{name}"]["version"] for name in exact}


def test_the_lock_file_pins_by_hash_and_names_no_place():
    packages = {path: each for path, each in lock().items() if path}
    assert [path for path, each in packages.items() if not each.get("integrity", "").startswith("sha512-")] == []
    assert "://registry" not in (FRONTEND / "package-lock.json").read_text()


def test_every_part_comes_with_its_licence():
    notices = Assets().of("txt").read().decode()
    assert [each for each in MANIFEST["packages"] if f"\n{each} (" not in notices] == []
    for script in (Assets().of("js"), Assets().of("css")):
        assert Assets().of("txt").name in script.read()[:200].decode()


def test_the_style_sheet_loads_nothing():
    style = Assets().of("css").read().decode()
    assert "@import" not in style
    assert {url for url in re.findall(r"url\(['\"]?([^)]{5})", style) if url != "data:"} == set()
