"""What a database does for the statements of one call: the plans PostgreSQL carries out, the steps SQLite takes.

Each statement is carried out once to be looked at, and undone, before it is carried out for good.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from psycopg import ClientCursor
from psycopg.pq import TransactionStatus
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import make_url

_PLANNED = ("SELECT", "UPDATE", "DELETE", "INSERT", "WITH")
_NAMED = re.compile(r"%\((\w+)\)s")
SMALL = 1_000
"""Rows that a table may have and be read whole."""


class Postgresql:
    """Reads plans; with `settings`, those that a prepared statement has for any parameters in a session that has those."""

    def __init__(self, url: str, statistics: str, settings: Mapping[str, str]) -> None:
        self.statistics = statistics
        self.settings = settings
        self.plans: list[tuple[str, dict[str, Any]]] | None = None
        self.sizes: dict[str, int] = {}
        self.engine: Engine = create_engine(make_url(url).set(drivername="postgresql+psycopg"))
        event.listen(self.engine, "before_cursor_execute", self._before)

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Looks at what is carried out in the block."""
        self.plans = []
        yield

    def complaints(self, most: int) -> list[str]:
        """Where the plans read a table through, or read or sort more than `most` rows."""
        assert self.plans, "nothing was looked at"
        found = [f"{why}: {sql}" for sql, plan in self.plans for why in self._walks(plan, most)]
        self.plans = None
        return found

    def _before(self, connection: Any, _cursor: Any, sql: str, parameters: Any, _context: Any, _many: bool) -> None:
        if self.plans is None or not sql.lstrip(" (\n").startswith(_PLANNED):
            return
        raw = connection.connection.driver_connection
        within = raw.info.transaction_status == TransactionStatus.INTRANS
        with ClientCursor(raw) as cursor:
            cursor.execute("SAVEPOINT look" if within else "BEGIN")
            if self.settings and within:
                for name, value in self.settings.items():
                    cursor.execute(f"SET LOCAL {name} TO {value}")
                places = list(dict.fromkeys(_NAMED.findall(sql)))
                text = _NAMED.sub(lambda name: f"${places.index(name[1]) + 1}", sql).replace("%%", "%")
                cursor.execute(f"PREPARE look AS {text}")
                values = f"({', '.join(['%s'] * len(places))})" if places else ""
                cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE look{values}", [parameters[p] for p in places])
            else:
                cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", parameters)
            (plan,) = cursor.fetchone()  # type: ignore[misc]
            cursor.execute("ROLLBACK TO look; RELEASE look" if within else "ROLLBACK")
            if self.settings and within:
                cursor.execute("DEALLOCATE look")
        self.plans.append((sql, (json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"]))

    def _walks(self, node: dict[str, Any], most: int) -> Iterator[str]:
        kind, table, loops = node["Node Type"], node.get("Relation Name", ""), node["Actual Loops"]
        rows = node["Actual Rows"] * loops
        read = rows + node.get("Rows Removed by Filter", 0) * loops
        if kind == "Seq Scan" and self.sizes.get(table, 0) > SMALL:
            yield f"reads all of {table}"
        elif "Scan" in kind and read > most:
            yield f"reads {read:.0f} rows of {table or kind} by {node.get('Index Name')}"
        elif "Sort" in kind and sum(part["Actual Rows"] * part["Actual Loops"] for part in node["Plans"]) > most:
            yield f"sorts by {node['Sort Key']}"
        for part in node.get("Plans", ()):
            yield from self._walks(part, most)


class Sqlite:
    """Counts the steps of the virtual machine: a walk over n rows takes five times n and more."""

    def __init__(self, url: str) -> None:
        self.steps = 0
        self.before = 0
        self.engine: Engine = create_engine(url)
        event.listen(self.engine, "connect", lambda raw, _: raw.set_progress_handler(self._count, 100))

    def _count(self) -> int:
        self.steps += 100
        return 0

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Counts from here on."""
        self.before = self.steps
        yield

    def complaints(self, most: int) -> list[str]:
        """The steps, if they are too many for `most` rows."""
        steps = self.steps - self.before
        return [f"{steps} steps"] if steps > 10_000 + 60 * most else []
