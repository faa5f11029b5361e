"""The bounds of a request: in one place, set by keyword or environment, and told of truly."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import gnj
from gnj.queue.errors import InvalidInput
from gnj.settings import Settings

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "security.md").read_text()


def test_the_page_has_every_limit_with_its_default():
    told = dict(re.findall(r"^\| `(\w+)` \| ([\d.,]+) \|", PAGE, re.MULTILINE))
    assert {name: float(value.replace(",", "")) for name, value in told.items()} == {
        each.name: getattr(gnj.Limits(), each.name) for each in fields(gnj.Limits)
    }


@pytest.mark.parametrize("name", [each.name for each in fields(gnj.Limits)])
def test_each_can_be_set_and_has_a_variable(name):
    variable = f"GNJ_LIMIT_{name.upper()}"
    assert getattr(Settings.of({}, {variable: "7"}).limits, name) == 7
    given = Settings.of({"limits": gnj.Limits(**{name: 8})}, {variable: "rubbish"})
    assert getattr(given.limits, name) == 8
    for text in ("rubbish", "0", "-1", "nan", "inf", "1e400", "0x10", "1,5"):
        with pytest.raises(InvalidInput, match=f"{variable}|{name}"):
            Settings.of({}, {variable: text})
    wrong: tuple[Any, ...] = ("7", 0, -1, True, None, float("nan"), [7])
    for value in wrong:
        with pytest.raises(InvalidInput, match=name):
            gnj.Limits(**{name: value})


def test_they_reach_the_api():
    with gnj.GNJ("memory://", limits=gnj.Limits(page=2, max_page=3, max_offset=4, depth=3, aliases=1)) as jobs:
        for _ in range(5):
            jobs.enqueue("mail")
        assert jobs.limits.page == 2
        assert len(jobs.execute("{ job { id } }")["data"]["job"]) == 2
        assert len(jobs.execute("{ job(limit: 3) { id } }")["data"]["job"]) == 3
        cases: tuple[tuple[str, Any], ...] = (
            ("{ job(limit: 4) { id } }", "limit must be from 0 to 3"),
            ("{ job(offset: 5) { id } }", "offset must be from 0 to 4"),
            ("{ batch { jobs(limit: 4) { id } } }", None),
            ("{ batch { jobs { batch { id } } } }", "more than 3 levels"),
            ("{ a: jobCount b: jobCount }", "more than 1 aliases"),
        )
        for query, why in cases:
            errors = jobs.execute(query).get("errors", [])
            assert [why in error["message"] for error in errors] == ([] if why is None else [True]), (query, errors)
        # what the host itself asks for in Python is not a request
        assert len(jobs.list()) == 5


def test_what_is_no_limits_is_refused():
    with pytest.raises(InvalidInput, match=r"limits must be gnj\.Limits"):
        gnj.GNJ("memory://", limits={"max_body": 1})
    with pytest.raises(TypeError, match="nope"):
        gnj.Limits(nope=1)  # type: ignore[call-arg]
