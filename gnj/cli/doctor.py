"""`gnj doctor`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from gnj.cli.doctor_checks import Result, Verdict, judge
from gnj.cli.doctor_surroundings import around
from gnj.cli.options import Database, Files
from gnj.cli.output import printable
from gnj.cli.show import counted, is_terminal, print_json
from gnj.queue.errors import StorageError

if TYPE_CHECKING:
    from gnj.app import GNJ

_STYLES = {Verdict.OK: "green", Verdict.WARNING: "yellow", Verdict.PROBLEM: "bold red", Verdict.NONE: "dim"}


def doctor(
    database: Database = None,
    files: Files = None,
    strict: Annotated[  # noqa: FBT002 - how Typer declares a flag
        bool, typer.Option("--strict", help="Warnings make the exit code 1 as well. Default: off.")
    ] = False,
    as_json: Annotated[  # noqa: FBT002 - how Typer declares a flag
        bool,
        typer.Option(
            "--json", help="Print one JSON object: database, ok, checks (check, verdict, found, advice). Default: off."
        ),
    ] = False,
) -> None:
    """Examine a database: whether gnj can use it, what is wrong with it, and what to do about that.

    No job and no table is changed, and no file made. The exit code is 1 when there is a problem; warnings alone leave it at 0.
    """
    from gnj.cli.database import open_jobs, shown_database

    with open_jobs(database, files=files) as jobs:
        where = shown_database(jobs)
        results = examine(jobs)
    bad = {Verdict.PROBLEM, Verdict.WARNING} if strict else {Verdict.PROBLEM}
    failed = any(result.verdict in bad for result in results)
    if as_json:
        checks = [
            {"check": each.name, "verdict": each.verdict, "found": each.found, "advice": each.advice or None}
            for each in results
        ]
        print_json({"database": where, "ok": not failed, "checks": checks})
    else:
        _show(results)
        _sum_up(results)
    if failed:
        raise typer.Exit(1)


def examine(jobs: GNJ) -> list[Result]:
    """The results of all checks that can be made."""
    from gnj.cli.database import shown_database
    from gnj.cli.existing import absence, is_absent

    where = shown_database(jobs)
    if "durable" not in jobs.storage.capabilities:
        found = f"{where} is inside one process and not durable: its jobs are gone when that ends"
        return [
            Result(
                "database", Verdict.WARNING, found, "for jobs that matter use SQLite in a file, PostgreSQL or MySQL"
            ),
            Result("all else", Verdict.NONE, "there is nothing else to check"),
        ]
    if is_absent(jobs):
        advice = (
            "run gnj migrate, or start what uses it; if it should be there, check --database and the working directory"
        )
        return [Result("database", Verdict.PROBLEM, absence(jobs), advice), _SKIPPED]
    from gnj.storage.sql import SqlStorage
    from gnj.storage.sql.inspect import inspect

    if not isinstance(jobs.storage, SqlStorage):
        found = f"{where} is a storage of its own kind"
        return [
            Result("database", Verdict.OK, found),
            Result("all else", Verdict.NONE, "there is nothing else to check"),
        ]
    try:
        facts = inspect(jobs.storage)
    except StorageError as error:
        advice = _FILE if "embedded" in jobs.storage.capabilities else _SERVER
        return [Result("database", Verdict.PROBLEM, f"{where}: {error}", advice), _SKIPPED]
    answered = Result("database", Verdict.OK, f"{where} answers")
    return [answered, *judge(facts, retention=jobs.settings.retention), *around(jobs)]


_FILE = "see that it is a SQLite database that this user may read and write, its folder included"
_SERVER = "see that the database runs, and that address, user and password in --database or GNJ_DATABASE are right"
_SKIPPED = Result("all else", Verdict.NONE, "was skipped")


def _show(results: Sequence[Result]) -> None:
    """A table on a terminal; elsewhere a line a check, and below it what to do."""
    if not is_terminal():
        for each in results:
            print(f"{each.verdict:<14}  {each.name:<13}  {printable(each.found, None)}")
            if each.advice:
                print(f"{'':<14}  {'':<13}  -> {printable(each.advice, None)}")
        return
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("check", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    table.add_column("found, and what to do", ratio=1)
    for each in results:
        text = Text(printable(each.found, None), "dim" if each.verdict is Verdict.NONE else "")
        if each.advice:
            text.append(f"\n→ {printable(each.advice, None)}", "bold")
        table.add_row(each.name, Text(each.verdict, _STYLES[each.verdict]), text)
    Console(file=sys.stdout, highlight=False).print(table)


def _sum_up(results: Sequence[Result]) -> None:
    counts = {verdict: sum(each.verdict is verdict for each in results) for verdict in Verdict}
    problems, warnings = counts[Verdict.PROBLEM], counts[Verdict.WARNING]
    if not problems and not warnings:
        print("All is well.")
    else:
        print(f"{counted(problems, 'problem')}, {counted(warnings, 'warning')}.")
