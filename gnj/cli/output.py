"""What the commands print: one-line problems, databases without their passwords, logs without control characters."""

from __future__ import annotations

import logging
import re
import signal
import sys
import traceback
from collections.abc import Callable
from enum import StrEnum

_PASSWORD = re.compile(r"(?P<before>://[^:/?#]*:)[^@]*(?=@)")
_PASSWORD_PARAMETER = re.compile(r"(?P<before>[?&](?:password|passwd|sslpassword)=)[^&]*", re.IGNORECASE)
_LONGEST = 2000
_CHATTY = ("alembic.", "httpx")


class CommandError(Exception):
    """What a command cannot do, in one line. Exit code 2: it was asked for the impossible; 1: it was hindered."""

    def __init__(self, message: str, exit_code: int = 2) -> None:
        super().__init__(printable(message))
        self.exit_code = exit_code


def printable(text: str, longest: int | None = _LONGEST) -> str:
    """`text` on one line, its control characters escaped and its lone surrogates too: safe on any terminal.

    What is longer than `longest` is cut.
    """
    if longest is not None and len(text) > longest:
        text = text[:longest] + "…"
    if text.isprintable():
        return text
    text = re.sub(r"\s*[\r\n]+\s*", " ", text.strip())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def shown_url(url: str) -> str:
    """A database's URL with its password hidden."""
    url = _PASSWORD.sub(r"\g<before>***", url)
    return printable(_PASSWORD_PARAMETER.sub(r"\g<before>***", url))


class LogLevel(StrEnum):
    """What is worth a line in the log."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"


class _Formatter(logging.Formatter):
    """A record's message cannot look like another record: whatever a client sends stays on its line."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        record.message = printable(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: object) -> str:  # noqa: N802 - logging's name
        error = ei[1] if isinstance(ei, tuple) else None
        return "".join(traceback.format_exception(error)).rstrip() if isinstance(error, BaseException) else ""


def log_to_stderr(level: LogLevel) -> None:
    """Writes what is logged to stderr: a command is an application, and may configure logging.

    What libraries say at INFO, Alembic of every migration and httpx of every request, is only seen with everything else.
    """
    handler = logging.StreamHandler(sys.stderr)
    if level is not LogLevel.DEBUG:
        handler.addFilter(lambda record: record.levelno >= logging.WARNING or not record.name.startswith(_CHATTY))
    handler.setFormatter(_Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=level.value.upper(), handlers=[handler], force=True)


class Ended(SystemExit):
    """A signal told the process to end."""


def end_on_signals() -> Callable[[], None]:
    """From now on SIGTERM and SIGINT end the process with exit code 0, until a server or worker takes them over.

    They raise `Ended`, by which who catches what other code raises can tell it from an exit of that code's. What is given is to be
    called just before they are taken over: what is raised while Python's collector calls somebody back, or in a `__del__`, is lost, and
    raised there.
    """
    told = False

    def leave(_number: int, _frame: object) -> None:
        nonlocal told
        told = True
        raise Ended(0)

    def look() -> None:
        if told:
            raise Ended(0)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, leave)
    return look
