"""The OpenAPI document, made of the declarations: OpenAPI 3.1, whose schemas are JSON Schema 2020-12."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from gnj.access import Kind
from gnj.api.http import Response, json
from gnj.api.queues.declare import Answer, Call, Operation, Schema
from gnj.api.queues.schemas import SCHEMAS, ref
from gnj.graphql.limits import Limits
from gnj.queue.holds import ALL_TYPES
from gnj.queue.options import DOTS, MAX_ID, MAX_QUEUE, MIN_QUEUE
from gnj.queue.values import Json

PATH: Final = "/openapi.json"
VERSION: Final = "3.1.0"

PLACES: Final[Mapping[str, tuple[str, Schema]]] = {
    "queue": (
        f"The queue, which is a type of jobs: {MIN_QUEUE} to {MAX_QUEUE} UTF-16 units, no control characters, no slash, not `{ALL_TYPES}`.",
        {
            "type": "string",
            "minLength": MIN_QUEUE,
            "maxLength": MAX_QUEUE,
            "pattern": r"^[^\x00-\x1f\x7f-\x9f/\ufffd]+$",
            "not": {"const": ALL_TYPES},
            "examples": ["mail"],
        },
    ),
    "id": (
        "The job: the id that it was given as `jobId`, else its number.",
        {
            "type": "string",
            "minLength": 1,
            "maxLength": MAX_ID,
            "pattern": r"^[^\x00/\ufffd]+$",
            "not": {"enum": list(DOTS)},
            "examples": ["57"],
        },
    ),
}
"""What may stand in the places of a path."""

_LIMITS: Final = Limits()
_RETRY: Final = {"retry-after": "Seconds after which the request may be sent again."}
_ERRORS: Final[Mapping[int, Answer]] = {
    400: Answer(summary="The request is wrong; nothing was changed.", example={"error": "name is required"}),
    401: Answer(
        summary="No token, or one that is not valid.",
        example={"error": "Unauthorized"},
        headers={"www-authenticate": "Always `Bearer`."},
    ),
    403: Answer(
        summary="The token lacks the scope, or the host does not allow it; or a page of another site asks for a change.",
        example={"error": "GET /queues needs the scope read, which the token does not have."},
    ),
    404: Answer(summary="There is no such thing, for this caller.", example={"error": "Job not found"}),
    408: Answer(summary="The body took too long to arrive.", example={"error": "The body did not arrive within 10 s."}),
    409: Answer(
        summary="The state of the job forbids it; nothing was changed.", example={"error": "The job is active"}
    ),
    413: Answer(summary="The body is too large.", example={"error": "A body is limited to 10,485,760 bytes."}),
    414: Answer(summary="The URL is too long.", example={"error": "The URL is limited to 8,192 bytes."}),
    415: Answer(summary="The body is not JSON.", example={"error": "Content-Type must be application/json"}),
    431: Answer(summary="The headers are too large.", example={"error": "Headers are limited to 16,384 bytes."}),
    503: Answer(
        summary="The database does not answer, or the server is busy; nothing was changed.",
        example={"error": "The server is busy: no request ahead of this one has ended."},
        headers=_RETRY,
    ),
}
"""The errors that operations have in common."""

_TAGS: Final[Mapping[str, str]] = {
    "Jobs": "Adding jobs, listing them, looking at one and acting on it.",
    "Queues": "How queues stand, and what is done to all of a queue at once.",
    "Push workers": "HTTP endpoints that the server calls for each job of a queue.",
    "Server": "The server itself.",
}

_ABOUT: Final = """\
Jobs over REST, as BullMQ Proxy has it, on the same jobs as the GraphQL API.

- Ids are strings, times milliseconds since the epoch, durations milliseconds.
- Every error is `{"error": text}`; what is refused has changed nothing.
- A token goes into `Authorization: Bearer TOKEN`. Its scopes, `read`, `enqueue` and `admin`, say what it may do, and its tenant
  whose queues there are.
