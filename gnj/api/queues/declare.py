"""What an operation of the REST faces is: one declaration serves routing, access and the OpenAPI document."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from gnj.access import Kind, Principal, RequestContext, Target
from gnj.api.connections import Connections
from gnj.api.hooks import Guard
from gnj.api.http import Request, Response
from gnj.api.origins import Origins
from gnj.api.queues import reading
from gnj.api.queues.hub import Hub
from gnj.api.queues.reading import Refusal
from gnj.graphql.limits import Limits
from gnj.queue.later import Later
from gnj.queue.model import Job
from gnj.queue.service import Queue
from gnj.queue.values import Json

__all__ = ["Answer", "Call", "Face", "Operation", "Param", "Refusal", "Schema", "paging_params"]

LENGTH: Final = 10
MAX_LENGTH: Final = 100
"""Entries of a page, where nothing is said, and at most."""

Schema = Mapping[str, Any]
"""A JSON Schema, 2020-12; `examples` are those that the OpenAPI document shows."""


@dataclass(frozen=True, kw_only=True)
class Face:
    """What all operations share.

    Args:
        queue: The jobs.
        guard: Who may.
        limits: The bounds of a request.
        connections: The streams that are open, which end when the server does.
        origins: Of the pages that may change anything.
        fetch_allow: Where else push workers may be called, as `Settings.fetch_allow` has it.
        version: Of gnj.
        changed: Called when push workers or bulk jobs were changed: what runs in the background looks at once.
    """

    queue: Queue
    guard: Guard
    limits: Limits
    connections: Connections
    origins: Origins = field(default_factory=Origins)
    fetch_allow: Collection[str] = ()
    version: str = ""
    changed: Callable[[], None] = lambda: None
    hub: Hub = field(init=False)
    """Who listens to what happens."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "hub", Hub(self.guard, self.queue.feed))  # which is how a frozen one is made


@dataclass(frozen=True)
class Call:
    """One request to an operation, of somebody who may ask for it."""

    request: Request
    principal: Principal
    """Who asks: every row is looked up for `principal.tenant`. Nobody, of the tenant "", where no API token is asked for."""
    context: RequestContext
    face: Face
    claim: Job | None = None
    """The job that the caller holds, where its claim token was asked for."""

    @property
    def queue(self) -> Queue:
        """The jobs."""
        return self.face.queue

    @property
    def limits(self) -> Limits:
        """The bounds of a request."""
        return self.face.limits

    @property
    def tenant(self) -> str:
        """Whose rows the caller sees."""
        return self.principal.tenant

    def place(self, name: str) -> str:
        """A part of the path, checked: the place `queue` as a queue's name, `id` as a job's. Raises `Refusal`."""
        value = self.request.path_params[name]
        if name == "queue":
            return reading.check_queue(value)
        return reading.check_id(value)

    def below(self, path: str) -> str:
        """The path below which the routes are that answered at `path`, "" at the root: its path is known to whoever sent the
        request.
        """
        return self.request.path.rstrip("/").removesuffix(path)

    def body(self, most: int | None = None, *, checked: bool = True) -> Json:
        """The JSON value of the body, of at most `most` bytes. Raises `Refusal`: 415, 400, 413. Where it is not `checked`, its
        parts are to be: see `parse_json`.
        """
        return reading.body_of(self.request, most, checked=checked)

    def parameter(self, name: str) -> str | None:
        """A query parameter; None if it was not given."""
        return self.request.query.get(name)

    def integer(
        self,
        name: str,
        default: int,
        low: int,
        high: int,
        *,
        invalid: str | None = None,
        below: str | None = None,
        above: str | None = None,
    ) -> int:
        """A query parameter that is a whole number from `low` to `high`. Raises `Refusal`.

        `invalid`, `below` and `above` are what is told of what is no number, or out of bounds, in the place of gnj's words.
        """
        bounds = f"{name} must be from {low:,} to {high:,}"
        return reading.integer(
            self.parameter(name),
            default,
            low,
            high,
            invalid=invalid or f"{name} must be an integer",
            below=below or bounds,
            above=above or bounds,
        )

    def paging(self) -> tuple[int, int]:
        """`start` and `length` of a page, in the words of the contract. Raises `Refusal`."""
        invalid, negative = "Invalid start or length", "Start and length must be positive"
        high = self.limits.max_offset
        start = self.integer(
            "start", 0, 0, high, invalid=invalid, below=negative, above=f"Start must be less than or equal to {high}"
        )
        length = self.integer(
            "length",
            LENGTH,
            0,
            MAX_LENGTH,
            invalid=invalid,
            below=negative,
            above=f"Length must be less than or equal to {MAX_LENGTH}",
        )
        return start, length


@dataclass(frozen=True, kw_only=True)
class Param:
    """A query parameter. The places of the path describe themselves."""

    name: str
    summary: str
    schema: Schema
    required: bool = False
    most: str | None = None
    """The limit that is its maximum, as `Limits` calls it."""

    def bounded(self, limits: Limits) -> Schema:
        """Its schema where these limits hold."""
        return self.schema if self.most is None else {**self.schema, "maximum": getattr(limits, self.most)}


def paging_params(start: str, length: str) -> tuple[Param, Param]:
    """The parameters that `Call.paging` reads, told of in these words."""
    return (
        Param(
            name="start",
            summary=start,
            schema={"type": "integer", "minimum": 0, "default": 0},
            most="max_offset",
        ),
        Param(
            name="length",
            summary=length,
            schema={"type": "integer", "minimum": 0, "maximum": MAX_LENGTH, "default": LENGTH},
        ),
    )


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What is answered with one status.

    Args:
        summary: When, for people.
        schema: Of the body; None: there is none, or it is no JSON.
        example: A body.
        content_type: Of the body; "" where there is none.
        headers: What headers tell, by their names.
    """

    summary: str
    schema: Schema | None = None
    example: Any = None
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


def _target(request: Request) -> Target | None:
    places = request.path_params
    return Target(places["queue"], places.get("id")) if "queue" in places else None


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One method of one path.

    Args:
        method: In capitals.
        path: With places, as `Route.path`.
        name: Unique; `operationId` in the OpenAPI document, and the route's name after `queues.`.
        kind: What the caller must be allowed to do. None: no API token is asked for - the operation asks for another proof,
            or for none.
        summary: What it does, in one line.
        answer: Answers it, at once or, where the request takes that, later. What it raises: `Refusal`; a `GnjError`, which has a status of its own; anything else is masked.
        description: More, in Markdown.
        params: The query parameters it takes; any other is refused before `answer` is called.
        body: The schema of the JSON body; None: it takes none.
        answers: What is answered, by status; the errors that every operation may give are added to the document.
        claim: Whether the claim token of a job is asked for, in the place of an API token.
        target: What `authorize` is asked about; None: no queue in particular.
    """

    method: str
    path: str
    name: str
    kind: Kind | None
    summary: str
    answer: Callable[[Call], Response | Later[Response]]
    description: str = ""
    params: tuple[Param, ...] = ()
    body: Schema | None = None
    answers: Mapping[int, Answer] = field(default_factory=dict)
    claim: bool = False
    target: Callable[[Request], Target | None] = _target

    @property
    def changes(self) -> bool:
        """Whether anything may be other than before once it is answered."""
        return self.method != "GET"

    @property
    def action(self) -> str:
        """What `authorize` is asked about: `POST /queues/{queue}/jobs`."""
        return f"{self.method} {self.path}"
