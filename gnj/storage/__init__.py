"""Where rows are kept."""

from __future__ import annotations

from typing import Any

from gnj.queue.storage import Storage

__all__ = ["open_storage"]


def open_storage(database: Any, **options: Any) -> Storage:
    """The storage a URL names, `memory://`, `sqlite:///file.db`, `sqlite://`, `postgresql://…` or `mysql://…`, or an engine reaches.

    `options` are those of `SqlStorage`; memory takes of them `clock` and passes over the rest.
    Raises `InvalidInput` for any other URL.
    """
    if isinstance(database, str) and database.partition(":")[0] == "memory":
        from gnj.storage.memory import MemoryStorage  # noqa: PLC0415 - as light as what is asked for

        clock = options.get("clock")
        return MemoryStorage() if clock is None else MemoryStorage(clock)
    from gnj.storage.sql import SqlStorage  # noqa: PLC0415 - takes a third of a second to import

    return SqlStorage(database, **options)
