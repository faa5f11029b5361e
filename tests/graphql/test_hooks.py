from __future__ import annotations

import asyncio
import logging

import pytest

from gnj.api.hooks import Action, Guard, Kind, Principal, RequestContext, context_of, is_local
from gnj.api.http import Request
from gnj.queue.errors import Forbidden, Unauthenticated

READ = Action("box", Kind.READ)


def context(host="localhost", client="127.0.0.1", **headers):
    return RequestContext(
        headers={"host": host} | {name.replace("_", "-"): value for name, value in headers.items()}, client_host=client
    )


@pytest.mark.parametrize(
    "host, client",
    [
        ("localhost", "127.0.0.1"),
        ("LOCALHOST:8080", "127.5.6.7"),
        ("127.0.0.1:1", "::1"),
        ("127.200.3.4", "::ffff:127.0.0.1"),
        ("[::1]", "::1"),
        ("[::1]:65535", "127.0.0.1"),
    ],
)
def test_without_token_and_hook_this_machine_is_served(host, client):
    assert Guard().authenticate(context(host, client)) == Principal("local", everywhere=True)


@pytest.mark.parametrize(
    "host, client",
    [
        ("localhost", "192.168.1.4"),
        ("localhost", "::ffff:10.0.0.1"),
        ("localhost", None),
        ("localhost", "testclient"),
        ("localhost", "127.0.0.1.evil.example"),
        ("evil.example", "127.0.0.1"),
        ("localhost.evil.example", "127.0.0.1"),
        ("127.0.0.1.evil.example", "127.0.0.1"),
        ("evil.example:80@localhost", "127.0.0.1"),
        ("localhost, evil.example", "127.0.0.1"),
        ("localhost:80:80", "127.0.0.1"),
        ("localhost\n", "127.0.0.1"),
        ("0.0.0.0", "127.0.0.1"),
        ("[::ffff:127.0.0.1]", "127.0.0.1"),
        ("", "127.0.0.1"),
    ],
)
def test_and_nobody_else(host, client):
    with pytest.raises(Unauthenticated, match="GNJ_TOKEN"):
        Guard().authenticate(context(host, client))


def test_the_first_of_them_is_a_warning(caplog):
    guard = Guard()
    guard.authenticate(context())
    for _ in range(3):
        with pytest.raises(Unauthenticated):
            guard.authenticate(context(x_forwarded_for="1.1.1.1"))
    (warning,) = caplog.records
    assert (warning.name, warning.levelname) == ("gnj.api", "WARNING")
    assert "set GNJ_TOKEN" in warning.getMessage()


def test_who_is_refused_for_want_of_the_right_token_is_none(caplog):
    for guard in (Guard(token="s3cret"), Guard(authenticate=lambda _: None)):
        with pytest.raises(Unauthenticated):
            guard.authenticate(context("evil.example"))
    assert caplog.records == []


@pytest.mark.parametrize(
    "header", ["forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-x", "x-real-ip"]
)
def test_nor_through_a_proxy(header):
    assert not is_local(context(**{header: "for=127.0.0.1"}))


def test_no_host_header_is_not_local():
    assert not is_local(RequestContext(client_host="127.0.0.1"))


@pytest.mark.parametrize("value", ["Bearer s3cret", "bearer s3cret", "BEARER  s3cret "])
def test_the_token_opens(value):
    assert Guard(token="s3cret").authenticate(context("evil.example", "8.8.8.8", authorization=value)) == Principal(
        "token", everywhere=True
    )


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "s3cret",
        "Bearer",
        "Bearer ",
        "Bearer s3cre",
        "Bearer s3cret2",
        "Basic s3cret",
        "Bearer s3cret, Bearer s3cret",
        "Bearer \u017c",
    ],
)
def test_all_else_is_refused_alike(value):
    headers = {} if value is None else {"authorization": value}
    with pytest.raises(Unauthenticated) as caught:
        Guard(token="s3cret").authenticate(context(**headers))
    assert str(caught.value) == "The request carries no valid credentials."


def test_a_token_beyond_ascii_works_as_bytes():
    header = "Bearer " + "żółw".encode().decode("latin-1")
    assert Guard(token="żółw").authenticate(context(authorization=header)).id == "token"


