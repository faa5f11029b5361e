"""A process that forks after it has used an engine of ours: `gunicorn --preload`, `multiprocessing`."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from typing import Any

from sqlalchemy import Engine


def forget_after_fork(engine: Engine) -> None:
    """Has every child connect for itself.

    A connection that both use answers one with what the other asked, and loses commits. The child keeps those of its parent
    as they are: to close one would end the parent's session (PostgreSQL, MySQL) or break its locks (SQLite).
    """
    if not hasattr(os, "register_at_fork"):
        return
    ours = weakref.ref(engine)
    parents: list[Any] = []

    def forget() -> None:
        engine = ours()
        if engine is not None:
            parents.append(engine.pool)
            engine.dispose(close=False)

    os.register_at_fork(after_in_child=forget)


def call_after_fork(method: Callable[[], None]) -> None:
    """Has every child call a method, as long as its object is there: locks that other threads held stay held in the child."""
    if not hasattr(os, "register_at_fork"):
        return
    ours = weakref.WeakMethod(method)

    def call() -> None:
        found = ours()
        if found is not None:
            found()

    os.register_at_fork(after_in_child=call)
