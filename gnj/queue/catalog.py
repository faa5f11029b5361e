"""All records there are."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from gnj.queue.model import QUEUE_RECORDS, Record
from gnj.queue.model_transform import TRANSFORM_RECORDS

RECORDS: Final[Mapping[str, type[Record]]] = MappingProxyType({**QUEUE_RECORDS, **TRANSFORM_RECORDS})
"""They, by the name of their table."""
