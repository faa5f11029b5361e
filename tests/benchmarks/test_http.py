"""The benchmark over HTTP: both of its servers begin, and answer the same."""

from __future__ import annotations

import pytest

from benchmarks import graphql_cycles
from benchmarks.graphql_http import measure

pytest.importorskip("uvicorn")


def test_gnj_and_the_bare_application_are_asked_in_turn() -> None:
    told = measure(clients=2, seconds=0.1, rounds=1)
    assert {name: len(rates) for name, rates in told["per_second"].items()} == {"gnj": 1, "bare": 1}
    assert told["ratio"] > 0


def test_the_original_is_asked_only_where_it_is_installed(tmp_path, capsys) -> None:
    with pytest.raises(SystemExit):
        graphql_cycles.main(["--database=postgresql://nobody@nowhere/nothing", f"--rivals={tmp_path}"])
    assert f"`python -m benchmarks.setup_rivals {tmp_path}` installs it" in capsys.readouterr().err
