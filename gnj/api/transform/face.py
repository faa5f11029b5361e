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
from gnj.graphql.errors import Ended
from gnj.graphql.limits import Limits
from gnj.queue.errors import InvalidInput
from gnj.queue.feed import Feed
from gnj.queue.values import Json, dump_json

if TYPE_CHECKING:
    from gnj.transform.jobs import TransformJobs

MOST: Final = 16 * 1024 * 1024
"""Bytes of JSON that one operation is answered: of records, and of the texts, rules and definitions of parts."""
_ROWS: Final = 4
"""Rows that each job of a tenant may always have in one answer: itself and its three parts. Nothing else makes this list shorter."""


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
    bytes: int = 0


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
        """Counts rows that are shown, each time anew. Ends the operation when there are more than `Limits.rows`, and more than all jobs
        with their parts.
        """
        self.spent.rows += rows
        if self.spent.rows > self.face.limits.rows:
            most = max(self.face.limits.rows, _ROWS * self.jobs.transform.limits.jobs)
            if self.spent.rows > most:
                raise Ended(InvalidInput(f"the answer would have more than {most:,} rows: ask for fewer lists at once"))

    def weigh(self, value: Json) -> Json:
        """The value, if the operation may have it beside what it has already (`spend`)."""
        self.spend(len(dump_json(value).encode()))
        return value

    def spend(self, size: int) -> None:
        """Takes so many bytes of JSON into the answer. Ends the operation when it has some already, and would have more than `MOST`."""
        if self.spent.bytes and size > self.left:
            raise Ended(InvalidInput(f"the answer would have more than {MOST:,} bytes of JSON: ask for less at once"))
        self.spent.bytes += size

    @property
    def left(self) -> int:
        """Bytes of JSON that the answer may still have."""
        return MOST - self.spent.bytes

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
