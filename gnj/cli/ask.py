"""Asking before something is deleted."""

from __future__ import annotations

import sys
from typing import Annotated, TypeAlias

import typer

from gnj.cli.output import CommandError, printable
from gnj.cli.show import is_terminal

Yes: TypeAlias = Annotated[
    bool,
    typer.Option("--yes", "-y", help="Do not ask; needed where there is no terminal to ask on. Default: off."),
]


def confirm(question: str, what: str) -> None:
    """Returns once a person has said yes. Raises `CommandError` for a no, and where there is nobody to ask: `what` then needs --yes."""
    if not (sys.stdin.isatty() and is_terminal()):
        raise CommandError(f"without a terminal to ask on, {what} needs --yes")
    try:
        sure = typer.confirm(printable(question), err=True)
    except typer.Abort:
        print(file=sys.stderr)
        raise typer.Exit(130) from None
    if not sure:
        raise CommandError("nothing was deleted", exit_code=1)
