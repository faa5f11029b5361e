"""How much of transformation jobs and their parts a tenant may keep. They are all listed at once, so all of it is bounded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from gnj.queue.errors import InvalidInput
from gnj.queue.model_transform import TransformFormat, TransformJob, TransformMapping, TransformSource
from gnj.queue.records import Record
from gnj.queue.storage import Rows
from gnj.queue.values import dump_json
from gnj.queue.where import equal
from gnj.settings_transform import TransformLimits
from gnj.transform.errors import BadFormat, BadMapping, BadSource

PART: Final = 2 * 1024 * 1024
"""Bytes of one source, mapping or target format (`size_of`); a mapping's rules have a bound of their own."""
_PARTS: Final[Mapping[type[Record], tuple[str, type[InvalidInput]]]] = {
    TransformSource: ("source", BadSource),
    TransformMapping: ("mapping", BadMapping),
    TransformFormat: ("target format", BadFormat),
}


def size_of(values: Mapping[str, Any]) -> int:
    """Bytes of a part that is stored with these values: of its texts in UTF-8, and of its lists and objects as compact JSON."""
    texts = (value if isinstance(value, str) else dump_json(value) for value in values.values() if _counts(value))
    return sum(len(text.encode()) for text in texts)


def sized(kind: type[Record], values: Mapping[str, Any]) -> Mapping[str, Any]:
    """The values of a new row, with the size of a part. Raises `BadSource`, `BadMapping`, `BadFormat` for one of more than `PART`."""
    if kind not in _PARTS:
        return values
    (what, error), size = _PARTS[kind], size_of(values)
    if size > PART:
        raise error(f"the {what} must have at most {PART:,} bytes with all that belongs to it, not {size:,}")
    return {**values, "size": size}


def check_room(tx: Rows, kind: type[Record], tenant: str, values: Mapping[str, Any], limits: TransformLimits) -> None:
    """Raises `InvalidInput` if the tenant has so much that a row of these values, of `sized`, is too much.

    Two transactions that ask at once do not see each other's rows: they have to come one after the other.
    """
    what = _PARTS[kind][0] if kind in _PARTS else "job"
    there = equal(TransformJob, removed_at=None) if kind is TransformJob else equal(kind)
    if tx.count(kind, there, tenant=tenant) >= limits.jobs:
        raise InvalidInput(f"there are {limits.jobs:,} {what}s already, and no more can be kept: delete one")
    if kind not in _PARTS:
        return
    kept = sum(size * count for part in _PARTS for (size,), count in tx.tally(part, ("size",), tenant=tenant).items())
    if kept + values["size"] > limits.bytes:
        raise InvalidInput(
            f"all sources, mappings and target formats may have {limits.bytes:,} bytes together, and have {kept:,}: a {what} of "
            f"{values['size']:,} is too much; delete some that no job uses"
        )


def _counts(value: Any) -> bool:
    return isinstance(value, (str, list, dict))
