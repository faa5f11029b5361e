"""What is known of a database and of what is in it: facts, and no judgement. `gnj.storage.sql.inspect` collects them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

COUNTED: Final = 2_000_000
"""Where counts of rows end: looking must not burden a database that is in trouble."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """The database system.

    Args:
        product: SQLite, PostgreSQL, MySQL or MariaDB.
        version: Its version.
        isolation: How transactions are isolated that say nothing of it.
        claim_isolation: How a transaction of gnj is.
        settings: Settings of the server or session, by their names; those that cannot be read are left out.
        read_only: Whether it takes no writes.
        max_connections: How many connections there may be; None where there is no such limit.
        connections: How many there are.
    """

    product: str
    version: tuple[int, ...]
    isolation: str
    claim_isolation: str
    settings: Mapping[str, str]
    read_only: bool = False
    max_connections: int | None = None
    connections: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Migrations:
    """How far the tables are migrated.

    Args:
        current: The revision of the database; None: it has no tables of gnj.
        head: The newest revision this gnj knows.
        missing: The revisions a migration would run, in their order.
        newer: Whether this gnj does not know `current`.
    """

    current: str | None
    head: str
    missing: tuple[str, ...] = ()
    newer: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """The file of a SQLite database.

    Args:
        path: Where it is.
        writable: Whether this user may write it.
        folder_writable: Whether this user may make files beside it, as WAL needs.
        free: Bytes left on the disk.
    """

    path: str
    writable: bool
    folder_writable: bool
    free: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Indexes:
    """The indexes of the tables, against those the schema has.

    Args:
        claim: The name of the one that claims are made from.
        expected: How many there should be.
        missing: Those that are not there, each with the statement that makes it.
        invalid: Those that are there and cannot be used.
    """

    claim: str
    expected: int
    missing: Mapping[str, str] = field(default_factory=dict)
    invalid: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A hold, and how many queued jobs it keeps back, of all tenants where it has none."""

    type: str
    tenant: str
    queued: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What is in the tables.

    Args:
        now: When that was, by the database.
        greatest: The greatest id of each table, by its name without the prefix.
        ended: Jobs that have ended, at most `COUNTED`.
        oldest_ended: When the first of them did.
        deleted: Soft-deleted jobs, at most `COUNTED`.
        oldest_deleted: When the first of them was.
        bytes: What the jobs take on disk, with their indexes; with SQLite, what the whole file does.
        lost: Claimed jobs whose lease has run out, at most `COUNTED`.
        oldest_lost: When the first of these leases did.
        overdue: Jobs whose time has come and that no claim has made ready yet, at most `COUNTED`.
        oldest_due: When the first of them was due.
        held: The holds.
    """

    now: datetime
    greatest: Mapping[str, int]
    ended: int = 0
    oldest_ended: datetime | None = None
    deleted: int = 0
    oldest_deleted: datetime | None = None
    bytes: int | None = None
    lost: int = 0
    oldest_lost: datetime | None = None
    overdue: int = 0
    oldest_due: datetime | None = None
    held: tuple[Held, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All that is known of a database.

    Args:
        database: sqlite, postgresql or mysql.
        server: The database system.
        pool: How many connections one process opens at most.
        migrations: How far the tables are migrated.
        skew: Seconds by which the database's clock is ahead of this host's; None where it is the same clock.
        file: The file, with SQLite.
        notified: Whether a notification can be tried at all.
        notification: Seconds one took from one connection to another; None: it did not arrive.
        indexes: The indexes; None unless the tables are of this version.
        contents: What is in the tables; None unless they are of this version.
    """

    database: str
    server: Server
    pool: int
    migrations: Migrations
    skew: float | None = None
    file: File | None = None
    notified: bool = False
    notification: float | None = None
    indexes: Indexes | None = None
    contents: Contents | None = None
