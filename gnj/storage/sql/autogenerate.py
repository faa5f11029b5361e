"""For hosts that let Alembic compare their models with a database in which gnj has its tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from gnj.storage.sql.schema import DEFAULT_PREFIX, Tables

IncludeObject: TypeAlias = Callable[[Any, str | None, str, bool, Any], bool]
"""What Alembic calls with the object, its name and type, whether it was reflected, and what it is compared to."""


def leave_out_gnj(
    *, prefix: str = DEFAULT_PREFIX, schema: str | None = None, include_object: IncludeObject | None = None
) -> IncludeObject:
    """The `include_object` of `context.configure` with which autogenerate neither drops nor creates the tables of gnj.

    Args:
        prefix: How their names begin, as `GNJ` has it.
        schema: Where they are, as `GNJ` has it; "public" is what Alembic calls None.
        include_object: The host's own, asked about everything else.

    Raises `InvalidInput` for a prefix or schema that `GNJ` would not take.
    """
    ours = Tables(prefix, schema)
    # which tables there are depends on the database
    known = [ours, Tables(prefix, schema, keyed=True)]
    names = {table.name for each in known for table in each.metadata.tables.values()} | {ours.version_table}
    place = None if schema == "public" else schema

    def include(object: Any, name: str | None, type_: str, reflected: bool, compare_to: Any) -> bool:  # noqa: FBT001 - Alembic's
        if type_ == "table" and name in names and object.schema == place:
            return False
        return include_object is None or include_object(object, name, type_, reflected, compare_to)

    return include
