"""What all fields of the content face share: the application, who asks, and for which organisation."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from graphql import GraphQLResolveInfo

from gnj.access import Action, Principal, RequestContext
from gnj.api import fields
from gnj.api.fields import Field
from gnj.api.hooks import Guard
from gnj.content.application import Content, is_organization
from gnj.content.maker import ContentJobs, User
from gnj.graphql.limits import Limits
from gnj.queue.errors import NotFound
from gnj.queue.service import Queue

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


def resolvers(given: Mapping[str, Field]) -> Mapping[str, Callable[..., Any]]:
    """See `gnj.api.fields.resolvers`."""
    return fields.resolvers(given, _checked)


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
