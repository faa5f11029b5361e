"""The command line as a whole."""

from __future__ import annotations

from typing import Annotated

import typer

from gnj.cli import content, jobs, queues, recurring, tokens, transform
from gnj.cli.demo import demo
from gnj.cli.doctor import doctor
from gnj.cli.holds import hold, release
from gnj.cli.migrate import migrate
from gnj.cli.schema import schema
from gnj.cli.serve import serve
from gnj.cli.types import types
from gnj.cli.worker import worker

app = typer.Typer(
    name="gnj",
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Every command explains itself: [bold]gnj serve --help[/].",
)
for command in (demo, serve, worker, migrate, schema, doctor, types, hold, release):
    app.command()(command)
app.add_typer(jobs.app)
app.add_typer(queues.app)
app.add_typer(recurring.app)
app.add_typer(content.app)
app.add_typer(transform.app)
app.add_typer(tokens.app)


def _print_version(value: bool) -> None:  # noqa: FBT001 - what Typer calls
    if value:
        from gnj import __version__

        print(f"gnj {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    _version: Annotated[  # noqa: FBT002 - how Typer declares a flag
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and end."),
    ] = False,
) -> None:
    """A job queue with GraphQL and REST faces, on the database you already have.

    Start with [bold]gnj demo[/]: a server, a worker and a real pipeline, in less than a minute.
    """
    if context.invoked_subcommand is None:
        print(context.get_help())
