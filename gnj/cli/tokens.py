"""`gnj token`: who may call from elsewhere."""

from __future__ import annotations

import re
import sys
from datetime import datetime
from typing import Annotated, Any

import typer

from gnj.cli.options import Database, as_id
from gnj.cli.output import CommandError, printable
from gnj.cli.show import Cell, is_terminal, iso, minute, print_json, print_table
from gnj.queue.errors import InvalidInput, NotFound
from gnj.queue.model import Token
from gnj.queue.tokens import SCOPES

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3_600, "d": 86_400}
_DURATION = re.compile(r"([0-9]{1,9})([smhd]?)")
_COLUMNS = ("id", "name", "scopes", "tenant", "created", "expires", "used")

app = typer.Typer(
    name="token",
    rich_markup_mode="rich",
    no_args_is_help=True,
    help="Make, list and revoke the tokens with which others may call.",
)


@app.command()
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Names it, for you and for [bold]gnj token revoke[/].")],
    database: Database = None,
    scopes: Annotated[
        list[str] | None,
        typer.Option(
            "--scope",
            metavar="SCOPE",
            show_default="none: one is needed",
            help=f"What it allows: {', '.join(SCOPES)}; admin is everything. May be repeated, or a list with commas.",
        ),
    ] = None,
    tenant: Annotated[
        str, typer.Option(metavar="TENANT", show_default="the tenant without a name", help="Whose jobs it is for.")
    ] = "",
    expires: Annotated[
        str | None,
        typer.Option(metavar="DURATION", show_default="never", help="When it ends: 90s, 45m, 12h, 30d from now."),
    ] = None,
) -> None:
    """Make a token and print it, this once: only its digest is kept.

    It is sent as [bold]Authorization: Bearer TOKEN[/].
    """
    from gnj.cli.existing import opened

    scopes = [scope.strip() for text in scopes or () for scope in text.split(",") if scope.strip()]
    if not scopes:
        raise CommandError(f"say what it may do: --scope {', --scope '.join(SCOPES)} (admin is everything)")
    seconds = None if expires is None else _seconds(expires)
    with opened(database) as jobs:
        try:
            print(jobs.create_token(name, scopes=scopes, tenant=tenant, expires=seconds))
        except InvalidInput as error:
            raise CommandError(str(error)) from error
    if is_terminal():
        print("Keep it: nobody can show it again.", file=sys.stderr)


@app.command("list")
def list_tokens(
    database: Database = None,
    as_json: Annotated[  # noqa: FBT002 - how Typer declares a flag
        bool, typer.Option("--json", help="Print one JSON object a line. Default: off.")
    ] = False,
) -> None:
    """List the tokens that are not revoked: what is known of them, never the tokens themselves."""
    from gnj.cli.existing import opened

    with opened(database) as jobs:
        found = jobs.tokens()
        present = jobs.storage.now()
    if as_json:
        for token in found:
            print_json(_told(token))
        return
    print_table(_COLUMNS, [_row(token, present) for token in found], right={"id"}, yielding=["name", "tenant"])


@app.command()
def revoke(
    which: Annotated[str, typer.Argument(metavar="ID|NAME", help="Which: a name goes before an id.")],
    database: Database = None,
) -> None:
    """Take a token away: every server refuses it within two seconds."""
    from gnj.cli.existing import opened

    with opened(database) as jobs:
        names = {token.name for token in jobs.tokens()}
        id = None if which in names else as_id(which)
        try:
            token = jobs.revoke_token(which if id is None else id)
        except (NotFound, InvalidInput) as error:
            raise CommandError(str(error), exit_code=1) from error
    print(printable(f"{token.name} (id {token.id}) is revoked"))


def _seconds(text: str) -> float:
    found = _DURATION.fullmatch(text.strip())
    if found is None or int(found[1]) == 0:
        raise CommandError(f"--expires must be a time such as 90s, 45m, 12h or 30d, not {text!r}")
    return float(int(found[1]) * _UNITS[found[2]])


def _told(token: Token) -> dict[str, Any]:
    return {
        "id": token.id,
        "name": token.name,
        "scopes": token.scopes,
        "tenant": token.tenant,
        "createdAt": iso(token.created_at),
        "expiresAt": None if token.expires_at is None else iso(token.expires_at),
        "lastUsedAt": None if token.last_used_at is None else iso(token.last_used_at),
    }


def _row(token: Token, present: datetime) -> list[Cell]:
    expires: Cell = "" if token.expires_at is None else minute(token.expires_at)
    if token.expires_at is not None and token.expires_at <= present:
        expires = ("expired", "red")
    scopes = token.scopes if isinstance(token.scopes, list) else []
    used = "" if token.last_used_at is None else minute(token.last_used_at)
    return [
        str(token.id),
        token.name,
        " ".join(map(str, scopes)),
        token.tenant,
        minute(token.created_at),
        expires,
        used,
    ]
