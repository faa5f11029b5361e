"""The server audit of the npm package graphql-http on a running server (section 0, point 14 of the jobs contract)."""

from __future__ import annotations

import json

import pytest

from tests.serving import Server


@pytest.mark.slow
def test_the_audit_finds_nothing(node, database_of, tmp_path):
    with Server(database_of("sqlite"), tmp_path) as server:
        out, err = node("audit.js", server.url).communicate(timeout=60)
    points = [json.loads(line) for line in out.splitlines()]
    assert [point for point in points if point["status"] != "ok"] == [], err
    assert len(points) >= 61
