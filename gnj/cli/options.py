"""The options that several commands have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, TypeAlias

import typer

from gnj.cli.output import CommandError, LogLevel

Database: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--database",
        metavar="URL",
        envvar="GNJ_DATABASE",
        show_default="sqlite:///gnj.db, in the working directory",
        help="Where the jobs are: [bold]sqlite:///FILE[/], [bold]postgresql://USER:PASSWORD@HOST/NAME[/], [bold]mysql://…[/] or "
        "[bold]memory://[/] (gone when the process ends). A URL with a password is better off in the environment: "
        "every user of the machine can read the command line.",
    ),
]
Files: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--files",
        metavar="DIRECTORY",
        envvar="GNJ_FILES",
        show_default="gnj-files, in the working directory",
        help="Where the files of content jobs are: a directory, or [bold]s3://bucket/prefix[/]. It is made when something is "
        "uploaded.",
    ),
]
FetchAllow: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--fetch-allow",
        metavar="[HOST][:PORT]",
        envvar="GNJ_FETCH_ALLOW",
        show_default="none: only the ports 80 and 443 of public addresses are called",
        help="A host that push workers, and sources and webhooks of transformation jobs, may be called at besides, private ones as well; "
        ":PORT for that port at public addresses. May be repeated, or a list with commas.",
    ),
]
Grace: TypeAlias = Annotated[
    float,
    typer.Option(
        "--grace",
        metavar="SECONDS",
        envvar="GNJ_GRACE",
        min=0,
        max=3600,
        help="How long SIGTERM or Ctrl-C waits for what is under way. A second signal does not wait.",
    ),
]
Log: TypeAlias = Annotated[
    LogLevel,
    typer.Option("--log-level", envvar="GNJ_LOG_LEVEL", case_sensitive=False, help="What is worth a line on stderr."),
]


def is_typed(context: typer.Context, option: str) -> bool:
    """Whether an option stands on the command line itself, and not in the environment."""
    source = context.get_parameter_source(option)
    return source is not None and source.name == "COMMANDLINE"


def allowed_hosts(given: Sequence[str] | None) -> Sequence[str] | None:
    """The hosts of `--fetch-allow`; None: it was not given. Raises `CommandError` for what is none."""
    hosts = [host.strip() for text in given or () for host in text.split(",") if host.strip()]
    check_hosts(hosts)
    return hosts or None


def check_hosts(hosts: Sequence[str]) -> None:
    """Raises `CommandError` for what is no host."""
    from gnj.fetch.policy import Policy

    try:
        Policy(hosts)
    except ValueError as error:
        raise CommandError(f"--fetch-allow: {error}") from None


def as_id(text: str) -> int | None:
    """The id that a text may be where a name would do as well; None for one that is none."""
    return int(text) if text.isdecimal() and text.isascii() and len(text) < 19 else None
