"""What all fields of the transformation jobs face share: the application, who asks, and what was loaded for one operation."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from graphql import GraphQLResolveInfo

from gnj.access import Principal, RequestContext
from gnj.api import fields
from gnj.api.fields import Field
from gnj.api.hooks import Guard
from gnj.api.transform.waiting import Waiting
from gnj.graphql.limits import Limits
from gnj.queue.errors import InvalidInput
from gnj.queue.feed import Feed
from gnj.queue.values import Json, dump_json

if TYPE_CHECKING:
    from gnj.transform.jobs import TransformJobs

MOST: Final = 16 * 1024 * 1024
"""Characters of JSON that one operation is answered: of records, rules and definitions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Face:
    """What all operations share.

    Args:
        jobs: Gives the commands and lists, when the first operation needs them: what they are made of is large.
        feed: What was committed.
        waiting: Those who wait for runs.
        guard: Who may.
        limits: The bounds of a request.
        origins: Of the pages that may open a WebSocket, beside the server's own.
    """

    jobs: Callable[[], TransformJobs]
    feed: Feed
    waiting: Waiting
    guard: Guard
    limits: Limits
    origins: Collection[str] = ()


@dataclass(slots=True)
class Spent:
    """What an operation was given so far."""

    rows: int = 0
    characters: int = 0


@dataclass(frozen=True, slots=True)
class Call:
    """One operation of somebody: the `info.context` of its fields."""

    face: Face
    principal: Principal
    request: RequestContext
    only_looks: bool = False
    """Whether it came with GET, which a page of somebody else's can have a browser send."""
    memo: dict[Any, Any] = field(default_factory=dict)
    """What its fields have loaded for one another."""
    spent: Spent = field(default_factory=Spent)

    @property
    def tenant(self) -> str:
        """Whose jobs it is about."""
        return self.principal.tenant

    @property
    def jobs(self) -> TransformJobs:
        """The commands and lists."""
        return self.face.jobs()

    def reach_out(self, field: str) -> None:
        """Before a field calls an address. Raises `InvalidInput` where that may be what somebody else's page wants."""
        if self.only_looks:
            raise InvalidInput(f"GET calls no sources: send {field} with POST")

    def count(self, rows: int) -> None:
        """Counts rows that are shown, each time anew. Raises `InvalidInput` when there are more than `Limits.rows`."""
        self.spent.rows += rows
        if self.spent.rows > self.face.limits.rows:
            raise InvalidInput(f"the answer would have more than {self.face.limits.rows:,} rows: ask for less at once")

    def weigh(self, value: Json) -> Json:
        """The value, if the operation may have it beside what it has already; a single one it may. Raises `InvalidInput`."""
        size = len(dump_json(value))
        if self.spent.characters and self.spent.characters + size > MOST:
            raise InvalidInput(f"the answer would have more than {MOST:,} characters of JSON: ask for less at once")
        self.spent.characters += size
        return value

    def weigh_all(self, values: Sequence[Json]) -> list[Json]:
        """The values, likewise."""
        return [self.weigh(value) for value in values]


def resolvers(given: Mapping[str, Field]) -> Mapping[str, Callable[..., Any]]:
    """See `gnj.api.fields.resolvers`."""
    return fields.resolvers(given, _checked)


def call(info: GraphQLResolveInfo[Any]) -> Call:
    """The call that a field is resolved for."""
    return _checked(info.context)


def _checked(context: Any) -> Call:
    if not isinstance(context, Call):
        raise TypeError(f"the context of the transformation jobs face is a Call, not a {type(context).__name__}")
    return context
