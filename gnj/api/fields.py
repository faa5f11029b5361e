"""Root fields of the faces that are GraphQL and nothing of the jobs dialect: who may, and then what resolves them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from gnj.access import Action, Kind, Principal, RequestContext
from gnj.api.hooks import Guard
from gnj.api.jobs.roots import snake_case
from gnj.graphql.plans import OnContext
from gnj.queue.values import check_text


class Guarded(Protocol):
    """What the fields of a face share."""

    @property
    def guard(self) -> Guard:
        """Says who may."""


class Call(Protocol):
    """One operation of somebody: the `info.context` of its fields."""

    @property
    def face(self) -> Guarded:
        """What it is asked of."""

    @property
    def principal(self) -> Principal:
        """Who asks."""

    @property
    def request(self) -> RequestContext:
        """How."""


CallT = TypeVar("CallT", bound=Call)


@dataclass(frozen=True, slots=True)
class Field:
    """A root field: what kind of action it is, and what resolves it.

    Args:
        kind: The guard is asked about it before anything else is done.
        resolve: Takes the call and the arguments, by their names in snake_case; those that were not given are left out, those
            that were given as null are None. What is inside an input object keeps its names.
        subject: The argument that names what is acted upon, which the guard is told: `id`, or `input.id` for one inside an
            input object.
        waits: Whether what it gives may be long on its way (`Later`): an operation is then not kept in a thread for it, though its
            document comes for the first time.
    """

    kind: Kind
    resolve: Callable[..., Any]
    subject: str | None = None
    waits: bool = False


def resolvers(fields: Mapping[str, Field], checked: Callable[[Any], CallT]) -> Mapping[str, Callable[..., Any]]:
    """What GraphQL calls for each root field; `checked` gives the call that a context is."""
    return {name: _resolver(Action(name, field.kind), field, checked) for name, field in fields.items()}


def _resolver(action: Action, field: Field, checked: Callable[[Any], CallT]) -> Callable[..., Any]:
    steps = [] if field.subject is None else field.subject.split(".")
    resolve = field.resolve

    def answer(context: Any, arguments: Mapping[str, Any]) -> Any:
        call = checked(context)
        target: Any = arguments if steps else None
        for step in steps:
            target = None if target is None else target.get(step)
        call.face.guard.authorize(call.principal, action, target, call.request)
        for name, value in arguments.items():
            _check_characters(value, name)
        return resolve(call, **{snake_case(name): value for name, value in arguments.items()})

    return OnContext(answer, field.waits)


def _check_characters(value: Any, what: str) -> None:
    """Refuses, wherever in an argument, the characters that databases do not take: even to look for them is an error there."""
    if isinstance(value, str):
        check_text(value, what, maximum=len(value))
    elif isinstance(value, dict):
        for name, inner in value.items():
            _check_characters(inner, f"{what}.{name}")
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            _check_characters(inner, f"{what}[{place}]")
