"""The requests every adapter must answer with the same bytes: what clients send, and what only attackers do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import quote

from gnj.testing.clients import Call

_JSON: Final = ("content-type", "application/json")
_CREATE: Final = "mutation ($job: jobInput!) { jobCreate(job: $job) { id type name input status } }"
_ADDED: Final = '{ job(order: "id") { id type name input } }'


def graphql(query: str, variables: Any = None, *headers: tuple[str, str], **more: Any) -> Call:
    """A GraphQL operation as JSON."""
    return _post(json.dumps({"query": query, "variables": variables, **more}, ensure_ascii=False).encode(), *headers)


def _post(body: bytes | str, *headers: tuple[str, str], target: str = "/graphql") -> Call:
    sent = headers if any(name == "content-type" for name, _ in headers) else (_JSON, *headers)
    return Call("POST", target, body.encode() if isinstance(body, str) else body, sent)


def _typed(content_type: str, body: bytes | str = '{"query": "{ job { id } }"}') -> Call:
    return _post(body, ("content-type", content_type))


_MULTIPART = (
    '--b\r\nContent-Disposition: form-data; name="operations"\r\n\r\n{"query": "{ job { id } }"}\r\n'
    '--b\r\nContent-Disposition: form-data; name="map"\r\n\r\n{}\r\n--b--\r\n'
)
# in the order in which every database gives the keys back
_INPUT = {"list": [1, 1.5, None, True, {"k": ""}], "text": "ż \U0001f600 \u2028"}

CALLS: Final[Mapping[str, Call]] = MappingProxyType(
    {
        # what clients do
        "nothing yet": graphql(_ADDED),
        "create": graphql(_CREATE, {"job": {"type": "mail", "name": "żółw", "input": _INPUT}}),
        "create another": graphql(_CREATE, {"job": {"type": "mail", "jobUniqueId": "once"}}),
        "list": graphql(_ADDED),
        "where": graphql('{ job(where: {name: "żółw"}) { id } }'),
        "of two operations one": graphql("query a { job { id } } query b { job { type } }", operationName="b"),
        "operation name null": graphql("{ job { id } }", operationName=None),
        "with a slash": _post('{"query": "{ job { id } }"}', target="/graphql/"),
        "charset": _typed("application/json; charset=UTF-8"),
        "response type sent": _typed("application/graphql-response+json"),
        "accept response": graphql("{ job { id } }", None, ("accept", "application/graphql-response+json")),
        "accept json": graphql("{ nothing }", None, ("accept", "application/json")),
        "accept both": graphql(
            "{ nothing }", None, ("accept", "application/graphql-response+json, application/json;q=0.9")
        ),
        "accept anything": graphql("{ job { id } }", None, ("accept", "*/*")),
        "accept nothing we have": graphql("{ job { id } }", None, ("accept", "image/png")),
        "get": Call("GET", "/graphql?query=" + quote("{ job { id name } }")),
        "get with variables": Call(
            "GET",
            "/graphql?query="
            + quote("query ($id: Int) { job(where: {id: $id}) { id } }")
            + "&variables=%7B%22id%22:1%7D",
        ),
        "get with plus": Call("GET", "/graphql?query=%7B+job+%7B+id+%7D+%7D&operationName="),
        "head": Call("HEAD", "/graphql?query=" + quote("{ job { id } }")),
        "health": Call("GET", "/healthz"),
        "health with a slash": Call("GET", "/healthz/"),
        "ready": Call("GET", "/readyz"),
        "head of health": Call("HEAD", "/healthz"),
        "cookies": graphql("{ job { id } }", None, ("cookie", "session=abc; other=1")),
        "origin": graphql("{ job { id } }", None, ("origin", "https://evil.example")),
        # operations that do not work
        "syntax": graphql("{ job { id }"),
        "unknown field": graphql("{ nothing }"),
        "wrong variable": graphql("query ($id: Int) { job(limit: $id) { id } }", {"id": "x"}),
        "no operation of that name": graphql("query a { job { id } }", operationName="b"),
        "which of two": graphql("query a { job { id } } query b { job { id } }"),
        "not found": graphql("mutation { recover(id: 99) { id } }"),
        "bad where": graphql("{ job(where: {nothing: 1}) { id } }"),
        "too many aliases": graphql("{ " + " ".join(f"a{n}: job {{ id }}" for n in range(40)) + " }"),
        "too deep": graphql("{ job " + "{ batch { jobs " * 20 + "{ id }" + " } }" * 20 + " }"),
        "too long": graphql("# " + "x" * 200_000 + "\n{ job { id } }"),
        "get a mutation": Call("GET", "/graphql?query=" + quote('mutation { jobCreate(job: {type: "a"}) { id } }')),
        "get nothing": Call("GET", "/graphql", b"", (("accept", "application/json"),)),
        "get bad variables": Call("GET", "/graphql?query=%7Bjob%7Bid%7D%7D&variables=%7B"),
        "get twice": Call("GET", "/graphql?query=%7Bnothing%7D&query=%7Bjob%7Bid%7D%7D"),
        # bodies that are none
        "no query": _post("{}"),
        "query null": _post('{"query": null}'),
        "query number": _post('{"query": 1}'),
        "variables list": _post('{"query": "{ job { id } }", "variables": []}'),
        "extensions number": _post('{"query": "{ job { id } }", "extensions": 1}'),
        "operation name number": _post('{"query": "{ job { id } }", "operationName": 1}'),
        "empty": _post(""),
        "null": _post("null"),
        "text": _post('"{ job { id } }"'),
        "batch": _post('[{"query": "{ job { id } }"}]'),
        "empty batch": _post("[]"),
        "malformed": _post('{"query": '),
        "deep": _post('{"query": "{ job { id } }", "variables": ' + '{"a":' * 5_000 + "1" + "}" * 5_001),
        "not a number": _post('{"query": "{ job { id } }", "variables": {"a": NaN}}'),
        "surrogate": _post('{"query": "{ job { id } }", "variables": {"a": "\\ud800"}}'),
        "nul": graphql(_CREATE, {"job": {"type": "a", "input": "\0"}}),
        "long number": _post('{"query": "{ job { id } }", "variables": {"a": ' + "9" * 5_000 + "}}"),
        "not UTF-8": _post(b'{"query": "\xff"}'),
        "byte order mark": _post(b'\xef\xbb\xbf{"query": "{ job { id } }"}'),
        "too large": _post(b" " * (10 * 1024 * 1024 + 1)),
        # types that a web page sends without asking first
        "plain text": _typed("text/plain"),
        "form": _typed("application/x-www-form-urlencoded", "query=%7Bjob%7Bid%7D%7D"),
        "multipart": _typed("multipart/form-data; boundary=b", _MULTIPART),
        "no type": _post('{"query": "{ job { id } }"}', ("content-type", "")),
        "latin": _typed("application/json; charset=latin-1"),
        "gzip": _post(b"\x1f\x8b", _JSON, ("content-encoding", "gzip")),
        # methods, paths, sizes, hosts
        "options": Call("OPTIONS", "/graphql"),
        "put": Call("PUT", "/graphql", b"{}", (_JSON,)),
        "delete": Call("DELETE", "/graphql"),
        "patch health": Call("PATCH", "/healthz"),
        "post health": Call("POST", "/healthz"),
        "unknown path": Call("GET", "/nothing"),
        "below": Call("GET", "/graphql/below"),
        "capitals": Call("GET", "/GRAPHQL"),
        "encoded letter": Call("GET", "/he%61lthz"),
        "encoded slash": Call("GET", "/healthz%2F"),
        "two slashes": Call("GET", "//healthz"),
        "dots": Call("GET", "/x/../healthz"),
        "not ASCII": Call("GET", "/%C5%BC"),
        "no UTF-8 in a path": Call("GET", "/%FF"),
        "large headers": Call("GET", "/healthz", b"", (("x", "a" * 20_000),)),
        "long URL": Call("GET", "/healthz?" + "a" * 9_000),
        "another host": graphql("{ job { id } }", None, ("host", "evil.example")),
        "through a proxy": graphql("{ job { id } }", None, ("x-forwarded-for", "192.0.2.1")),
    }
)
"""Requests, below the prefix, in an order: what one adds, a later one lists."""

_ASK: Final = "{ job { id } }"
_MAKE: Final = 'mutation { jobCreate(job: {type: "mail"}) { id } }'

GUARDED: Final[Mapping[str, Call]] = MappingProxyType(
    {
        "nobody": graphql(_ASK),
        "nobody by GET": Call("GET", "/graphql?query=" + quote(_ASK)),
        "a wrong token": graphql(_ASK, None, ("authorization", "Bearer wrong")),
        "no bearer": graphql(_ASK, None, ("authorization", "Basic YTpi")),
        "a token that is not ASCII": graphql(_ASK, None, ("authorization", "Bearer \u00e9")),
        "the token": graphql(_ASK, None, ("authorization", "Bearer a long random text")),
        "the token in capitals": graphql(_MAKE, None, ("authorization", "BEARER a long random text")),
        "a cookie": graphql(_MAKE, None, ("cookie", "user=friend")),
        "a cookie of somebody else": graphql(_MAKE, None, ("cookie", "user=nobody")),
        "only read": graphql(_ASK, None, ("cookie", "user=reader")),
        "not write": graphql(_MAKE, None, ("cookie", "user=reader")),
        "a hook that fails": graphql(_ASK, None, ("cookie", "user=trouble")),
        "introspection": graphql("{ __schema { queryType { name } } }", None, ("cookie", "user=friend")),
        "health for everybody": Call("GET", "/healthz"),
    }
)
"""Requests of callers who may more or less."""
