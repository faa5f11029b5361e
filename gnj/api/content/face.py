"""What all fields of the content face share: the application, who asks, and for which organisation."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from graphql import GraphQLResolveInfo

from gnj.access import Action, Kind, Principal, RequestContext
from gnj.api.hooks import Guard
from gnj.api.jobs.roots import snake_case
from gnj.content.application import Content, is_organization
from gnj.content.maker import ContentJobs, User
from gnj.graphql.limits import Limits
from gnj.graphql.plans import OnContext
from gnj.queue.errors import NotFound
from gnj.queue.service import Queue
from gnj.queue.values import check_text

_LOCAL: Final = ("local", "anonymous")
"""The ids of principals that nobody gave a name."""
_OF_TOKENS: Final = "token:"
_ROW: Final = re.compile(r"[1-9][0-9]{0,17}")
"""18 digits: whatever matches fits a database's integers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Face:
    """What all organisations share.

    Args:
        content: The store and the files.
        queue: Where the content jobs are.
        guard: Who may: that of the application, which knows no organisations.
        limits: The bounds of a request.
        jobs: Makes content jobs.
        origins: Of the pages that may open a WebSocket, and use signed URLs, beside the server's own.
        public_url: What the application's address is for clients: begins signed URLs. None: as the request was addressed.
    """

    content: Content
    queue: Queue
    guard: Guard
    limits: Limits
    jobs: ContentJobs
    origins: Collection[str] = ()
    public_url: str | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """One operation of somebody for one organisation: the `info.context` of its fields."""

    face: Face
    principal: Principal
    """In the tenant `tenant`."""
    request: RequestContext
    tenant: str
    """The organisation of the path."""
    user: User
    memo: dict[Any, Any] = field(default_factory=dict)
    """What fields of this operation have loaded for one another."""


class OrganizationGuard(Guard):
    """Lets in who may act for the organisation in the path, and nobody else; the rest is decided by another guard.

    - a principal `everywhere` acts for any organisation, any other one for that of its tenant
    - an organisation that the caller does not belong to, and a path that cannot be one, is not there: `NotFound`

    Args:
        inner: Says who is calling, and what they may.
    """

    def __init__(self, inner: Guard) -> None:
        super().__init__()
        self._inner = inner

    @property
    def local_only(self) -> bool:
        """See `Guard.local_only`."""
        return self._inner.local_only

    def authenticate(self, context: RequestContext) -> Principal:
        """Who is calling, in the tenant that is the organisation. Raises `Unauthenticated`, then `NotFound`."""
        principal = self._inner.authenticate(context)
        organization = context.path_params.get("organization", "")
        # first what it looks like: the principal of an empty tenant belongs to no organisation
        if not is_organization(organization) or not (principal.everywhere or principal.tenant == organization):
            raise NotFound("There is no such organization.")
        return replace(principal, tenant=organization, everywhere=False)

    def authorize(
        self, principal: Principal, action: Action, target: Any = None, context: RequestContext | None = None
    ) -> None:
        """See `Guard.authorize`."""
        self._inner.authorize(principal, action, target, context)

    def recheck(self, principal: Principal) -> None:
        """See `Guard.recheck`."""
        self._inner.recheck(principal)


def call_of(face: Face, principal: Principal, request: RequestContext) -> Call:
    """The context of an operation of a caller whom `OrganizationGuard` let in."""
    return Call(face, principal, request, principal.tenant, _user(principal))


def _user(principal: Principal) -> User:
    name = principal.name
    if name is None:
        name = "anonymous" if principal.id in _LOCAL else principal.id.removeprefix(_OF_TOKENS)
    return User(principal.id, name, principal.email)


@dataclass(frozen=True, slots=True)
class Field:
    """A root field: what kind of action it is, and what resolves it.

    Args:
        kind: The guard is asked about it before anything else is done.
        resolve: Takes the call and the arguments, by their names in snake_case; those that were not given are left out, those
            that were given as null are None. What is inside an input object keeps its names.
        subject: The argument that names what is acted upon, which the guard is told: `id`, or `input.id` for one inside an
            input object.
    """

    kind: Kind
    resolve: Callable[..., Any]
    subject: str | None = None


def resolvers(fields: Mapping[str, Field]) -> Mapping[str, Callable[..., Any]]:
    """What GraphQL calls for each root field."""
    return {name: _resolver(Action(name, field.kind), field) for name, field in fields.items()}


def _resolver(action: Action, field: Field) -> Callable[..., Any]:
    steps = [] if field.subject is None else field.subject.split(".")
    resolve = field.resolve

    def answer(context: Any, arguments: Mapping[str, Any]) -> Any:
        call = _checked(context)
        target: Any = arguments if steps else None
        for step in steps:
            target = target.get(step)
        call.face.guard.authorize(call.principal, action, target, call.request)
        for name, value in arguments.items():
            _check_characters(value, name)
        return resolve(call, **{snake_case(name): value for name, value in arguments.items()})

    return OnContext(answer)


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


def row_id(text: str) -> int:
    """The row that an id of a job, a task or a recurring job means; 0, which no row has, for what is none."""
    return int(text) if _ROW.fullmatch(text) else 0


def call(info: GraphQLResolveInfo[Any]) -> Call:
    """The call that a field is resolved for."""
    return _checked(info.context)


def _checked(context: Any) -> Call:
    if not isinstance(context, Call):
        raise TypeError(f"the context of the content face is a Call, not a {type(context).__name__}")
    return context
