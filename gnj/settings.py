"""What can be set, in one place: keyword, else `GNJ_…` environment variable, else default."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, get_type_hints

from gnj.queue.errors import InvalidInput
from gnj.queue.runner import DEFAULT_LEASE
from gnj.queue.values import shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything a `GNJ` takes from its surroundings.

    Args:
        database: Where the jobs are: `sqlite:///file`, `postgresql://…` or `memory://`. `GNJ_DATABASE`.
        lease: Seconds that a claim lasts which asks for no lease of its own. `GNJ_LEASE`.
        token: A bearer token that every request must carry; none: only this machine may ask. `GNJ_TOKEN`.
        prefix: Begins the name of every table. `GNJ_PREFIX`.
        schema: The database schema of the tables, where the database has schemas. `GNJ_SCHEMA`.
        pool_size: Connections to the database, and so requests that use it at once. `GNJ_POOL_SIZE`.
        retention: Seconds for which ended jobs are kept once the application serves; 0: for ever, only what was deleted
            is pruned; none: nothing is. `GNJ_RETENTION`.
    """

    database: str = "sqlite:///gnj.db"
    lease: float = DEFAULT_LEASE
    token: str | None = None
    prefix: str = "gnj_"
    schema: str | None = None
    pool_size: int = 10
    retention: float | None = None

    @classmethod
    def of(cls, keywords: Mapping[str, Any], environment: Mapping[str, str] = os.environ) -> Settings:
        """The settings that `keywords` and `environment` make; keywords that are None are not given.

        Raises `InvalidInput`, naming the setting, for an unknown one or a text that is no number where one is needed.
        """
        known = get_type_hints(cls)
        if unknown := sorted(name for name in keywords if name not in known):
            raise InvalidInput(f"there is no setting {', '.join(unknown)}; there are: {', '.join(known)}")
        values = {name: value for name, value in keywords.items() if value is not None}
        for field in fields(cls):
            variable = f"GNJ_{field.name.upper()}"
            text = environment.get(variable)
            if text and field.name not in values:
                values[field.name] = _read(text, known[field.name], variable)
        return cls(**values)


def _read(text: str, kind: Any, variable: str) -> Any:
    if kind not in (int, float):
        return text
    try:
        return kind(text)
    except ValueError:
        raise InvalidInput(f"{variable} must be a number, not {shown(text)}") from None
