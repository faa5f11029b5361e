"""`ContentStore`: the protocol of a content store. The docstrings here are the specification.

A host with a content store of its own writes this protocol and passes `gnj.testing`'s `ContentStoreContract`.

**Versions.** What readers see of an environment is its version. A job that changes an environment opens it, and is then its one
writer; what it writes stands in the version to come and is seen by nobody else until `publish` makes it the present one,
whole; `abandon` takes it back, whole. While one job writes, others are refused with `Busy`.

**Holders.** A writer is a `Holder`: the content job, the task of it and the number of the try. A try that was lost (its
worker was killed, or paused for too long) may still be running: every write method refuses with `Stale` a holder that is not
the one who opened the environment last, and a later try of the same job takes over with `open` what the earlier one wrote.
Holders of one job are ordered by (task, fence): a later task, or a later try of the same task, is later.

**Repeating.** A crash may lie between a write and the note that it was made. So every method that writes can be called again with
the same arguments and then changes nothing more: put, publish, abandon, and `step` with the same cursor.

**Tenants.** Every method is asked for one organisation; ids of another are unknown to it. Unless it says otherwise, a method
raises `NotFound` for an environment id that the organisation does not have (or has no more), `InvalidInput` for what cannot
be stored, `StorageUnavailable` or `Conflict` for what may go well when tried again; then nothing was changed.

Methods block and may be called from any thread; each is one transaction and is to take no longer than about a second.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal, Protocol, TypeAlias

from gnj.content.filters import EVERYTHING, EntryFilter
from gnj.content.model import Asset, Entry, Environment, Model, NewEntry, Page, Site, Snapshot
from gnj.queue.values import Json
from gnj.queue.working import Line

What: TypeAlias = Literal["entries", "urls", "tags", "general"]
"""What is indexed: texts of entries, URLs, tags, or all of it."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Who writes: one try of one task of one content job."""

    job: int
    """Id of the content job."""
    task: int
    """Id of the core job that is its task; greater for later tasks."""
    fence: int
    """Which claim of the task this is: `Job.attempt`."""

    def is_before(self, other: Holder) -> bool:
        """Whether this is an earlier holder than another one of the same job."""
        return (self.task, self.fence) < (other.task, other.fence)


class Busy(Exception):
    """Another content job writes to the environment."""

    def __init__(self, holder: Holder) -> None:
        super().__init__(f"the environment is being changed by the content job {holder.job}")
        self.holder = holder


class Stale(Exception):
    """The holder's turn is over: a later try took over, or the environment was taken from it. Nothing was changed."""


