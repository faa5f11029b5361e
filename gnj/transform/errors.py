"""What is refused when a part of a transformation job is saved or tried, and what rejects one record.

The codes are those of the transformation jobs contract ("Error codes").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gnj.queue.errors import GnjError, InvalidInput


class BadTransform(InvalidInput):
    """A chain of functions cannot be read, or names a function or arguments that do not exist.

    Args:
        message: What is wrong, and what would be right.
        position: 0-based character in the chain, of the name where one is at fault.
        rule: 0-based place of the rule in its mapping; None while it stands alone.
    """

    code = "BAD_TRANSFORM"

    def __init__(self, message: str, *, position: int, rule: int | None = None) -> None:
        super().__init__(message)
        self.position = position
        self.rule = rule

    @property
    def extensions(self) -> Mapping[str, Any]:
        """What the faces show besides the message and the code."""
        return {"rule": self.rule, "position": self.position}


class BadMapping(InvalidInput):
    """A mapping is not a list of rules, or one of its rules is not what it has to be."""

    code = "BAD_MAPPING"


class BadFormat(InvalidInput):
    """A target format is not what it has to be."""

    code = "BAD_FORMAT"


class BadSource(InvalidInput):
    """A source cannot be read as it is described."""

    code = "BAD_SOURCE"


class NoHandler(InvalidInput):
    """The host registered nothing for sources of this type."""

    code = "NO_HANDLER"


class InUse(GnjError):
    """Transformation jobs need what was to be deleted.

    Args:
        what: What they need: "source", "mapping" or "target format".
        job_ids: Their ids, ascending.
    """

    code = "IN_USE"

    def __init__(self, what: str, job_ids: Sequence[int]) -> None:
        ids = ", ".join(map(str, job_ids[:20])) + (", …" if len(job_ids) > 20 else "")
        super().__init__(f"the {what} is used by the jobs {ids}: delete them first")
        self.job_ids = tuple(job_ids)

    @property
    def extensions(self) -> Mapping[str, Any]:
        """What the faces show besides the message and the code."""
        return {"jobIds": [str(id) for id in self.job_ids]}


class NoDefaultFormat(InvalidInput):
    """There is no default target format: name one, or make one the default."""

    code = "NO_DEFAULT_FORMAT"


class StillRunning(GnjError):
    """The run has not ended in the time that it was waited for.

    Args:
        run_id: The run, which goes on.
        seconds: For how long it was waited for.
    """

    code = "STILL_RUNNING"

    def __init__(self, run_id: int, seconds: float) -> None:
        super().__init__(f"the run {run_id} has not ended within {seconds:g} s, and goes on")
        self.run_id = run_id

    @property
    def extensions(self) -> Mapping[str, Any]:
        """What the faces show besides the message and the code."""
        return {"runId": str(self.run_id)}


class AddressRefused(InvalidInput):
    """The source's address is none that may be called."""

    code = "ADDRESS_REFUSED"


class SourceFailed(GnjError):
    """The source did not give its records: it could not be reached, or what it gave cannot be read.

    What it says names no address, no credentials and nothing of the answer.

    Args:
        message: What happened.
        final: Whether another try would end alike: after 4xx, a limit, an address that may not be called, and what cannot be read.
            Connections that fail or end too early and 5xx may end otherwise.
    """

    code = "SOURCE_FAILED"

    def __init__(self, message: str, *, final: bool) -> None:
        super().__init__(message)
        self.final = final


class SourceBlocked(SourceFailed):
    """The source's name leads to an address that may not be called, or it redirects to one: final."""

    code = "ADDRESS_REFUSED"

    def __init__(self, message: str) -> None:
        super().__init__(message, final=True)


class TriedAtOnce(GnjError):
    """Other requests read sources just now, as many as may: each keeps a thread until its source has answered."""

    code = "BUSY"


class RecordRejected(Exception):
    """One record is none that the target format takes; the rest of the run goes on.

    Args:
        reasons: One sentence for each field at fault.
    """

    def __init__(self, reasons: Sequence[str]) -> None:
        super().__init__("; ".join(reasons))
        self.reasons = tuple(reasons)
