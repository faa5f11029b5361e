"""The command `gnj`. What it needs beyond the library comes with `pip install "gnj[server]"`."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from gnj.queue.errors import GnjError

_EXTRA = frozenset({"click", "h11", "httptools", "httpx", "rich", "starlette", "typer", "uvicorn"})


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs `gnj` with the arguments of the command line, unless others are given, and exits.

    A problem is one line on stderr: 2 when the command line is wrong, 1 for everything else. GNJ_DEBUG=1 adds the
    traceback.
    """
    try:
        from gnj.cli.commands import app
    except ModuleNotFoundError as error:
        if (code := _missing(error)) is None:
            raise
        sys.exit(code)
    sys.exit(_run(app, arguments))


def _missing(error: Exception) -> int | None:
    """The exit code, when it is the extra that is not installed."""
    name = error.name if isinstance(error, ModuleNotFoundError) and error.name else ""
    package = name.partition(".")[0]
    return _problem(error, f'this needs {package}: pip install "gnj[server]"', 1) if package in _EXTRA else None


def _run(app: Callable[..., Any], arguments: Sequence[str] | None) -> int:
    from gnj.cli.output import CommandError, printable

    try:
        code = app(args=arguments, prog_name="gnj", standalone_mode=False)
        sys.stdout.flush()
    except CommandError as error:
        return _problem(error, str(error), error.exit_code)
    except GnjError as error:
        return _problem(error, printable(str(error)), 1)
    except (KeyboardInterrupt, EOFError):
        return 130
    except BrokenPipeError:
        # whoever read the output has seen enough; the interpreter must not try to flush the rest of it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:  # noqa: BLE001 - the one seam: a user gets a line, a developer sets GNJ_DEBUG
        # some of it is only imported by the command that uses it
        if (code := _missing(error)) is not None:
            return code
        # the errors of the command line parser, which has had three homes (click, typer._click, typer.exceptions)
        if (format_message := getattr(error, "format_message", None)) is not None:
            if not (told := printable(format_message())):  # a group of commands alone has shown its help
                return int(getattr(error, "exit_code", 2))
            context = getattr(error, "ctx", None)
            hint = f" (see {context.command_path} --help)" if context is not None else ""
            return _problem(error, told + hint, getattr(error, "exit_code", 2))
        text = printable(f"{type(error).__name__}: {error}")
        return _problem(error, f"{text} (GNJ_DEBUG=1 shows where)", 1)
    return code if isinstance(code, int) else 0


def _problem(error: BaseException, text: str, code: int) -> int:
    if os.environ.get("GNJ_DEBUG") == "1":
        traceback.print_exception(error)
    print(f"gnj: {text}", file=sys.stderr)
    return code
