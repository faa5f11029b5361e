"""Subscriptions that are under way, whatever carries them: what was committed, told to everybody who wants it.

Nothing here runs on an event loop. One thread per `Streams`, while anybody subscribes, takes every change once, evaluates
it once for each group of equal subscriptions, and puts the encoded answer into each subscriber's own bounded buffer. A
subscriber that does not empty its buffer is dropped, and delays nobody.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeAlias

from gnj.access import Action, Kind, Principal, RequestContext
from gnj.api.bodies import encoded
from gnj.api.connections import Connections
from gnj.api.hooks import Guard
from gnj.api.runs import Behind, Run
from gnj.api.sources import Outlet, Pump, Values
from gnj.graphql.engine import Engine, Outcome, Selected, Subscription
from gnj.graphql.errors import CODES, ErrorBody, Stage, known, refused, report
from gnj.queue.errors import Forbidden, GnjError, SchemaError
from gnj.queue.feed import TOPICS, Change, Feed
from gnj.queue.values import dump_json

logger = logging.getLogger("gnj.api")

BEHIND: Final = refused("More happened than could be told: subscribe again.", "TOO_MANY_EVENTS")
"""How subscriptions end whose thread is behind."""

MakeContext: TypeAlias = Callable[[RequestContext, Principal], Any]
"""Makes the `info.context` of one operation, or of one event. A `GnjError` it raises is the answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionField:
    """One root field of Subscription: where its events come from. Either `topics` and `pick`, or `generate`.

    Args:
        name: The field.
        kind: What kind of action it is. The guard is asked when a subscription begins, and again about every event.
        topics: Those of `gnj.queue.feed.TOPICS` it is made of. Only changes of the subscriber's tenant come.
        pick: Takes a change and the arguments that were given, by their names in snake_case; gives the value of the root
            field, or None if the change is not for this subscription. Called in the dispatcher's thread, which all
            subscriptions share: it must not wait for anything.
        generate: Takes the context of the operation (`gnj.api.jobs.context`) and the arguments; gives an iterator or an
            async iterator of values of the root field. It runs for one subscriber alone: an iterator in a thread of its
            own; an async one on the host's event loop, which `RequestContext.run_async` leads to. Values are taken as
            fast as the subscriber reads. It is closed when the subscriber goes; an iterator that waits, when it gives
            its next value. When it ends, so does the subscription; what it raises is the subscription's error.
        subject: The argument that names what is to be told of: the guard is told it when a subscription begins.
    """

    name: str
    kind: Kind = Kind.READ
    topics: Collection[str] = ()
    pick: Callable[[Change, Mapping[str, Any]], Any] | None = None
    generate: Callable[[Any, Mapping[str, Any]], Values] | None = None
    subject: str = "id"

    def __post_init__(self) -> None:
        if (self.pick is None) == (self.generate is None) or bool(self.topics) != (self.pick is not None):
            raise SchemaError(f"Subscription.{self.name} needs either topics and pick, or generate")
        if unknown := [topic for topic in self.topics if topic not in TOPICS]:
            raise SchemaError(f"Subscription.{self.name}: there is no topic {unknown[0]}")


class Open(Protocol):
    """A subscription under way."""

    def close(self) -> None:
        """Ends it; nothing more is told. Idempotent, does not block."""


@dataclass(eq=False, repr=False, slots=True)
class _Member:
    """One subscriber of a group."""

    streams: Streams
    group: _Group
    principal: Principal
    outlet: Outlet

    def close(self) -> None:
        """See `Open.close`."""
        self.streams.leave(self)


@dataclass(eq=False, repr=False, slots=True)
class _Group:
    """Subscriptions that have the same answer to every event."""

    key: tuple[Any, ...]
    chosen: SubscriptionField
    arguments: Mapping[str, Any]
    subscription: Subscription
    tenant: str
    seen: RequestContext
    principal: Principal
    """Of the first member; of all of them, where answers depend on it."""
    members: dict[_Member, None] = field(default_factory=dict)


