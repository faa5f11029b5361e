"""A clock that is wrong: in this process, whoever asks the host for the date gets another one.

Monotonic clocks go on as they are: nobody sets those, in a real host neither.
"""

from __future__ import annotations

import datetime as dt
import importlib
import sys
import time
from typing import Any

VARIABLE = "GNJ_RELIABILITY_SKEW"
"""The environment variable with the seconds by which a server's clock is wrong."""
_ALL = ("gnj_starlette", "gnj.api.jobs", "gnj.api.graphql_http", "gnj.storage.sql", "gnj.worker", "gnj.cli.serve")
"""What imports all of gnj that asks for dt."""
_RECORDS = ("gnj.queue.records", "gnj.queue.model", "gnj.queue.model_content", "gnj.queue.model_transform")
"""What reads its own annotations, in which a date is a type, not somebody to ask."""
_time, _time_ns = time.time, time.time_ns
_datetime = dt.datetime


class _Meta(type):
    """Dates that others make are dates as well."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, _datetime)


def apply(seconds: float) -> None:
    """Sets this process's clock forward by `seconds` for all of gnj; drivers, compiled as they are, keep their dt."""
    if not seconds:
        return
    for name in _ALL:
        importlib.import_module(name)
    shift = dt.timedelta(seconds=seconds)

    class Shifted(_datetime, metaclass=_Meta):
        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> Any:
            return _datetime.now(tz) + shift

        @classmethod
        def utcnow(cls) -> Any:
            return _datetime.now(dt.UTC).replace(tzinfo=None) + shift

    time.time = lambda: _time() + seconds
    time.time_ns = lambda: _time_ns() + round(seconds * 1e9)
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in ("gnj", "gnj_starlette") and name not in _RECORDS:
            for attribute, value in list(vars(module).items()):
                if value is _datetime:
                    setattr(module, attribute, Shifted)
                elif value is _time:
                    setattr(module, attribute, time.time)
