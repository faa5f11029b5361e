"""What a client is told when the server refuses, or does not answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gnj.queue.errors import GnjError


class ClientError(GnjError):
    """The server refused, or could not be asked.

    Args:
        message: What the server says.
        code: The `extensions.code` of its first error, such as `NOT_FOUND` or `LEASE_LOST`.
        errors: All its errors, as they came.
        status: The HTTP status of the answer; None where there was none.
    """

    code = "CLIENT_ERROR"

    def __init__(
        self,
        message: str | None = None,
        code: str | None = None,
        *,
        errors: Sequence[Any] = (),
        status: int | None = None,
    ) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code
        self.errors = tuple(errors)
        self.status = status


class Unreachable(ClientError, ConnectionError):
    """There was no answer, or one that means "later": whether the operation was carried out cannot be told.

    Args:
        message: What happened.
        code: `UNREACHABLE`, or what the server says.
        retry_after: Seconds after which the server wants to be asked again; None where it did not say.
        status: The HTTP status of the answer; None where there was none.
    """

    code = "UNREACHABLE"

    def __init__(
        self,
        message: str | None = None,
        code: str | None = None,
        *,
        retry_after: float | None = None,
        status: int | None = None,
    ) -> None:
        super().__init__(message, code, status=status)
        self.retry_after = retry_after
