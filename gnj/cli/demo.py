"""`gnj demo`: the whole of gnj at work, on files that every machine has."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from gnj.cli.demo_files import standard_library
from gnj.cli.output import CommandError


def demo(
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="FOLDER",
            show_default="Python's own standard library, without installed packages and caches",
            help="Whose files are compressed. They are only read; nothing is written there.",
        ),
    ] = None,
    keep: Annotated[  # noqa: FBT002 - how Typer declares a flag
        bool,
        typer.Option("--keep", help="Leave server and worker up afterwards, until Ctrl-C. Default: off."),
    ] = False,
    kill: Annotated[  # noqa: FBT002 - how Typer declares a flag
        bool,
        typer.Option(
            "--kill",
            help="Kill the worker with signal 9 after a third of the files, start another, and prove that nothing was "
            "lost. Default: off.",
        ),
    ] = False,
    database: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            show_default="SQLite in a temporary folder",
            help="Where the jobs are; gnj's tables are made there and the demo's jobs stay in them.",
        ),
    ] = None,
    port: Annotated[
        int, typer.Option(metavar="PORT", min=0, max=65535, help="Of the server, on 127.0.0.1; 0 picks a free one.")
    ] = 0,
) -> None:
    """Run a real pipeline: a server, a worker, and one job for every file of a folder.

    Step 1 scans the folder. Step 2 is a batch with a job per file: compress it, SHA-256, count its lines. Step 3 adds up.
    Everything goes through GraphQL over HTTP, as any client would do it. The exit code is 0 only when all of it is right.
    """
    root = _checked(folder)
    from gnj.cli.demo_processes import Children, Interrupted, Interrupts
    from gnj.cli.demo_report import make_console
    from gnj.cli.demo_stage import Stage, print_next

    if database is not None:
        _prepare(database)
    console = make_console()
    good = False
    with Interrupts() as interrupts:
        try:
            with _home() as home, Children(interrupts, home) as children, interrupts.allowed():
                stage = Stage(console, children, home, root, database, port)
                good = stage.run(kill=kill)
                if keep:
                    stage.keep()
                else:
                    print_next(console)
        except Interrupted:
            if not (good and keep):
                console.print("Stopped; nothing is left behind.", markup=False)
                raise typer.Exit(130) from None
        finally:
            if console.is_terminal:
                console.show_cursor()
    if not good:
        raise typer.Exit(1)


def _checked(folder: Path | None) -> Path:
    if folder is None:
        return standard_library()
    try:
        root = folder.resolve(strict=True)
        str(root).encode()
        if not root.is_dir():
            raise CommandError(f"{folder} is no folder: the demo takes a folder and works on its files")
        with os.scandir(root):
            return root
    except FileNotFoundError:
        raise CommandError(f"there is no folder {folder}") from None
    except UnicodeEncodeError:
        raise CommandError(f"the name {folder} is not UTF-8, which a job's input has to be") from None
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CommandError(f"{folder} cannot be read: {reason}") from None


def _prepare(database: str) -> None:
    from gnj.cli.database import bring_up_to_date, open_jobs, refuse_memory

    with open_jobs(database) as jobs:
        refuse_memory(jobs, "server and worker of the demo are two processes")
        bring_up_to_date(jobs)


@contextmanager
def _home() -> Iterator[Path]:
    home = Path(tempfile.mkdtemp(prefix="gnj-demo-"))
    try:
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)
