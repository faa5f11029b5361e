"""GraphQL over HTTP, from the commands that measure it, as rows of the table.

    python -m benchmarks.graphql_rows --database postgresql://… --rivals FOLDER

`{__typename}` beside a bare ASGI application (`benchmarks.graphql_http`); jobs acquired and finished on PostgreSQL, beside the server
that the API is modelled on (`benchmarks.graphql_cycles`).
"""

from __future__ import annotations

import sys
from typing import Any
from urllib.parse import quote

from benchmarks.harness import command, original
from benchmarks.harness.command import Measurement
from benchmarks.harness.processes import call
from benchmarks.harness.results import Sample
from benchmarks.harness.rows import OURS, Row, Target
from benchmarks.harness.run import ROOT, Run, plain

BARE = "bare ASGI"
ORIGINAL = "the original"
_SCHEMA = "bench_graphql"

PING = Row(
    key="http-typename",
    title="{__typename} over HTTP, 32 clients",
    unit="requests/s",
    group="{__typename} over HTTP, 32 clients",
    others=(BARE,),
    must=(Target(0.6, (BARE,)),),
    aim=(Target(0.8, (BARE,)),),
    needs="",
)


def _cycles(queued: int, must: float, aim: float) -> Row:
    return Row(
        key=f"http-cycles-{queued}",
        title=f"acquire and finish over HTTP, 32 clients, {queued:,} queued",
        unit="cycles/s",
        group="Acquire and finish over HTTP, PostgreSQL, 32 clients",
        others=(ORIGINAL,),
        must=(Target(must, (ORIGINAL,)),),
        aim=(Target(aim, (ORIGINAL,)),),
    )


CYCLES = {1_000: _cycles(1_000, 5, 10), 100_000: _cycles(100_000, 15, 30)}


def _record(run: Run, row: Row, rates: dict[str, list[float]], names: dict[str, str]) -> None:
    for told, name in names.items():
        for rep, rate in enumerate(rates.get(told, ())):
            run.recorder.add(Sample(row.key, name, rate, rep), row.unit)


def _call(run: Run, module: str, *arguments: object) -> Any:
    asked = [f"--seconds={run.options.http}", f"--rounds={run.options.reps}", "--json", *map(str, arguments)]
    return call([sys.executable, "-m", f"benchmarks.{module}", *asked], {"PYTHONPATH": str(ROOT)}, cwd=ROOT)


def _take_ping(run: Run, rep: int) -> None:
    try:
        told = _call(run, "graphql_http")
        _record(run, PING, told["per_second"], {"gnj": OURS, "bare": BARE})
    except Exception as error:
        run.recorder.add(Sample(PING.key, OURS, None, rep, {"failed": str(error)}))


def _take_cycles(run: Run, rep: int) -> None:
    wanted = {queued: row for queued, row in CYCLES.items() if run.wants(row)}
    database = plain(run.options.database or "")
    # the command empties the table of jobs: in a schema of its own, nobody else's
    schema = f"options={quote(f'-csearch_path={_SCHEMA}')}"
    arguments = ["--database", f"{database}{'&' if '?' in database else '?'}{schema}"]
    arguments += ["--queued", ",".join(map(str, wanted))]
    rivals = run.options.rivals
    if rivals is not None and original.is_there(rivals) and ORIGINAL in (run.options.only or (ORIGINAL,)):
        arguments += ["--rivals", str(rivals)]
    try:
        _in_schema(database, f"DROP SCHEMA IF EXISTS {_SCHEMA} CASCADE", f"CREATE SCHEMA {_SCHEMA}")
        for point in _call(run, "graphql_cycles", *arguments):
            _record(run, CYCLES[point["queued"]], point["per_second"], {"gnj": OURS, "original": ORIGINAL})
    except Exception as error:
        for row in wanted.values():
            run.recorder.add(Sample(row.key, OURS, None, rep, {"failed": str(error)}))
    finally:
        _in_schema(database, f"DROP SCHEMA IF EXISTS {_SCHEMA} CASCADE")


def _in_schema(database: str, *statements: str) -> None:
    import psycopg

    with psycopg.connect(database, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


MEASUREMENTS = (
    Measurement((PING,), _take_ping, alone=True),
    Measurement(tuple(CYCLES.values()), _take_cycles, alone=True),
)


if __name__ == "__main__":
    command.main(__doc__, MEASUREMENTS)