class Streams:
    """Everybody who subscribes to one queue over one engine.

    Args:
        engine: Evaluates the subscriptions.
        guard: Asked when a subscription begins and about every event.
        feed: What was committed.
        fields: The root fields of Subscription.
        make_context: Makes the context of an operation and of every event.
        impersonal: Whether answers depend on the tenant and on nothing else of the caller, as far as the types go that
            the fields with `topics` lead to; then equal subscriptions of one tenant are evaluated together. Otherwise,
            and always for fields with `generate`, each is evaluated alone.
    """

    def __init__(
        self,
        engine: Engine,
        guard: Guard,
        feed: Feed,
        fields: Sequence[SubscriptionField],
        make_context: MakeContext,
        *,
        impersonal: bool = False,
    ) -> None:
        limits = engine.rules.limits
        self.engine = engine
        self.guard = guard
        self.make_context = make_context
        self.limits = limits
        self.sockets = Connections(limits.sockets)
        """The open WebSockets."""
        self.responses = Connections(limits.sockets)
        """The open streams of Server-Sent Events."""
        self._feed = feed
        self._fields = {each.name: each for each in fields}
        self._impersonal = impersonal
        self._starting = threading.Lock()
        self._lock = threading.Lock()
        self._run: Run | None = None
        self._groups: dict[tuple[Any, ...], _Group] = {}
        self._wanting: dict[tuple[str, str], dict[_Group, None]] = {}
        self._pumps = 0

    @property
    def idle(self) -> bool:
        """Whether nobody subscribes, and no thread runs for anybody who did."""
        with self._lock:
            return self._run is None and not self._groups and not self._pumps

    def open(
        self,
        query: str,
        variables: Mapping[str, Any],
        operation_name: str | None,
        seen: RequestContext,
        principal: Principal,
        outlet: Outlet,
    ) -> Open | Outcome:
        """Begins a subscription; an Outcome says why it cannot begin. May wait for the storage; raises nothing expected.

        What is committed from now on is told, until the subscription is closed, its outlet refuses, or it ends by itself.
        """
        try:
            context = self.make_context(seen, principal)
            begun = self.engine.subscribe(query, variables, operation_name, context)
            if isinstance(begun, Outcome):
                return begun
            source = begun.source
            if not isinstance(source, Selected):
                # made by a `subscribe` function of the host's, which was given the context
                action = Action(begun.field, Kind.READ)
                self.guard.authorize(principal, action)
                return self._pumped(source, action, begun, seen, principal, outlet)
            chosen = self._fields[source.field]
            action = Action(chosen.name, chosen.kind)
            self.guard.authorize(principal, action, source.arguments.get(chosen.subject))
            if chosen.generate is not None:
                values = chosen.generate(context, source.arguments)
                return self._pumped(values, action, begun, seen, principal, outlet)
            return self._joined(chosen, begun, source.arguments, seen, principal, outlet)
        except GnjError as error:
            return Outcome({"errors": [known(error)]}, Stage.EXECUTE)

    def leave(self, member: _Member) -> None:
        """A subscriber is gone."""
        group = member.group
        with self._lock:
            if member not in group.members:
                return
            del group.members[member]
            if group.members:
                return
            del self._groups[group.key]
            for topic in group.chosen.topics:
                wanting = self._wanting[group.tenant, topic]
                del wanting[group]
                if not wanting:
                    del self._wanting[group.tenant, topic]
            if not self._groups and self._run is not None:
                self._run.wake()

    def close(self) -> None:
        """Ends everything that is open; whoever comes later is served."""
        self.sockets.end()
        self.responses.end()

    def _joined(
        self,
        chosen: SubscriptionField,
        begun: Subscription,
        arguments: Mapping[str, Any],
        seen: RequestContext,
        principal: Principal,
        outlet: Outlet,
    ) -> _Member:
        # what only its own subscriber may be answered is a group of one
        own = () if self._impersonal else (object(),)
        key = (begun.query, begun.operation_name, dump_json(begun.variables), principal.tenant, *own)
        group = _Group(key, chosen, arguments, begun, principal.tenant, seen, principal)
        with self._starting:
            with self._lock:
                if self._run is not None:
                    return self._added(group, principal, outlet)
            # to begin to follow may take a statement: those who leave must not wait for it
            run = Run(self._feed)
            with self._lock:
                self._run = run
                member = self._added(group, principal, outlet)
            threading.Thread(target=self._dispatch, args=(run,), name="gnj-subscriptions", daemon=True).start()
            return member

    def _added(self, new: _Group, principal: Principal, outlet: Outlet) -> _Member:
        group = self._groups.setdefault(new.key, new)
        if group is new:
            for topic in group.chosen.topics:
                self._wanting.setdefault((group.tenant, topic), {})[group] = None
        member = _Member(self, group, principal, outlet)
        group.members[member] = None
        return member

    def _dispatch(self, run: Run) -> None:
        with run.following:
            while True:
                try:
                    changes = run.take()
                except Behind:
                    changes = []
                    self._end_all(BEHIND)
                for change in changes:
                    with self._lock:
                        groups = tuple(self._wanting.get((change.tenant, change.topic), ()))
                    for group in groups:
                        try:
                            self._tell(group, change)
                        except Exception as error:  # noqa: BLE001 - one subscription must not end all others
                            report(error, f"Subscription.{group.chosen.name}", logger)
                with self._lock:
                    if not self._groups:
                        self._run = None
                        return

    def _end_all(self, error: ErrorBody) -> None:
        with self._lock:
            members = [member for group in self._groups.values() for member in group.members]
        for member in members:
            member.outlet.end([error])
            member.close()

    def _tell(self, group: _Group, change: Change) -> None:
        if group.chosen.pick is None or (value := group.chosen.pick(change, group.arguments)) is None:
            return
        with self._lock:
            members = tuple(group.members)
        action, target = Action(group.chosen.name, group.chosen.kind), getattr(change.value, "id", None)
        gone: dict[Principal, GnjError | None] = {}
        asked: dict[Principal, bool] = {}
        for member in members:
            who = member.principal
            if who not in gone:
                gone[who] = self._gone(who)
                asked[who] = gone[who] is None and self._may(who, action, target)
            if (error := gone[who]) is not None:
                member.outlet.end([known(error)])
                member.close()
        if not any(asked.values()):
            return
        body = self._answer(group.subscription, value, group.seen, group.principal)
        for member in members:
            if asked[member.principal] and not member.outlet.put(body):
                member.close()

    def _gone(self, principal: Principal) -> GnjError | None:
        """Why somebody is told nothing any more, if that is so."""
        try:
            self.guard.recheck(principal)
        except GnjError as error:
            return error
        return None

    def _may(self, principal: Principal, action: Action, target: Any) -> bool:
        try:
            self.guard.authorize(principal, action, target)
        except Forbidden:
            return False
        except GnjError as error:
            logger.warning("An event of %s was not delivered: %s", action.name, error)
            return False
        return True

    def _answer(self, begun: Subscription, value: Any, seen: RequestContext, principal: Principal) -> str:
        return encoded(self.engine.event(begun, value, self.make_context(seen, principal)).body)

    def _pumped(
        self,
        values: Values,
        action: Action,
        begun: Subscription,
        seen: RequestContext,
        principal: Principal,
        outlet: Outlet,
    ) -> Open | Outcome:
        if not isinstance(values, Iterator) and seen.run_async is None:
            return _refused(f"{action.name} needs an event loop, which this server does not have.")
        with self._lock:
            if self._pumps == self.limits.generators:
                return _refused(f"There are {self._pumps:,} subscriptions of this kind already: try again later.")
            self._pumps += 1

        def answer(value: Any) -> str | None:
            self.guard.recheck(principal)
            if not self._may(principal, action, getattr(value, "id", None)):
                return None
            return self._answer(begun, value, seen, principal)

        def done() -> None:
            with self._lock:
                self._pumps -= 1

        return Pump(values, answer, outlet, seen.run_async, done)


def _refused(message: str) -> Outcome:
    return Outcome({"errors": [refused(message, CODES[Stage.OPERATION])]}, Stage.OPERATION)
