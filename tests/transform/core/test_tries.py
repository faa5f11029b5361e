"""Requests that read sources take few of a server's threads."""

from __future__ import annotations

from typing import Any

import pytest

from gnj.transform.errors import TriedAtOnce
from gnj.transform.requests import FormatInput, MappingInput, SourceInput, SourceRequest
from gnj.transform.trying import OF_TENANT
from tests.transform.core.conftest import PLAIN, RULES, URL, World, item
from tests.transform.core.fakes import FakeReading

SOURCE = SourceInput(request=SourceRequest(type="Feed", url=URL))


def _ways(world: World, tenant: str) -> list[Any]:
    return [
        lambda: world.jobs.apply_mapping(tenant, SOURCE, MappingInput(data=RULES)),
        lambda: world.jobs.generate_mapping(tenant, SOURCE, FormatInput(data=PLAIN)),
        lambda: world.jobs.save_job(tenant, SOURCE, None, FormatInput(data=PLAIN)),
    ]


def test_a_tenant_reads_few_sources_at_once(world):
    refused: list[bool] = []

    def feed(_validators: Any) -> FakeReading:
        """While it is open, it is read once more."""
        if len(world.parts.opened) < OF_TENANT:
            world.jobs.apply_mapping("acme", SOURCE, MappingInput(data=RULES))
        elif not refused:
            refused.append(True)
            for way in _ways(world, "acme"):
                with pytest.raises(TriedAtOnce, match="try again"):
                    way()
            for way in _ways(world, "other"):
                way()
            # what reads no source is done
            assert world.jobs.apply_mapping("acme", SourceInput(data=[item(1)]), MappingInput(data=RULES))
        return FakeReading([item(1) | {"id": 1}])

    world.parts.feeds[URL] = feed
    assert world.jobs.apply_mapping("acme", SOURCE, MappingInput(data=RULES)) == [{"id": 1, "name": "x"}]
    assert refused
    assert world.jobs.jobs("acme") == []
    for way in _ways(world, "acme"):
        way()
