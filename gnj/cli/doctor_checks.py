"""What `gnj doctor` makes of the facts of a database: one function for each check, from facts to a verdict."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias

from gnj.cli.show import counted, duration
from gnj.queue.holds import ALL_TYPES
from gnj.queue.values import MAX_INT32

if TYPE_CHECKING:
    from gnj.storage.sql.facts import Facts

_SKEW: Final = 1.0
"""Seconds between two clocks that are worth a word."""
_OVERDUE: Final = 60.0
"""Seconds after which a worker should have noticed what is due or lost: each looks once a second."""
_ENDED: Final = 1_000_000
_KEPT: Final = 30 * 86400.0
"""Seconds after which ended jobs that are still there mean that nothing is pruned, where no retention says better."""
_DELETED_KEPT: Final = 3 * 86400.0
"""Likewise for deleted ones, which any pruning removes after a day."""
_NARROW: Final = 2**30
"""Half of what GraphQL's Int can name."""
_BUSY_TIMEOUT: Final = 1000
_FREE: Final = 1024**3
_FULL: Final = 64 * 1024**2


class Verdict(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"
    NONE = "not applicable"


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome of a check.

    Args:
        name: What was looked at.
        verdict: How it is.
        found: What was found.
        advice: What to do about it; empty unless there is something to do.
    """

    name: str
    verdict: Verdict
    found: str
    advice: str = ""


Judgement: TypeAlias = tuple[Verdict, str] | tuple[Verdict, str, str]
Check: TypeAlias = Callable[["Facts"], Judgement]


def judge(facts: Facts, *, retention: float | None = None) -> list[Result]:
    """The results of all checks; `retention`: seconds for which ended jobs are meant to be kept, if any are."""
    checks: dict[str, Check] = CHECKS | {"ended jobs": partial(ended_jobs, retention=retention)}
    return [Result(name, *check(facts)) for name, check in checks.items()]


def version(facts: Facts) -> Judgement:
    """Whether gnj works with this version of the database system."""
    server = facts.server
    needed = _NEEDED[server.product]
    shown = f"{server.product} {_dotted(server.version)}"
    if server.version >= needed:
        return Verdict.OK, shown
    return Verdict.PROBLEM, shown, f"gnj needs {server.product} {_dotted(needed)} or newer: upgrade the database"


def migrations(facts: Facts) -> Judgement:
    """Whether the tables are of this version of gnj."""
    state = facts.migrations
    if state.newer:
        found = f"at revision {state.current}, made by a newer gnj; this one knows up to {state.head}"
        return Verdict.PROBLEM, found, "upgrade gnj here"
    if not state.missing:
        return Verdict.OK, f"at revision {state.current}, as this gnj wants it"
    there = "no tables of gnj yet" if state.current is None else f"at revision {state.current}"
    found = f"{there}; gnj migrate would run {', '.join(state.missing)}"
    if facts.database == "sqlite":
        return Verdict.WARNING, found, "nothing, or gnj migrate: what next uses the file migrates it by itself"
    return Verdict.PROBLEM, found, "run gnj migrate"


def writable(facts: Facts) -> Judgement:
    """Whether the database takes writes."""
    if facts.server.read_only:
        return (
            Verdict.PROBLEM,
            "the server takes no writes",
            "connect to the primary, not to a replica; see its read-only setting",
        )
    file = facts.file
    if file is None:
        return Verdict.OK, "the server takes writes"
    if not file.writable:
        return Verdict.PROBLEM, f"{file.path} may only be read", "let the user that runs gnj write the file"
    if not file.folder_writable:
        advice = "let the user that runs gnj write the folder as well: SQLite keeps its log beside the file"
        return Verdict.PROBLEM, f"the folder of {file.path} may only be read", advice
    return Verdict.OK, f"{file.path} can be written"


def disk(facts: Facts) -> Judgement:
    """Whether there is room for a SQLite file to grow."""
    if facts.file is None:
        return (
            Verdict.NONE,
            "the disk is the server's" if facts.database != "sqlite" else "the file's disk is not known",
        )
    found = f"{size(facts.file.free)} free"
    advice = "make room: once the disk is full nothing can be enqueued or ended"
    verdict = Verdict.PROBLEM if facts.file.free < _FULL else Verdict.WARNING if facts.file.free < _FREE else Verdict.OK
    return (verdict, found) if verdict is Verdict.OK else (verdict, found, advice)


def durability(facts: Facts) -> Judgement:
    """Whether what was acknowledged survives a power cut."""
    settings = facts.server.settings
    found = ", ".join(f"{name}={value}" for name, value in settings.items() if name in _DURABLE)
    weak = [name for name, value in settings.items() if name in _DURABLE and value.lower() not in _DURABLE[name]]
    if not found:
        return Verdict.NONE, "the server does not tell its settings"
    if not weak:
        return Verdict.OK, found
    if "fsync" in weak:
        return Verdict.PROBLEM, found, "set fsync=on: a power cut can destroy the whole database"
    wanted = ", ".join(f"{name}={_DURABLE[name][0]}" for name in weak)
    return Verdict.WARNING, found, f"set {wanted}: a crash can lose jobs that were acknowledged just before"


def journal(facts: Facts) -> Judgement:
    """Whether SQLite lets readers and a writer work side by side, and writers wait for each other."""
    if facts.database != "sqlite":
        return Verdict.NONE, "only SQLite has one"
    mode, timeout = facts.server.settings.get("journal_mode", "?"), facts.server.settings.get("busy_timeout", "0")
    found = f"journal_mode={mode}, busy_timeout={timeout} ms"
    if mode.lower() != "wal":
        return (
            Verdict.WARNING,
            found,
            "readers and writers block each other: put the file where SQLite can use WAL, on a local disk",
        )
    if int(timeout) < _BUSY_TIMEOUT:
        return Verdict.WARNING, found, "set a busy_timeout of some seconds: who finds the file locked gives up at once"
    return Verdict.OK, found


def isolation(facts: Facts) -> Judgement:
    """Whether claims are isolated as they must be, whatever the server's default is."""
    server = facts.server
    if facts.database == "sqlite":
        return Verdict.OK, "SERIALIZABLE: one transaction writes at a time"
    found = f"the default is {server.isolation}; claims run in {server.claim_isolation} whatever it is"
    if server.claim_isolation == "READ COMMITTED":
        return Verdict.OK, found
    found = f"claims run in {server.claim_isolation}"
    return (
        Verdict.PROBLEM,
        found,
        "claims need READ COMMITTED: something between gnj and the server changes its sessions",
    )


def clock(facts: Facts) -> Judgement:
    """Whether this host and the database agree about the time."""
    if facts.skew is None:
        return Verdict.NONE, "SQLite takes the time from this host"
    if abs(facts.skew) < _SKEW:
        return Verdict.OK, f"the database's and this host's differ by {abs(facts.skew) * 1000:.0f} ms"
    ahead = "ahead of" if facts.skew > 0 else "behind"
    found = f"the database's is {abs(facts.skew):.1f} s {ahead} this host's"
    advice = "harmless for gnj, which goes by the database's clock alone; synchronise them all the same, logs do not fit together"
    return Verdict.WARNING, found, advice


def indexes(facts: Facts) -> Judgement:
    """Whether every index is there and usable, that of the claims first."""
    found = facts.indexes
    if found is None:
        return Verdict.NONE, _OTHER_VERSION
    if not found.missing and not found.invalid:
        return Verdict.OK, f"all {found.expected} are there, with {found.claim}, which claims are made from"
    told = [f"missing: {', '.join(found.missing)}"] * bool(found.missing)
    told += [f"not valid: {', '.join(found.invalid)}"] * bool(found.invalid)
    repairs = [*found.missing.values(), *(f"REINDEX INDEX {name}" for name in found.invalid)]
    advice = "while nothing works, run: " + "; ".join(repairs)
    if found.claim in {*found.missing, *found.invalid}:
        advice += f". Without {found.claim} each claim reads the whole backlog, or fails"
    return Verdict.PROBLEM, "; ".join(told), advice


def notifications(facts: Facts) -> Judgement:
    """Whether workers are woken."""
    if facts.database == "sqlite":
        return Verdict.NONE, "workers watch the file: no job waits for long until it is seen"
    if facts.database != "postgresql":
        return Verdict.NONE, "workers look for jobs every second (gnj worker --poll)"
    if not facts.notified:
        return (
            Verdict.WARNING,
            "this driver does not listen",
            "use psycopg (postgresql://…); until then workers poll (gnj worker --poll)",
        )
    if facts.notification is not None:
        return Verdict.OK, f"one took {facts.notification * 1000:.1f} ms"
    advice = (
        "jobs are still found: workers poll (gnj worker --poll, every second). To be woken they need a connection that is "
        "theirs: past the pooler, or through one that pools by session"
    )
    return Verdict.WARNING, "a notification did not arrive, as behind a transaction pooler", advice


def connections(facts: Facts) -> Judgement:
    """Whether the server has room for the connections of another process."""
    most, used = facts.server.max_connections, facts.server.connections
    if facts.database == "sqlite":
        return Verdict.NONE, "a file has no such limit"
    if most is None or used is None:
        return Verdict.NONE, "the server does not tell"
    mine = facts.pool + (facts.database == "postgresql")
    found = f"{used} of {most} in use; a process of gnj opens up to {mine}"
    if most - used >= mine:
        return Verdict.OK, found
    advice = (
        "lower GNJ_POOL_SIZE (a process opens twice as many at most), raise max_connections, or put a pooler between"
    )
    return Verdict.WARNING, found, advice


def ids(facts: Facts) -> Judgement:
    """Whether GraphQL, whose Int has 32 bits, can name all rows."""
    if facts.contents is None:
        return Verdict.NONE, _OTHER_VERSION
    table, greatest = max(facts.contents.greatest.items(), key=lambda item: item[1])
    found = f"the greatest is {greatest:,} ({table}), {greatest / MAX_INT32:.1%} of what GraphQL can name"
    if greatest >= MAX_INT32:
        return (
            Verdict.PROBLEM,
            found,
            "GraphQL cannot name newer rows any more: begin anew with another GNJ_PREFIX or database",
        )
    if greatest >= _NARROW:
        advice = (
            "before it gets there, begin anew with another GNJ_PREFIX or database: GraphQL's Int ends at 2,147,483,647"
        )
        return Verdict.WARNING, found, advice
    return Verdict.OK, found


def ended_jobs(facts: Facts, retention: float | None = None) -> Judgement:
    """Whether ended and deleted jobs are pruned."""
    contents = facts.contents
    if contents is None:
        return Verdict.NONE, _OTHER_VERSION
    parts = [_at_most(contents.ended, "job") + " ended" + _since(contents.now, contents.oldest_ended, "the oldest")]
    if contents.deleted:
        deleted = _since(contents.now, contents.oldest_deleted, "the oldest")
        parts.append(f"{_at_most(contents.deleted, 'job')} deleted{deleted}")
    if contents.bytes is not None:
        parts.append(f"{size(contents.bytes)} on disk")
    found = "; ".join(parts)
    kept = retention + 86400 if retention else _KEPT
    advice = "let gnj serve prune (--retention SECONDS, a week unless given), or call jobs.prune(retention)"
    if _age(contents.now, contents.oldest_ended) > kept or _age(contents.now, contents.oldest_deleted) > _DELETED_KEPT:
        return Verdict.WARNING, found, f"nothing seems to be pruned: {advice}"
    if contents.ended > _ENDED:
        return Verdict.WARNING, found, f"so many make lists and counts slow: {advice}; or keep them for less long"
    return Verdict.OK, found


def lost_leases(facts: Facts) -> Judgement:
    """Whether claims of dead workers are taken back."""
    contents = facts.contents
    if contents is None:
        return Verdict.NONE, _OTHER_VERSION
    if not contents.lost:
        return Verdict.OK, "none"
    found = _at_most(contents.lost, "lease") + " ran out" + _since(contents.now, contents.oldest_lost, "the oldest")
    if _age(contents.now, contents.oldest_lost) < _OVERDUE:
        return Verdict.OK, f"{found}; the next claim takes them back"
    return (
        Verdict.WARNING,
        found,
        "start a worker (gnj worker, gnj serve --workers): whoever claims takes them back, and nobody does",
    )


def due_jobs(facts: Facts) -> Judgement:
    """Whether somebody takes the jobs whose time has come."""
    contents = facts.contents
    if contents is None:
        return Verdict.NONE, _OTHER_VERSION
    if not contents.overdue:
        return Verdict.OK, "none that was delayed waits past its time (gnj types: what waits for a worker)"
    found = _at_most(contents.overdue, "job") + " due" + _since(contents.now, contents.oldest_due, "the first since")
    if _age(contents.now, contents.oldest_due) < _OVERDUE:
        return Verdict.OK, found
    return Verdict.WARNING, found, "start a worker (gnj worker, gnj serve --workers): none has asked for jobs since"


def holds(facts: Facts) -> Judgement:
    """Which types are held, and what that keeps back."""
    contents = facts.contents
    if contents is None:
        return Verdict.NONE, _OTHER_VERSION
    if not contents.held:
        return Verdict.OK, "none"
    found = "; ".join(
        ("every type" if held.type == ALL_TYPES else held.type)
        + (f" of tenant {held.tenant}" if held.tenant else "")
        + f" keeps back {_at_most(held.queued, 'queued job')}"
        for held in contents.held
    )
    waiting = [held for held in contents.held if held.queued]
    if not waiting:
        return Verdict.OK, found
    tenant = f" --tenant {waiting[0].tenant}" if waiting[0].tenant else ""
    return Verdict.WARNING, found, f"gnj release {waiting[0].type}{tenant}, unless it is meant to be held"


def size(count: int) -> str:
    """Bytes, to their greatest unit."""
    amount, unit = float(count), "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if amount < 1024:
            break
        amount, unit = amount / 1024, larger
    return f"{amount:.0f} {unit}" if unit == "bytes" or amount >= 10 else f"{amount:.1f} {unit}"


def _dotted(version: Sequence[int]) -> str:
    return ".".join(map(str, version))


def _at_most(count: int, word: str) -> str:
    from gnj.storage.sql.facts import COUNTED

    return ("more than " if count >= COUNTED else "") + counted(count, word)


def _age(now: datetime, moment: datetime | None) -> float:
    return 0.0 if moment is None else (now - moment).total_seconds()


def _since(now: datetime, moment: datetime | None, which: str) -> str:
    return "" if moment is None else f", {which} {duration(_age(now, moment))} ago"


_OTHER_VERSION: Final = "the tables are not of this version"
_NEEDED: Final = {"SQLite": (3, 38), "PostgreSQL": (13,), "MySQL": (8, 0), "MariaDB": (10, 6)}
_DURABLE: Final = {
    "synchronous": ("full", "extra"),
    "synchronous_commit": ("on", "local", "remote_write", "remote_apply"),
    "fsync": ("on",),
    "innodb_flush_log_at_trx_commit": ("1",),
}
"""The settings that durability hangs on, and their values that keep it."""

CHECKS: Final[dict[str, Check]] = {
    "version": version,
    "migrations": migrations,
    "writable": writable,
    "disk": disk,
    "durability": durability,
    "journal": journal,
    "isolation": isolation,
    "clock": clock,
    "indexes": indexes,
    "notifications": notifications,
    "connections": connections,
    "ids": ids,
    "ended jobs": ended_jobs,
    "lost leases": lost_leases,
    "due jobs": due_jobs,
    "holds": holds,
}
"""The checks by their names, in the order in which they are shown."""
