"""What is in the content store."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from graphql import GraphQLResolveInfo

from gnj.access import Kind
from gnj.api.content.face import Call
from gnj.api.content.paging import Collection, collection, page
from gnj.api.fields import Field
from gnj.content import entries as written
from gnj.content.filters import Condition, EntryFilter, parse
from gnj.content.model import Entry, Environment, Model, Page, Site
from gnj.content.store import ContentStore
from gnj.graphql.plans import Reads
from gnj.graphql.records import Resolvers
from gnj.queue.errors import InvalidInput, NotFound
from gnj.queue.values import Json, dump_json, shown

T = TypeVar("T")

MOST: Final = 16 * 1024 * 1024
"""Characters of JSON that one operation may be told of the store, by all its fields together: an entry may have some millions."""
_NOTHING: Final[Page[Any]] = Page((), 0)


def environments(found: Call) -> Sequence[Environment]:
    """All environments."""
    return _store(found).environments(found.tenant)


def sites(found: Call, environment_id: str | None = None) -> Sequence[Site]:
    """The sites of an environment."""
    store = _store(found)
    got = store.sites(found.tenant, _environment(store, found.tenant, environment_id))
    return _affordable(found, got, lambda site: [site.id, site.alias, site.name, site.logo])


def models(found: Call, environment_id: str | None = None) -> Sequence[Model]:
    """The models of an environment."""
    store = _store(found)
    got = store.models(found.tenant, _environment(store, found.tenant, environment_id))
    return _affordable(
        found, got, lambda model: [model.id, model.alias, model.name, [dict(each) for each in model.fields]]
    )


def entries(
    found: Call,
    environment_id: str | None = None,
    site_id: str | None = None,
    model_id: str | None = None,
    filter: str | None = None,
    offset: int | None = None,
    limit: int | None = None,
) -> Collection:
    """A page of entries."""
    offset, limit = page(offset, limit)
    conditions = list(parse(filter).filter.conditions)
    conditions += [
        Condition(key, "Eq", value) for key, value in (("SiteId", site_id), ("ModelId", model_id)) if value is not None
    ]
    store = _store(found)
    where = _where(store, found.tenant, environment_id, site_id)
    got = (
        _NOTHING
        if where is None
        else store.entries(found.tenant, where, EntryFilter(tuple(conditions)), offset=offset, limit=limit)
    )
    return Collection(_affordable(found, got.items, written.write), offset, limit, got.total)


def assets(
    found: Call,
    environment_id: str | None = None,
    site_id: str | None = None,
    offset: int | None = None,
    limit: int | None = None,
) -> Collection:
    """A page of assets."""
    offset, limit = page(offset, limit)
    store = _store(found)
    where = _where(store, found.tenant, environment_id, site_id)
    got = _NOTHING if where is None else store.assets(found.tenant, where, site_id=site_id, offset=offset, limit=limit)
    return Collection(got.items, offset, limit, got.total)


def _affordable(found: Call, items: Sequence[T], written: Callable[[T], Json]) -> Sequence[T]:
    """The items, if the operation may have as much, with what it has already; a single one it may. Raises `InvalidInput`."""
    spent = found.memo.get(_affordable, 0)
    for each in items:
        size = len(dump_json(written(each)))
        if spent and spent + size > MOST:
            raise InvalidInput(f"the answer would have more than {MOST:,} characters of content: ask for less at once")
        spent += size
    found.memo[_affordable] = spent
    return items


def _store(found: Call) -> ContentStore:
    """The store, in which the organisation has its default environment."""
    store = found.face.content.store
    store.ready(found.tenant)
    return store


def _where(store: ContentStore, tenant: str, environment_id: str | None, site_id: str | None) -> str | None:
    """The environment that is meant: the one that is named, else that of the site, which has one only, else the default one; None:
    there is no such site, and so nothing of it. Raises `NotFound`.
    """
    if environment_id is None and site_id is not None:
        site = store.site(tenant, site_id)
        return None if site is None else site.environment_id
    return _environment(store, tenant, environment_id)


def _environment(store: ContentStore, tenant: str, named: str | None) -> str:
    """The id of the environment with that id or alias; None: of the default one. Raises `NotFound`."""
    environment = store.environment(tenant, named)
    if environment is None:
        raise NotFound(f"environmentId: there is no environment {shown(named)}")
    return environment.id


QUERIES: Final[Mapping[str, Field]] = {
    "environments": Field(Kind.READ, environments),
    "sites": Field(Kind.READ, sites, "environmentId"),
    "models": Field(Kind.READ, models, "environmentId"),
    "entries": Field(Kind.READ, entries, "siteId"),
    "assets": Field(Kind.READ, assets, "siteId"),
}
"""environments, sites, models, entries, assets."""


def _part(name: str) -> Any:
    def part(entry: Entry, _info: GraphQLResolveInfo[Any]) -> Json:
        return written.write(entry)[name]

    return part


TYPES: Final[tuple[Resolvers, ...]] = (
    Resolvers(
        "Environment",
        {
            "id": Reads("id"),
            "alias": Reads("alias"),
            "displayName": Reads("name"),
            "isDefault": Reads("is_default"),
        },
    ),
    Resolvers(
        "Site",
        {
            "id": Reads("id"),
            "environmentId": Reads("environment_id"),
            "alias": Reads("alias"),
            "name": Reads("name"),
            "logo": Reads("logo"),
        },
    ),
    Resolvers(
        "Model",
        {
            "id": Reads("id"),
            "environmentId": Reads("environment_id"),
            "alias": Reads("alias"),
            "name": Reads("name"),
            "fields": lambda model, _info: [dict(field) for field in model.fields],
        },
    ),
    Resolvers(
        "Entry", {"id": Reads("id"), "system": _part("system"), "content": Reads("content"), "attrs": Reads("attrs")}
    ),
    Resolvers(
        "Asset",
        {
            "id": Reads("id"),
            "siteId": Reads("site_id"),
            "path": Reads("path"),
            "name": Reads("name"),
            "size": Reads("size"),
            "mediaType": Reads("media_type"),
            "sha256": Reads("sha256"),
            "key": Reads("key"),
            "createdAt": Reads("created_at"),
        },
    ),
    collection("EntryCollection"),
    collection("AssetCollection"),
)
"""What resolves Environment, Site, Model, Entry, Asset and the collections."""
