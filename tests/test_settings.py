"""What settings refuse, and how they name it."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest

import gnj
from gnj.queue.errors import InvalidInput
from gnj.settings import Settings


@pytest.mark.parametrize(
    "given, told",
    [
        ({"token": 5}, "token must be a string, not a value of the type int"),
        ({"token": b"s3cret"}, "token must be a string, not a value of the type bytes"),
        ({"prefix": 1}, "prefix must be a string"),
        ({"schema": 1}, "schema must be a string"),
        ({"env": True}, "env must be a string"),
        ({"fetch_allow": "x y"}, "fetch_allow must be a list of strings, not 'x y'"),
        ({"fetch_allow": [1]}, "fetch_allow must be a list of strings, not [1]"),
        ({"fetch_allow": 7}, "fetch_allow must be a list of strings, not 7"),
        ({"origins": "https://app.example"}, "origins must be a list of strings, not 'https://app.example'"),
        ({"retention": -1}, "retention must be from 0 to"),
        ({"retention": float("nan")}, "retention must be a number of seconds, not nan"),
        ({"retention": "a week"}, "retention must be a number of seconds, not 'a week'"),
        (
            {"phone_region": "Germany"},
            "phone_region must be the two capital letters of a country, such as DE, not 'Germany'",
        ),
        ({"phone_region": "de"}, "phone_region must be the two capital letters of a country"),
        ({"phone_region": 49}, "phone_region must be a string"),
        ({"retension": 1}, "there is no setting retension; there are: database, lease"),
    ],
)
def test_what_a_setting_cannot_be_is_refused_when_it_is_given(given, told):
    with pytest.raises(InvalidInput, match=f"^{re.escape(told)}"):
        gnj.GNJ("memory://", **given)


@pytest.mark.parametrize(
    "environment, told",
    [
        ({"GNJ_RETENTION": "-1"}, "retention must be from 0 to"),
        ({"GNJ_RETENTION": "a week"}, "GNJ_RETENTION must be a number, not 'a week'"),
        ({"GNJ_PHONE_REGION": "49"}, "phone_region must be the two capital letters of a country"),
        ({"GNJ_GRAPHIQL": "perhaps"}, "GNJ_GRAPHIQL must be true or false, not 'perhaps'"),
    ],
)
def test_and_so_is_what_the_environment_gives(environment, told):
    with pytest.raises(InvalidInput, match=f"^{re.escape(told)}"):
        Settings.of({}, environment)


def test_durations_and_lists_of_any_sort():
    settings = Settings.of(
        {"retention": timedelta(days=1), "fetch_allow": {"box"}, "origins": ("https://app.example",)}, {}
    )
    assert settings.retention == 86_400.0
    assert list(settings.fetch_allow) == ["box"]
    assert Settings.of({}, {"GNJ_FETCH_ALLOW": "a, b:1", "GNJ_RETENTION": "0"}).fetch_allow == ("a", "b:1")
    assert Settings.of({"token": None, "retention": None}, {}) == Settings()
