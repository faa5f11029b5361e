"""`gnj schema`."""

from __future__ import annotations

import difflib
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from gnj.cli.output import CommandError, printable
from gnj.cli.show import counted


class Face(StrEnum):
    """What serves a schema."""

    GRAPHQL = "graphql"
    CONTENT = "content"
    TRANSFORM = "transform"


def schema(
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="[MODULE:ATTR]",
            help="A GNJ, such as app:jobs for the name jobs in app.py: the schema with its custom operations.",
            show_default=False,
        ),
    ] = None,
    face: Annotated[
        Face,
        typer.Option("--face", help="Whose schema: that of jobs, or that of content or transformation jobs."),
    ] = Face.GRAPHQL,
    check: Annotated[
        Path | None,
        typer.Option(
            "--check",
            metavar="FILE",
            show_default="print the schema",
            help="Compare the schema with that of a file and print what has changed since, for clients and in the text. "
            "Exit code 0 when they are equal, 1 when they differ, 2 when the file holds no schema.",
        ),
    ] = None,
) -> None:
    """Print the GraphQL schema that gnj serves, in the schema definition language.

    For code generators and editors: `gnj schema > schema.graphql`. With --check, tell what has changed against such a file.
    """
    text = _text(target, face)
    if check is None:
        print(text)
        return
    changes = compare(_read(check), text, str(check))
    for change in changes:
        print(printable(change, None))
    if changes:
        raise typer.Exit(1)
    print(f"{printable(str(check))} is the schema of this gnj.")


def compare(old: str, new: str, name: str) -> list[str]:
    """What is different in `new`, a line each: what breaks clients first, the text last; nothing when they are equal.

    Raises `CommandError` unless `old`, called `name`, is a schema.
    """
    from graphql import GraphQLError, build_schema
    from graphql.utilities import BreakingChange, DangerousChange, find_schema_changes

    before, after = old.rstrip().splitlines(), new.rstrip().splitlines()
    if before == after:
        return []
    try:
        stored = build_schema(old)
    except (GraphQLError, TypeError, RecursionError) as error:
        raise CommandError(f"{name} is no GraphQL schema: {error}") from error
    told: list[tuple[int, str]] = []
    for change in find_schema_changes(stored, build_schema(new)):
        rank = 0 if isinstance(change, BreakingChange) else 1 if isinstance(change, DangerousChange) else 2
        told.append((rank, f"{('breaking', 'dangerous', 'safe')[rank]}: {change.description}"))
    signs = [line[0] for line in list(difflib.unified_diff(before, after, n=0, lineterm=""))[2:]]
    lines = f"{counted(signs.count('+'), 'line')} added, {signs.count('-'):,} removed"
    return [
        *(line for _, line in sorted(told)),
        f"text: {lines}" if told else f"text: nothing but the text differs ({lines})",
    ]


def _text(target: str | None, face: Face) -> str:
    from graphql import print_schema

    from gnj.api import content
    from gnj.api.jobs import sdl
    from gnj.cli.target import load

    if face is not Face.GRAPHQL:
        if target is not None:
            raise CommandError(f"the schema of --face {face} is the same for every application: leave {target} out")
        return content.sdl() if face is Face.CONTENT else _transform()
    jobs = None if target is None else load(target).jobs
    return sdl() if jobs is None else print_schema(jobs.schema)


def _transform() -> str:
    try:
        from gnj.api import transform
    except ModuleNotFoundError as error:
        raise CommandError(f'this needs {error.name}: pip install "gnj[transform]"', exit_code=1) from error
    return transform.sdl()


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise CommandError(f"there is no file {path}") from None
    except UnicodeDecodeError:
        raise CommandError(f"{path} is no GraphQL schema: it is not UTF-8") from None
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror or error}") from error
