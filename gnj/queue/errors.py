"""Every error gnj raises on purpose.

One root, `GnjError`. Each class carries a stable `code` that the faces pass on (`extensions.code` in GraphQL), and is
also a subclass of the builtin a caller would already catch. The class docstring is the message when none is given.
"""

from __future__ import annotations

from datetime import timedelta


class GnjError(Exception):
    """Something gnj refuses or cannot do."""

    code = "GNJ_ERROR"

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or " ".join((self.__doc__ or "").split()))


class InvalidInput(GnjError, ValueError):
    """An argument has a value gnj does not take."""

    code = "INVALID_INPUT"


class InvalidText(InvalidInput):
    """A text holds a character no storage may keep: NUL, or a surrogate without its other half."""

    code = "INVALID_TEXT"


class NotFound(GnjError, LookupError):
    """There is no such row for this tenant."""

    code = "NOT_FOUND"


class JobNotFound(NotFound):
    """The job does not exist."""

    code = "JOB_NOT_FOUND"


class IllegalTransition(GnjError):
    """The status the row has does not allow this change; nothing was changed."""

    code = "ILLEGAL_TRANSITION"


class LeaseLost(GnjError):
    """The claim is over: its lease ran out, the job ended or was given to another worker; nothing was changed."""

    code = "LEASE_LOST"


class CancelPending(GnjError):
    """The job was asked to stop, and an update was let through since (section 5 of the jobs contract has the text)."""

    code = "CANCEL_REQUESTED"

    def __init__(self) -> None:
        super().__init__(
            "The job was requested to be cancelled at the previous call. Please check for the status "
            '"cancel-requested" after calling updateProcessingInfo in your worker and throw a CancelRequestedError'
        )


class StorageError(GnjError):
    """The storage cannot be used."""

    code = "STORAGE_ERROR"


class StorageUnavailable(StorageError, ConnectionError):
    """The database cannot be reached, or is too busy to answer in time."""

    code = "STORAGE_UNAVAILABLE"


class TimedOut(StorageUnavailable):
    """The operation took longer than it may; it was broken off, and what it had not committed was undone."""

    code = "TIMEOUT"


class Conflict(StorageError):
    """Two transactions stood in each other's way; trying again can help, and gnj does before it says so."""

    code = "CONFLICT"


class Duplicate(GnjError, ValueError):
    """Another job has that jobUniqueId."""

    code = "DUPLICATE"


class NotMigrated(StorageError):
    """The database has no gnj tables yet, or older ones: run `gnj migrate --database URL`, or `gnj migrate MODULE:ATTR`."""

    code = "NOT_MIGRATED"


class DatabaseTooNew(StorageError):
    """The database was migrated by a newer gnj than this one."""

    code = "DATABASE_TOO_NEW"


class WrongDatabase(GnjError):
    """The session or connection is to another database than the jobs are in."""

    code = "WRONG_DATABASE"


class Unauthenticated(GnjError, PermissionError):
    """The request carries no valid credentials."""

    code = "UNAUTHENTICATED"


class Forbidden(GnjError, PermissionError):
    """The caller may not do this."""

    code = "FORBIDDEN"


class SchemaError(GnjError, TypeError):
    """The GraphQL schema cannot be built from what was registered."""

    code = "SCHEMA_ERROR"


class SchemaFrozen(GnjError, RuntimeError):
    """The schema was already built: register before the first request."""

    code = "SCHEMA_FROZEN"


class CancelRequested(Exception):
    """Raised by a handler that stops because its job was asked to be cancelled.

    The job ends as `cancelled`, with the output `{"cancelMessage": message}`.
    """

    def __init__(self, message: str = "No cancel message provided") -> None:
        super().__init__(message)
        self.message = message


class Snooze(Exception):
    """Raised by a handler that cannot do its work yet: the job is queued again, and nothing is counted but the claim.

    Args:
        delay: Seconds, or a timedelta, before which the job is not handed out again.
    """

    def __init__(self, delay: float | timedelta = 0.0) -> None:
        super().__init__(f"come back in {delay}")
        self.delay = delay


class Failed(Exception):
    """Raised by a handler whose try has failed, for a reason that is told as it stands, without the name of an error.

    Args:
        reason: What the job's output tells: `{"error": reason}`.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
