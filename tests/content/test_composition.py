"""Where the content face is served, and what its settings refuse."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from graphql import build_schema, parse, validate

from gnj import GNJ
from gnj.api.content.schema import type_defs
from gnj.content import Content
from gnj.content.local_files import LocalFiles
from gnj.content.s3_files import S3Files
from gnj.queue.errors import InvalidInput
from gnj.settings import Settings
from gnj.settings_content import ContentLimits
from tests.content.fakes import FakeFiles, FakeStore

SEED = sorted((Path(__file__).parent / "seed").glob("*.graphql"))


def test_a_database_without_a_content_store_says_so_when_the_face_is_named():
    with GNJ("memory://") as jobs:
        assert not any("{organization}" in route.path for route in jobs.routes())
        with pytest.raises(
            ValueError, match=r"on SQLite and PostgreSQL, and this database is MemoryStorage; give GNJ\(content"
        ):
            jobs.routes(["content"])
        with pytest.raises(ValueError, match="content jobs need a content store"):
            _ = jobs.content


def test_neither_does_mysql_have_one(mysql_database):
    with (
        GNJ(mysql_database()) as jobs,
        pytest.raises(ValueError, match="this database is MySQL; give GNJ"),
    ):
        jobs.routes(["content"])


def test_a_host_brings_its_own():
    store, files = FakeStore(), FakeFiles()
    limits = ContentLimits(batch=10)
    with GNJ("memory://", content=store, files=files, content_limits=limits, time_zone="Europe/Paris") as jobs:
        assert jobs.content == Content(
            queue=jobs.queue, store=store, files=files, limits=limits, time_zone="Europe/Paris"
        )


def test_files_are_where_the_setting_says(tmp_path):
    with GNJ("memory://", content=FakeStore(), files=str(tmp_path / "here")) as jobs:
        found = jobs.content.files
        assert isinstance(found, LocalFiles)
        assert found.root == tmp_path / "here"
        assert not found.root.exists()


def test_or_in_a_bucket():
    with GNJ("memory://", content=FakeStore(), files="s3://box/a/b/", files_endpoint="http://here:9000") as jobs:
        found = jobs.content.files
        assert isinstance(found, S3Files)
        assert (found.bucket, found.prefix, found.endpoint) == ("box", "a/b", "http://here:9000")


@pytest.mark.parametrize("where", ["s3://", "s3://B/x", "gs://box", "a\0b"])
def test_but_nowhere_else(where):
    with (
        GNJ("memory://", content=FakeStore(), files=where) as jobs,
        pytest.raises(InvalidInput, match="files must be a directory or s3://bucket/prefix"),
    ):
        _ = jobs.content


@pytest.mark.parametrize(
    "given, told",
    [
        ({"files": ""}, "files must not be empty"),
        ({"files_endpoint": 1}, "files_endpoint must be a string"),
        ({"public_url": "jobs.example"}, "public_url must begin with http:// or https://, not 'jobs.example'"),
        ({"content_workers": -1}, "content_workers must be from 0 to 64"),
        ({"content_workers": True}, "content_workers must be an integer"),
        ({"time_zone": "Mars"}, "time_zone must be a name of the IANA database"),
        ({"content_limits": 5}, "content_limits must be gnj.settings_content.ContentLimits(…), not 5"),
    ],
)
def test_what_a_setting_cannot_be_is_refused(given, told):
    with pytest.raises(InvalidInput, match=f"^{re.escape(told)}"):
        GNJ("memory://", **given)


@pytest.mark.parametrize("name, value", [("batch", 0), ("batch", 1.5), ("url_seconds", float("nan")), ("part", True)])
def test_and_so_is_what_a_bound_cannot_be(name, value):
    with pytest.raises(InvalidInput, match=f"^content_limits: {name} must be a"):
        ContentLimits(**{name: value})


def test_the_environment_gives_settings_and_bounds():
    environment = {
        "GNJ_FILES": "there",
        "GNJ_CONTENT_WORKERS": "0",
        "GNJ_CONTENT_MEMBER": "5",
        "GNJ_CONTENT_URL_SECONDS": "1.5",
        "GNJ_PUBLIC_URL": "https://jobs.example/",
    }
    found = Settings.of({}, environment)
    assert (found.files, found.content_workers, found.public_url) == ("there", 0, "https://jobs.example")
    assert found.content_limits == ContentLimits(member=5, url_seconds=1.5)


@pytest.mark.parametrize("path", SEED, ids=lambda path: path.stem)
def test_the_published_examples_are_valid(path):
    assert validate(build_schema(type_defs()), parse(path.read_text())) == []


def test_there_are_six_of_them():
    assert len(SEED) == 6