def test_an_empty_token_is_no_token():
    for token in ("", " "):
        with pytest.raises(ValueError, match="empty"):
            Guard(token=token)


def test_the_hook_decides_who_calls():
    seen = []

    def who(ctx):
        seen.append(ctx)
        return Principal("ada", "acme", frozenset({"admin"})) if ctx.headers.get("x-user") else None

    guard = Guard(authenticate=who)
    assert guard.authenticate(context("evil.example", "8.8.8.8", x_user="ada")).tenant == "acme"
    with pytest.raises(Unauthenticated):
        guard.authenticate(context())
    assert seen[0].client_host == "8.8.8.8"


def test_token_and_hook_together():
    guard = Guard(token="t", authenticate=lambda ctx: Principal("ada") if "x-user" in ctx.headers else None)
    assert guard.authenticate(context(authorization="Bearer t")).id == "token"
    assert guard.authenticate(context(x_user="1")).id == "ada"
    with pytest.raises(Unauthenticated):
        guard.authenticate(context(authorization="Bearer x"))


def test_async_hooks_run():
    async def who(_ctx):
        await asyncio.sleep(0)
        return Principal("ada")

    async def may(principal, action, target):
        await asyncio.sleep(0)
        return (principal.id, action.kind, target) == ("ada", "read", 5)

    guard = Guard(authenticate=who, authorize=may)
    ada = guard.authenticate(context())
    guard.authorize(ada, READ, 5)
    with pytest.raises(Forbidden):
        guard.authorize(ada, READ, 6)


@pytest.mark.parametrize("result", ["ada", True, {"id": "ada"}, object()])
def test_a_hook_that_gives_no_principal_refuses(result, caplog):
    with pytest.raises(Unauthenticated):
        Guard(authenticate=lambda _: result).authenticate(context())
    assert "not a Principal" in caplog.text


def test_a_hook_that_raises_refuses_and_is_logged(caplog):
    def broken(*_):
        raise RuntimeError("secret reason")

    async def broken_too(*_):
        raise RuntimeError("secret reason")

    for hook in (broken, broken_too):
        caplog.clear()
        with caplog.at_level(logging.ERROR, logger="gnj.api"), pytest.raises(Unauthenticated) as caught:
            Guard(authenticate=hook).authenticate(context())
        assert "secret" not in str(caught.value)
        assert "secret reason" in caplog.text
        with pytest.raises(Forbidden):
            Guard(authorize=hook).authorize(Principal("local"), READ)


def test_a_hook_may_say_itself_why():
    def who(_):
        raise Unauthenticated("The session is over.")

    with pytest.raises(Unauthenticated, match="The session is over"):
        Guard(authenticate=who).authenticate(context())


@pytest.mark.parametrize("answer", [False, None, 0, ""])
def test_whatever_is_not_true_is_forbidden(answer):
    with pytest.raises(Forbidden):
        Guard(authorize=lambda *_: answer).authorize(Principal("local"), READ)


def test_authorize_is_asked_about_everybody():
    asked = []

    def may(principal, action, target):
        asked.append((principal.id, action.name, target))
        return True

    guard = Guard(token="t", authorize=may)
    guard.authorize(guard.authenticate(context(authorization="Bearer t")), READ, None)
    assert asked == [("token", "box", None)]


def test_without_authorize_all_is_allowed():
    Guard().authorize(Principal("local"), Action("drop", Kind.ADMIN))


def test_hooks_see_the_request():
    raw = object()
    request = Request(
        method="GET",
        path="/v2/acme",
        query_string="a=0&a=1",
        path_params={"organization": "acme"},
        headers={"cookie": "s=1"},
        client_host="127.0.0.1",
        scheme="wss",
        raw=raw,
    )
    ctx = context_of(request)
    assert (ctx.path, ctx.path_params, ctx.scheme) == ("/v2/acme", {"organization": "acme"}, "https")
    assert (ctx.query, ctx.cookies, ctx.client_host, ctx.transport, ctx.raw, ctx.connection_params) == (
        {"a": "1"}, {"s": "1"}, "127.0.0.1", "http", raw, None,
    )  # fmt: skip
