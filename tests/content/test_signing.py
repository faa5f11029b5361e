"""Signatures of URLs."""

from __future__ import annotations

import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnj.content.signing import Doubt, Signed, check_file, check_part, sign_file, sign_part

SECRET = secrets.token_hex(32)
NOW = 1_700_000_000


def test_what_was_signed_is_accepted_until_it_expires():
    query = sign_part(SECRET, "acme", "u1", 3, 10, NOW)
    assert check_part(SECRET, "acme", "u1", "3", query, NOW - 0.5) == Signed(NOW, 10)
    assert check_part(SECRET, "acme", "u1", "3", query, NOW) is Doubt.EXPIRED
    query = sign_file(SECRET, "acme", "k", NOW)
    assert check_file(SECRET, "acme", "k", query, NOW - 0.5) == Signed(NOW, None)
    assert check_file(SECRET, "acme", "k", query, NOW + 1e9) is Doubt.EXPIRED


def test_another_secret_another_thing():
    query = sign_part(SECRET, "acme", "u1", 3, 10, NOW)
    assert check_part(secrets.token_hex(32), "acme", "u1", "3", query, 0) is Doubt.FORGED
    for tenant, upload, number in (
        ("acm", "eu1", "3"),
        ("acme", "u", "13"),
        ("acme", "u1", "03"),
        ("acme", "u1", "3\n"),
    ):
        assert check_part(SECRET, tenant, upload, number, query, 0) is Doubt.FORGED
    assert check_file(SECRET, "acme", "k2", sign_file(SECRET, "acme", "k", NOW), 0) is Doubt.FORGED


def test_a_forged_one_is_not_told_to_have_expired():
    query = sign_file(SECRET, "acme", "k", 1)
    assert check_file(SECRET, "acme", "other", query, NOW) is Doubt.FORGED


@pytest.mark.parametrize("alter", [lambda q: q + "\n", lambda q: " " + q, lambda q: q.replace("=", "=\u0661", 1)])
def test_what_only_looks_alike(alter):
    assert check_file(SECRET, "acme", "k", alter(sign_file(SECRET, "acme", "k", NOW)), 0) is Doubt.FORGED


@given(st.text(), st.text(), st.text(), st.text())
def test_no_two_permissions_are_alike(tenant, key, other_tenant, other_key):
    found = check_file(SECRET, other_tenant, other_key, sign_file(SECRET, tenant, key, NOW), 0)
    assert (found is not Doubt.FORGED) == ((tenant, key) == (other_tenant, other_key))


@given(st.text(), st.text(max_size=3))
def test_any_query_is_answered(query, number):
    assert check_part(SECRET, "acme", "u", number, query, 0) is Doubt.FORGED
    assert check_file(SECRET, "acme", "k", query, 0) is Doubt.FORGED
