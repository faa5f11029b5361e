"""What a target format of one field makes of a value."""

from typing import Any

from gnj.transform.errors import RecordRejected
from gnj.transform.formats import TargetFormat

NOTHING: tuple[Any, ...] = (None, "", [])
"""What stands for no value."""


def converted(format: TargetFormat, given: Any) -> Any:
    """The value of the field X; None where the record is rejected, for one reason that is about that field."""
    try:
        return format.convert({"X": given})["X"]
    except RecordRejected as rejected:
        (reason,) = rejected.reasons
        assert reason.startswith("X must ")
        assert len(reason) < 200
        return None
