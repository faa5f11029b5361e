"""Points in time as clients and files write them: RFC 3339, with a zone."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final

from gnj.queue.errors import InvalidInput
from gnj.queue.values import check_time, shown

# No two alternatives match the same text: linear time.
_RFC3339: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt](?:[01][0-9]|2[0-3]):[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,30})?(?:[Zz]|[+-][0-9]{2}:[0-9]{2})"
)


def moment(value: object, what: str) -> datetime:
    """The point in time that a text names, in UTC, cut to whole milliseconds.

    Raises `InvalidInput`, naming `what`: for a text without a zone, because a server does not know the client's; and for
    years before 1970.
    """
    if isinstance(value, str) and _RFC3339.fullmatch(value):
        try:
            return check_time(datetime.fromisoformat(value.upper()), what)
        except InvalidInput:
            raise
        except ValueError:  # of that shape, and no such day or hour
            pass
    raise InvalidInput(f"{what} must be a date and time as 2030-01-31T12:00:00Z, with a time zone, not {shown(value)}")
