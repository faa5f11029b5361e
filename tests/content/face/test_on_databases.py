"""The content face over the content store of each database: what only a database can get wrong."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from gnj import GNJ
from gnj.queue.model_content import ContentType
from tests import databases
from tests.content.face.attacks import attacks, filled, text_of
from tests.content.face.worlds import ATTACKER, World
from tests.content.fakes import FakeFiles
from tests.subscribers import WAIT, connected, served

ASGI = pytest.mark.parametrize("client", ["asgi"], indirect=True)
ODD = ["", "%", "\\", "'; --", "9" * 19, "é" * 5_000, "../../etc/passwd"]
"""Texts for the places of ids."""


@pytest.fixture
def jobs(backend: str, files: FakeFiles, settings: dict[str, Any]) -> Iterator[GNJ]:
    """An application on an empty database."""
    databases.wipe(backend)
    with GNJ(backend, files=files, content_workers=0, **settings) as made:
        made.migrate()
        yield made


@pytest.fixture
def world(jobs, client, files, put):
    return World(jobs, client, files, put)


@ASGI
@pytest.mark.slow
def test_no_operation_reaches_what_is_another_organisations(world):
    tried, leaks = world.attacked()
    assert leaks == []
    assert tried > 35


@ASGI
def test_no_text_in_the_place_of_an_id_is_more_than_refused(world):
    """`World.run` fails for an internal error."""
    own = world.furnish(ATTACKER, "own")
    for attack in attacks():
        if attack.kind == "filter":
            continue
        for text in ODD:
            given = filled(attack.given, own, dict.fromkeys(own, text))
            world.run(ATTACKER, text_of(attack.root, attack.field), **given)


def test_what_another_process_does_is_told(jobs, backend, files):
    """An application of its own is to the feed what another process is."""
    with (
        GNJ(backend, files=files, content_workers=0) as other,
        served(jobs.asgi_app(["content"])) as host,
        connected(host, "/v2/acme/jobs/graphql") as client,
    ):
        client.init()
        client.subscribe("s", "subscription { jobUpdated { id name } }")
        client.settle()
        assert jobs.queue.feed.arrive(WAIT)
        made = [
            other.queue.create_content_job(org, name=org, type=ContentType.EXPORT_ENTRIES, params={}, by={})
            for org in ("other", "acme")
        ]
        assert client.next("s") == {"data": {"jobUpdated": {"id": str(made[1].id), "name": "acme"}}}