- A query parameter or a field that is not described here is refused with 400.
"""

_PLACE: Final = re.compile(r"\{(\w+)\}")
_NESTED: Final = ("additionalProperties", "contains", "else", "if", "items", "not", "propertyNames", "then")
_LISTED: Final = ("allOf", "anyOf", "oneOf", "prefixItems")
_NAMED: Final = ("$defs", "dependentSchemas", "patternProperties", "properties")


def document(
    operations: Iterable[Operation], version: str, server: str = "/", limits: Limits = _LIMITS
) -> dict[str, Json]:
    """The document that describes these operations of that version of gnj, where these limits hold; `server` is the path below
    which theirs are.

    Beside `schemas.SCHEMAS`, a schema with a `title` is described once, under that name. Raises `ValueError` for two different
    ones of one title.
    """
    schemas = {name: _hoisted(schema, {}) for name, schema in SCHEMAS.items()}
    paths: dict[str, dict[str, Json]] = {}
    for each in operations:
        paths.setdefault(each.path, {"parameters": _places(each.path)})[each.method.lower()] = _operation(
            each, schemas, limits
        )
    for path in paths.values():
        if not path["parameters"]:
            del path["parameters"]
    responses = {str(status): _answer(status, each, schemas) for status, each in _ERRORS.items()}
    return {
        "openapi": VERSION,
        "info": {
            "title": "gnj",
            "version": version,
            "summary": "Jobs over REST.",
            "description": _ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": server}],
        "tags": [{"name": name, "description": text} for name, text in _TAGS.items()],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(schemas.items())),
            "responses": responses,
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A token of the API: of `gnj token create`, or whatever the host takes. Where none is "
                    "configured, this machine is answered without one.",
                },
                "claim": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The token that a worker got with the job it holds, as long as it holds it.",
                },
            },
        },
    }


def _operation(operation: Operation, schemas: dict[str, Json], limits: Limits) -> dict[str, Json]:
    described: dict[str, Json] = {
        "operationId": operation.name,
        "tags": [_tag(operation.path)],
        # a title, as tools show it
        "summary": operation.summary.removesuffix("."),
    }
    if operation.description:
        described["description"] = operation.description
    if operation.params:
        described["parameters"] = [
            {
                "name": param.name,
                "in": "query",
                "required": param.required,
                "description": param.summary,
                "schema": _hoisted(param.bounded(limits), schemas),
                # a list is one text with commas
                **({"style": "form", "explode": False} if param.schema.get("type") == "array" else {}),
            }
            for param in operation.params
        ]
    if operation.body is not None:
        described["requestBody"] = _body(operation.body, schemas)
    answers = {str(status): _answer(status, each, schemas) for status, each in operation.answers.items()}
    for status in _common(operation):
        answers.setdefault(str(status), {"$ref": f"#/components/responses/{status}"})
    described["responses"] = dict(sorted(answers.items()))
    described["security"] = _security(operation)
    return described


def _places(path: str) -> list[Json]:
    return [
        {"name": name, "in": "path", "required": True, "description": PLACES[name][0], "schema": dict(PLACES[name][1])}
        for name in _PLACE.findall(path)
    ]


def _tag(path: str) -> str:
    first, *rest = path.strip("/").split("/")
    if first == "queues":
        return "Jobs" if "jobs" in rest else "Queues"
    return "Push workers" if first == "workers" else "Server"


def _security(operation: Operation) -> list[Json]:
    if operation.kind is not None:
        # what a bearer must have is no business of the scheme's; 3.1 lets it be named all the same
        return [{"token": [str(operation.kind)]}]
    return [{"claim": []}] if operation.claim else []


def _common(operation: Operation) -> list[int]:
    """The errors that the operation may answer with, whatever it does."""
    found = [400, 414, 431]
    if operation.kind is not None or operation.claim:
        found.append(401)
    if operation.kind is not None or operation.changes:
        found.append(403)
    if operation.changes:
        found += [408, 413]
    if operation.body is not None:
        found.append(415)
    if operation.kind is not None or operation.claim:
        found.append(503)
    return found


def _body(schema: Schema, schemas: dict[str, Json]) -> dict[str, Json]:
    media: dict[str, Json] = {"schema": _hoisted({k: v for k, v in schema.items() if k != "examples"}, schemas)}
    if examples := schema.get("examples"):
        media["examples"] = {f"{place}": {"value": value} for place, value in enumerate(examples, 1)}
    return {"required": True, "content": {"application/json": media}}


def _answer(status: int, answer: Answer, schemas: dict[str, Json]) -> dict[str, Json]:
    schema, example = answer.schema, answer.example
    if status >= 400 and schema is None:
        schema = ref("Error")
        example = example or (_ERRORS[status].example if status in _ERRORS else None)
    described: dict[str, Json] = {"description": answer.summary}
    headers = answer.headers or (_ERRORS[status].headers if status in _ERRORS else {})
    if headers:
        described["headers"] = {
            name: {"description": text, "schema": {"type": "string"}} for name, text in headers.items()
        }
    if answer.content_type:
        media: dict[str, Json] = {"schema": {"type": "string"} if schema is None else _hoisted(schema, schemas)}
        if example is not None:
            media["example"] = example
        described["content"] = {answer.content_type: media}
    return described


def _hoisted(schema: Schema, schemas: dict[str, Json]) -> Json:
    """The schema, with those in it that have a title moved into `schemas`."""
    plain: dict[str, Json] = {}
    for key, value in schema.items():
        if key in _NESTED and isinstance(value, Mapping):
            plain[key] = _hoisted(value, schemas)
        elif key in _LISTED:
            plain[key] = [_hoisted(each, schemas) for each in value]
        elif key in _NAMED:
            plain[key] = {name: _hoisted(each, schemas) for name, each in value.items()}
        else:
            plain[key] = _plain(value)
    title = plain.get("title")
    if title is None:
        return plain
    if schemas.setdefault(title, plain) != plain:
        raise ValueError(f"two schemas have the title {title!r}")
    return {"$ref": f"#/components/schemas/{title}"}


def _plain(value: Any) -> Json:
    """JSON: declarations have tuples and mappings that cannot be changed."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(each) for each in value]
    return value


@lru_cache(maxsize=16)
def served(server: str, version: str, limits: Limits) -> dict[str, Json]:
    """The document of all that is served below a path, within these limits."""
    from gnj.api import metrics, queues  # noqa: PLC0415 - they import this module

    return document((*queues.OPERATIONS, *metrics.OPERATIONS), version, server, limits)


def _serve(call: Call) -> Response:
    return json(served(call.below(PATH) or "/", call.face.version, call.limits))


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        method="GET",
        path=PATH,
        name="get_openapi",
        kind=Kind.READ,
        summary="Describes all of this, as an OpenAPI 3.1 document.",
        answer=_serve,
        answers={
            200: Answer(
                summary="The document.",
                schema={
                    "type": "object",
                    "properties": {"openapi": {"const": VERSION}},
                    "required": ["openapi", "info", "paths"],
                },
                example={"openapi": VERSION, "info": {"title": "gnj", "version": "1.2.3"}, "paths": {}},
            )
        },
    ),
)