@dataclass(frozen=True, slots=True)
class Step:
    """What one step of an operation came to."""

    cursor: Json
    """Where the next step begins; of small size."""
    done: int
    """Rows dealt with by this step."""
    total: int | None
    """Rows of the whole operation, as far as known: for the progress."""
    over: bool
    """Whether nothing is left to do."""
    notes: Sequence[Line] = field(default=())
    """For the job's log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delete:
    """Deletes entries and assets, or clears labels, in an environment its holder has open.

    All conditions must be met: the site, the model and the filter. Sites and models stay. Assets have no model and none of
    the filter's keys but their site: they are deleted only where neither is given, otherwise none is.
    """

    environment_id: str
    filter: EntryFilter = EVERYTHING
    site_id: str | None = None
    """None: all sites. One that is not there: a WARNING, and nothing is deleted."""
    model: str | None = None
    """Id or alias. None: all models. One that is not there: a WARNING, and nothing is deleted."""
    entries: bool = False
    assets: bool = False
    labels: bool = False
    """Entries that are not deleted lose their labels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteField:
    """Takes a field out of a model and out of the content of its entries, in an environment its holder has open.

    With a site, only its entries lose the field, and the model keeps it.
    """

    environment_id: str
    site_id: str | None = None
    model: str
    """Id or alias. One that is not there: a WARNING, and nothing is changed."""
    field: str
    """The alias of the field."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyEnvironment:
    """Fills a reserved environment with what the base had when the copy began (its snapshot is pinned with the first step, for
    the holder).

    Sites get new ids and keep their aliases; models, entries and assets keep their ids. A text, at any depth of content and
    attrs, that equals the id of a copied site becomes the new id. The environment is not opened: nobody sees it, and only
    the content job that owns it (`own`) may fill it; else `Stale`.
    """

    base: str
    environment_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncEnvironment:
    """Makes the target, which its holder has open, equal to what the base had when the sync began (pinned as by
    `CopyEnvironment`): inserts, changes, deletes.

    Sites correspond by their aliases, all else by ids; a site that is new in the target gets a new id. The target keeps its
    own id, alias and name.
    """

    base: str
    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DropEnvironment:
    """Removes an environment for good, reserved ones too. The first step hides it and frees its alias; whoever writes to it is
    `Stale` from then on. It needs no `open`. Raises `InvalidInput` for the default one; an environment that is gone is
    `over` at once.
    """

    environment_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CloneSite:
    """Copies a site with its entries and assets within its environment, which its holder has open.

    Entries and assets get new ids, the same ones when a step is repeated. A text, at any depth of content and attrs of
    the copies, that equals the id of the copied site, or of an entry or asset of it, becomes the new id. Raises
    `Duplicate` if the environment has a site of that alias, or the organisation one of that id already; `NotFound` if the base is
    gone.
    """

    site_id: str
    new_id: str
    alias: str
    name: str
    logo: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reindex:
    """Brings what is derived from entries up to the version that readers see; of an environment that is being made, to what
    was copied into it. It needs no `open` and no publication.
    """

    environment_id: str
    what: What


Operation: TypeAlias = Delete | DeleteField | CopyEnvironment | SyncEnvironment | DropEnvironment | CloneSite | Reindex
"""What is done in steps."""


class ContentStore(Protocol):
    """Keeps the content of organisations. See the module for what holds for all methods."""

    def ready(self, tenant: str) -> None:
        """The organisation has its default environment (alias `main`) afterwards. Idempotent, and cheap if it has: called before
        anything else is asked for a tenant.
        """

    # Reading: what was published, and nothing else. Of one call, all is of the same version.

    def environments(self, tenant: str) -> Sequence[Environment]:
        """All that can be seen, the default one first, the others by age. Those that are being made or removed cannot."""

    def environment(self, tenant: str, named: str | None) -> Environment | None:
        """The one with that id or else alias; None: the default one. None if there is none to be seen."""

    def sites(self, tenant: str, environment_id: str | None = None) -> Sequence[Site]:
        """The sites of an environment, of the default one unless named, by alias; none of one that is not there."""

    def models(self, tenant: str, environment_id: str | None = None) -> Sequence[Model]:
        """The models likewise."""

    def site(self, tenant: str, id: str) -> Site | None:
        """The site with that id, in whichever environment it is."""

    def entries(self, tenant: str, environment_id: str, filter: EntryFilter, *, offset: int, limit: int) -> Page[Entry]:
        """Entries that meet the filter, the last updated first, those of one moment by id. With a `limit` of 0 they are only
        counted. May raise `InvalidInput` for several that are too large to be held at once (some MiB): one is told, however large.
        """

    def assets(self, tenant: str, environment_id: str, *, site_id: str | None, offset: int, limit: int) -> Page[Asset]:
        """Assets, of one site or of all, by site and path."""

    def asset_file(self, tenant: str, begin: str) -> str | None:
        """The key of the file of some asset, in whatever environment and version, that begins with `begin`: also of one that nobody sees
        yet, or any more as long as it is kept.
        """

    # Reading the same for long

    def pin(self, tenant: str, environment_id: str, holder: Holder) -> Snapshot:
        """The present version, which stays as it is until `unpin`. Called again by the same job: the same snapshot. A job may pin
        several environments.
        """

    def unpin(self, tenant: str, holder: Holder) -> None:
        """Lets go of all that the holder's job has pinned. Idempotent."""

    def scan(
        self, tenant: str, snapshot: Snapshot, filter: EntryFilter, *, after: str | None, limit: int
    ) -> Sequence[Entry]:
        """The first entries of a pinned snapshot that meet the filter, by id, from the one after `after` on. Fewer than `limit`
        where they are large; none only where there are no more.
        """

    # Making environments

    def reserve(self, tenant: str, alias: str, name: str, owner: int | None) -> str:
        """The id of a new, empty environment that cannot be seen before it is published, but whose alias is taken. `owner` is the
        content job that makes it, if it is known already. Raises `Duplicate` if the alias is taken.
        """

    def own(self, tenant: str, environment_id: str, owner: int) -> None:
        """Says which content job makes a reserved environment. Idempotent; `Stale` if it is another one already."""

    # For whoever sweeps up after all tenants

    def unmade(
        self, older: timedelta, limit: int, *, after: str | None = None
    ) -> Sequence[tuple[str, str, int | None]]:
        """(tenant, environment id, owner) of environments that were reserved longer ago than `older` and not published, and of
        those of which a `DropEnvironment` is not over: by the environment's id, the first ones after `after`. Whoever sweeps
        asks about the owner.
        """

    def held(self, limit: int, *, after: int = 0) -> Sequence[tuple[str, Holder]]:
        """(tenant, holder) of content jobs that are the writer of an environment or have pinned one: by the job's id, the first
        ones greater than `after`. No holder that has opened an environment for the job so far comes after the one that is told, so
        that `abandon` and `unpin` for it take back all of the job's.
        """

    def behind(self, limit: int, *, after: str | None = None) -> Sequence[tuple[str, str]]:
        """(tenant, environment id) of environments that can be seen and of which something that is derived (`Reindex`) is not of
        the version that readers see: by the environment's id, the first ones after `after`. None where nothing is derived.
        """

    # Writing

    def open(self, tenant: str, environment_id: str, holder: Holder) -> None:
        """Makes the holder the environment's writer. What an earlier holder of the same job wrote and did not publish stays, and
        is the new one's. Idempotent. Raises `Busy` while another job is the writer, `Stale` for an earlier holder of the job
        that is.
        """

    def put_entries(
        self, tenant: str, environment_id: str, holder: Holder, entries: Sequence[NewEntry]
    ) -> Sequence[str | None]:
        """Writes entries, each in the place of the one with its id; for each, in order, None or the reason why it was refused.

        Refused is an id that stands in another site of the environment, and a site id that is in another environment of
        the organisation; a store may refuse more sites, models and fields than it can tell at once. Of several with one id the
        last one wins. Sites and models that are not there are made, and models get the fields that the content has. Raises
        `Stale`.
        """

    def put_assets(
        self, tenant: str, environment_id: str, holder: Holder, assets: Sequence[Asset]
    ) -> Sequence[str | None]:
        """Writes assets, each in the place of the one with its site and path, which keeps its id; else like `put_entries`."""

    def publish(self, tenant: str, environment_id: str, holder: Holder, *, also: Sequence[str] = ()) -> None:
        """What was written becomes what readers see, at once and whole, and the environment is free for others. A reserved
        environment is published by the job that owns it, without `open`: it can be seen from then on.

        `also`: further environments that the holder has open; all of them are published, or none is. Idempotent: for the holder
        that has published already, nothing happens. Raises `Stale` while somebody else is the writer of one, and `NotFound`.
        """

    def abandon(self, tenant: str, holder: Holder, *, within: float = math.inf) -> bool:
        """Takes back all that the holder's job has written and not published, in every environment, and frees these; whether that
        was all. False: it took longer than `within` seconds, and goes on when it is called again; until then nobody else becomes
        the writer, and the job itself writes no more.

        A later holder of the same job, or somebody who knows that the job is over, may do it for an earlier one; an earlier one
        that does it late changes nothing. Idempotent. Reserved environments stay: they are dropped.
        """

    def step(self, tenant: str, holder: Holder, operation: Operation, cursor: Json) -> Step:
        """Does a bounded part of an operation, from `cursor` on (None: from the beginning): at most about a second and 50,000
        rows, whole or not at all. With the same cursor again it comes to the same.

        It neither opens nor publishes an environment; see each operation for what it needs. Raises `Stale`, and what the
        operation says.
        """
