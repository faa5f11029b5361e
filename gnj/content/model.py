"""What a content store holds: environments, sites, models, entries, assets. Values only; no rule is here.

Ids are texts that the store or the file of an import chose. Site ids are unique in the organisation, entry ids in their
environment, and an asset is known by its site and path. Times are aware, in UTC, of whole milliseconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Generic, TypeVar

from gnj.queue.values import Json

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """A whole of sites, models, entries and assets that others do not touch."""

    id: str
    """`env_` and 24 hexadecimal digits, as the shipped store makes them."""
    alias: str
    """Unique in the organisation."""
    name: str
    """For people."""
    is_default: bool
    """Whether it is the one that is meant where none is named; each organisation has one."""
    version: int
    """Grows by one with every publication."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Where entries and assets belong."""

    id: str
    environment_id: str
    alias: str
    """Unique in the environment."""
    name: str
    """For people."""
    logo: str | None = None
    """A URL, or whatever the host takes for one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """What kind of thing entries are."""

    id: str
    environment_id: str
    alias: str
    """Unique in the environment."""
    name: str
    """For people."""
    fields: Sequence[Mapping[str, Json]] = ()
    """Each with its `alias` at least."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A piece of content, as it is stored."""

    id: str
    site_id: str
    model_id: str
    status: str | None = None
    """Any word; gnj gives it no meaning."""
    slug: str | None = None
    """The last part of its URL."""
    labels: Sequence[str] = ()
    """Its tags."""
    created_at: datetime
    updated_at: datetime
    published_at: datetime | None = None
    system: Mapping[str, Json] = field(default_factory=dict)
    """What else `system` had, by the names it had there; none of those above."""
    content: Mapping[str, Json] = field(default_factory=dict)
    """Values by the alias of their field."""
    attrs: Mapping[str, Json] = field(default_factory=dict)
    """Whatever the host adds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEntry:
    """An entry as an import brings it, checked; what is None is for the store to fill in."""

    id: str
    site_id: str
    model_id: str
    """An id or an alias of a model; one that is not there yet is made."""
    environment: str | None = None
    """Id or alias of where it belongs; None: the default environment. By it the import chooses where to write; `put_entries` is
    told the environment, and does not look here."""
    site_alias: str | None = None
    """Of the site, if it has to be made; its id unless given."""
    model_alias: str | None = None
    """Of the model, if it has to be made; `model_id` unless given."""
    status: str | None = None
    slug: str | None = None
    labels: Sequence[str] = ()
    created_at: datetime | None = None
    """None: as the stored entry has it; the present, if there is none."""
    updated_at: datetime | None = None
    """None: the present."""
    published_at: datetime | None = None
    system: Mapping[str, Json] = field(default_factory=dict)
    content: Mapping[str, Json] = field(default_factory=dict)
    attrs: Mapping[str, Json] = field(default_factory=dict)

    def stored(self, model_id: str, old: Entry | None, now: datetime) -> Entry:
        """The entry that it becomes: of the model of that id, in the place of `old`; what it does not say is filled in."""
        return Entry(
            id=self.id,
            site_id=self.site_id,
            model_id=model_id,
            status=self.status,
            slug=self.slug,
            labels=tuple(self.labels),
            created_at=self.created_at or (now if old is None else old.created_at),
            updated_at=self.updated_at or now,
            published_at=self.published_at,
            system=self.system,
            content=self.content,
            attrs=self.attrs,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Asset:
    """A file that belongs to a site. Its bytes are in the `FileStore`."""

    id: str
    site_id: str
    path: str
    """Within the site, with "/" between its parts: identifies the asset there."""
    name: str
    """The last part of `path`."""
    size: int
    """Bytes."""
    media_type: str
    """By its name, never by its bytes."""
    sha256: str
    """Of the bytes, as 64 hexadecimal digits."""
    key: str
    """Where the bytes are; several assets may share them."""
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Snapshot:
    """An environment as it was at one version."""

    environment_id: str
    version: int


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some of many, and how many there are."""

    items: Sequence[T]
    total: int
