"""`gnj token`: made, listed and revoked; and what a server makes of them."""

from __future__ import annotations

import json
import time

import httpx
import pytest

from tests.security.test_edge import GOOD

CI = ("create", "ci", "--scope", "work", "--scope", "read", "--tenant", "shop", "--expires", "30d")


@pytest.fixture
def token(gnj_here):
    assert gnj_here("migrate").returncode == 0
    return lambda *arguments: gnj_here("token", *arguments)


def test_a_token_is_printed_once_and_never_listed(token):
    made = token(*CI)
    secret = made.stdout.strip()
    assert (made.returncode, made.stderr, len(secret)) == (0, "", 47)
    assert token("create", "boss", "--scope", "admin").returncode == 0
    listed = token("list")
    assert listed.stdout.splitlines()[0].split() == ["id", "name", "scopes", "tenant", "created", "expires", "used"]
    rows = [json.loads(line) for line in token("list", "--json").stdout.splitlines()]
    assert [(row["name"], row["scopes"], row["tenant"]) for row in rows] == [
        ("ci", ["read", "work"], "shop"),
        ("boss", ["admin"], ""),
    ]
    assert rows[0]["expiresAt"] > rows[0]["createdAt"]
    assert rows[1]["expiresAt"] is None
    for told in (listed.stdout, json.dumps(rows)):
        assert secret not in told
        assert "hash" not in told


@pytest.mark.parametrize("which", ["ci", "1"])
def test_it_is_revoked_by_name_or_id(token, which):
    token(*CI)
    assert token("revoke", which).stdout == "ci (id 1) is revoked\n"
    again = token("revoke", which)
    assert (again.returncode, again.stdout) == (1, "")
    assert again.stderr.startswith("gnj: there is no token")
    assert token("list", "--json").stdout == ""


@pytest.mark.parametrize(
    "arguments, why",
    [
        (("create", "x"), "say what it may do: --scope read"),
        (("create", "x", "--scope", "root"), "there is no scope 'root'"),
        (("create", "", "--scope", "read"), "name"),
        (("create", "x", "--scope", "read", "--expires", "soon"), "--expires must be a time such as"),
        (("create", "x", "--scope", "read", "--expires", "0d"), "--expires must be a time such as"),
        (("create", "x", "--scope", "read", "--expires", "99999999d"), "expires must be"),
        (("create", "ci", "--scope", "read"), "there is a token 'ci' already"),
        (("revoke", "9" * 30), "there is no token"),
    ],
)
def test_what_makes_no_sense_is_one_line(token, arguments, why):
    token(*CI)
    done = token(*arguments)
    assert (done.returncode != 0, done.stdout) == (True, "")
    assert done.stderr.startswith("gnj: ")
    assert why in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_database_that_is_not_there_is_not_made(gnj_here, home):
    done = gnj_here("token", "list")
    assert done.returncode == 1
    assert not (home / "gnj.db").exists()


def test_with_a_stored_token_a_server_listens_beyond_loopback(token, start):
    refused = start("serve", "--host", "0.0.0.0", "--port", "0")
    assert refused.process.wait(30) == 2
    secret = token("create", "t", "--scope", "read").stdout.strip()
    server = start("serve", "--host", "0.0.0.0", "--port", "0")
    url = f"http://127.0.0.1:{server.url().rpartition(':')[2]}/graphql"
    kind = {"content-type": "application/json"}
    with httpx.Client(trust_env=False) as client:
        assert client.post(url, content=GOOD, headers=kind).status_code == 401
        good = client.post(url, content=GOOD, headers={**kind, "authorization": f"Bearer {secret}"})
        assert good.json() == {"data": {"jobCount": 0}}
        # revoked by another process, the server still runs
        token("revoke", "t")
        end = time.monotonic() + 20
        while client.post(url, content=GOOD, headers={**kind, "authorization": f"Bearer {secret}"}).status_code == 200:
            assert time.monotonic() < end
            time.sleep(0.05)


def test_scopes_may_be_a_list_with_commas(token):
    assert token("create", "ci", "--scope", "work, read").returncode == 0
    (row,) = token("list", "--json").stdout.splitlines()
    assert json.loads(row)["scopes"] == ["read", "work"]
