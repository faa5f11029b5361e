"""The OpenAPI document as a page, for people: one file without scripts, which loads nothing from anywhere."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from html import escape
from json import dumps
from typing import Any, Final

from gnj.access import Kind
from gnj.api.http import Response, content
from gnj.api.queues.declare import Answer, Call, Operation
from gnj.api.queues.openapi import PATH as DOCUMENT
from gnj.api.queues.openapi import served
from gnj.graphql.limits import Limits
from gnj.queue.values import Json

PATH: Final = "/reference"

_STYLE: Final = """\
:root { color-scheme: light dark; --line: #8884; --soft: #8881; --link: light-dark(#0550ae, #79c0ff); }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 60rem; padding: 1rem; }
a { color: var(--link); }
code, pre { font: 14px/1.45 ui-monospace, monospace; }
pre { background: var(--soft); border-radius: 6px; overflow-x: auto; padding: .75rem; margin: .5rem 0; }
section > section, nav { border-top: 1px solid var(--line); padding: .5rem 0; }
h3 { margin: .5rem 0; overflow-wrap: anywhere; } h3 a { text-decoration: none; }
.method { border: 1px solid var(--line); border-radius: 4px; font: bold 13px ui-monospace, monospace; padding: .1rem .4rem; }
.who { font-size: 14px; opacity: .8; }
table { border-collapse: collapse; width: 100%; } td, th { border-top: 1px solid var(--line); padding: .3rem .5rem;
text-align: left; vertical-align: top; }
summary { cursor: pointer; }
nav ul { list-style: none; padding: 0; } nav li { overflow-wrap: anywhere; }
"""
_DIGEST: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{_DIGEST}'; img-src data:; frame-ancestors 'none'; base-uri 'none'; "
    "form-action 'none'"
)
"""The page's Content-Security-Policy: it may use the style that is in it, and nothing else."""

_METHODS: Final = ("get", "post", "put", "patch", "delete")


def page(document: Mapping[str, Json]) -> str:
    """The page that shows an OpenAPI document as `openapi.document` makes it."""
    return "\n".join(_page(document))


def _page(document: Mapping[str, Json]) -> Iterator[str]:
    info = document["info"]
    title = f"{escape(info['title'])} {escape(info['version'])}"
    yield '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f'<title>{title}: the REST API</title>\n<link rel="icon" href="data:,">\n<style>{_STYLE}</style>\n</head>\n<body>'
    yield f"<h1>{title}: the REST API</h1>"
    yield _prose(info["description"])
    yield f'<p>For machines: <a href="{escape(_beside(document))}">{DOCUMENT.strip("/")}</a>, OpenAPI {document["openapi"]}.</p>'
    operations = [
        (method.upper(), path, item[method], item)
        for path, item in document["paths"].items()
        for method in _METHODS
        if method in item
    ]
    tags = [tag for tag in document["tags"] if any(tag["name"] in each["tags"] for _, _, each, _ in operations)]
    yield "<nav>"
    for tag in tags:
        yield f"<h2>{escape(tag['name'])}</h2><ul>"
        for method, path, each, _ in operations:
            if tag["name"] in each["tags"]:
                link = f'<a href="#{each["operationId"]}"><code>{method} {escape(path)}</code></a>'
                yield f"<li>{link} {escape(each['summary'])}</li>"
        yield "</ul>"
    yield "</nav><main>"
    for tag in tags:
        yield f"<section><h2>{escape(tag['name'])}</h2><p>{escape(tag['description'])}</p>"
        for method, path, each, item in operations:
            if tag["name"] in each["tags"]:
                yield from _operation(document, method, path, each, item.get("parameters", []))
        yield "</section>"
    yield "<section><h2>Schemas</h2>"
    for name, schema in document["components"]["schemas"].items():
        yield f'<section id="schema-{escape(name)}"><h3>{escape(name)}</h3>{_schema(schema)}</section>'
    yield "</section></main>\n</body>\n</html>\n"


def _operation(
    document: Mapping[str, Json], method: str, path: str, operation: Mapping[str, Any], places: list[Any]
) -> Iterator[str]:
    name = operation["operationId"]
    yield f'<section id="{name}"><h3><a href="#{name}"><span class="method">{method}</span> <code>{escape(path)}</code></a></h3>'
    yield f'<p>{_inline(operation["summary"])}. <span class="who">{_who(operation["security"])}</span></p>'
    if "description" in operation:
        yield _prose(operation["description"])
    if parameters := [*places, *operation.get("parameters", [])]:
        yield "<table><tr><th>Parameter</th><th>In</th><th></th></tr>"
        for each in parameters:
            told = f"{_inline(each['description'])} {_short(each['schema'])}"
            yield f"<tr><td><code>{escape(each['name'])}</code></td><td>{each['in']}</td><td>{told}</td></tr>"
        yield "</table>"
    if "requestBody" in operation:
        media = operation["requestBody"]["content"]["application/json"]
        yield f"<p>Body:</p>{_schema(media['schema'])}"
        for example in media.get("examples", {}).values():
            yield _code(example["value"])
    yield "<table><tr><th>Status</th><th></th></tr>"
    for status, answer in operation["responses"].items():
        yield f"<tr><td>{status}</td><td>{_answer(_resolved(document, answer))}</td></tr>"
    yield "</table></section>"


def _answer(answer: Mapping[str, Any]) -> str:
    told = _inline(answer["description"])
    for name, header in answer.get("headers", {}).items():
        told += f"<br><code>{escape(name)}</code>: {_inline(header['description'])}"
    for kind, media in answer.get("content", {}).items():
        if kind != "application/json":
            told += f" <code>{escape(kind)}</code>"
        if kind == "application/json" and media["schema"].get("$ref") != "#/components/schemas/Error":
            told += _schema(media["schema"])
        if "example" in media:
            told += _code(media["example"])
    return told


def _who(security: list[dict[str, list[str]]]) -> str:
    for each in security:
        if "token" in each:
            return f"Needs a token with the scope {', '.join(each['token'])}."
        return "Needs the token of the claim."
    return "Needs no token."


def _schema(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        return _link(schema["$ref"])
    if schema.get("type") == "array" and "$ref" in schema.get("items", {}):
        return f"A list of {_link(schema['items']['$ref'])}"
    return f"<details><summary>Schema</summary>{_code(schema)}</details>"


def _link(reference: str) -> str:
    name = escape(reference.rsplit("/", 1)[1])
    return f'<a href="#schema-{name}">{name}</a>'


def _short(schema: Mapping[str, Any]) -> str:
    """What is worth knowing of a parameter: its default and its bounds."""
    told = [f"{word} {schema[key]}" for key, word in _BOUNDS if key in schema]
    chosen = schema.get("enum") or schema.get("items", {}).get("enum")
    if chosen:
        told.append("one of " + ", ".join(map(str, chosen)))
    return f"({escape('; '.join(told))})" if told else ""


_BOUNDS: Final = (("default", "default"), ("minimum", "from"), ("maximum", "to"), ("maxLength", "at most, characters:"))


def _resolved(document: Mapping[str, Json], answer: Mapping[str, Any]) -> Mapping[str, Any]:
    if "$ref" not in answer:
        return answer
    found: Mapping[str, Any] = document["components"]["responses"][answer["$ref"].rsplit("/", 1)[1]]
    return found


def _code(value: Json) -> str:
    text = value if isinstance(value, str) else dumps(value, indent=2, ensure_ascii=False)
    return f"<pre>{escape(text)}</pre>"


def _prose(text: str) -> str:
    """The little Markdown there is in descriptions: paragraphs, lists of one level, code."""
    told = []
    for block in text.strip().split("\n\n"):
        if block.startswith("- "):
            items = re.split(r"\n?^- ", block, flags=re.MULTILINE)[1:]
            told.append("<ul>" + "".join(f"<li>{_inline(item)}</li>" for item in items) + "</ul>")
        else:
            told.append(f"<p>{_inline(block)}</p>")
    return "".join(told)


def _inline(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def _beside(document: Mapping[str, Json]) -> str:
    server: str = document["servers"][0]["url"]
    return server.rstrip("/") + DOCUMENT


@lru_cache(maxsize=16)
def _made(server: str, version: str, limits: Limits) -> bytes:
    return page(served(server, version, limits)).encode()


def _serve(call: Call) -> Response:
    headers = (("content-security-policy", POLICY),)
    return content(
        _made(call.below(PATH) or "/", call.face.version, call.limits), "text/html; charset=utf-8", headers=headers
    )


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        method="GET",
        path=PATH,
        name="get_reference",
        kind=Kind.READ,
        summary="Describes all of this, as a page for people.",
        answer=_serve,
        answers={
            200: Answer(summary="The page, which loads nothing.", content_type="text/html", example="<!doctype html>")
        },
    ),
)
