"""The command line of the table and of each of its parts."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness import chart, machine, options, results
from benchmarks.harness.options import Options, wanted
from benchmarks.harness.results import Recorder, Results
from benchmarks.harness.rows import OURS, Row, table
from benchmarks.harness.run import SCRIPT_OF, Run, plain
from benchmarks.setup_rivals import node_of, python_of

_FILE = "performance"


@dataclass(frozen=True, slots=True)
class Measurement:
    """A part of the table.

    Args:
        rows: The rows that it fills.
        take: Takes one repetition of them; or all of them, for a measurement that has its own way of repeating.
        alone: Whether `take` sees to the repetitions.
    """

    rows: tuple[Row, ...]
    take: Callable[[Run, int], None]
    alone: bool = False


def main(description: str, measurements: Sequence[Measurement], arguments: Sequence[str] | None = None) -> None:
    """Measures, and prints the table of what was measured."""
    rows = [row for measurement in measurements for row in measurement.rows]
    parser = options.parser(description)
    parser.epilog = _epilog(rows)
    parser.add_argument(
        "--from", dest="saved", type=Path, metavar="FILE", help="measure nothing: print what a run has saved"
    )
    given = parser.parse_args(arguments)
    told = options.read(given)
    if unknown := [name for name in told.rows if not any(wanted(row.key, [name]) for row in rows)]:
        parser.error(f"no row begins with {', '.join(unknown)}; there are: {', '.join(row.key for row in rows)}")
    if given.saved is not None:
        found = _read(parser, given.saved)
    else:
        _check(parser, told, rows)
        # whoever ends a run by SIGTERM wants its processes ended as Ctrl-C ends them
        signal.signal(signal.SIGTERM, _interrupt)
        found = _measured(told, measurements, small=given.small)
    print(f"\n{table([row for row in rows if wanted(row.key, told.rows)], found)}")
    for row in rows:
        for sample in found.failures(row.key):
            print(f"failed: {row.key}, {sample.contender}: {sample.notes.get('failed')}")
    if told.save is not None:
        _write(told.save, rows, found)
    if getattr(found, "interrupted", False):
        sys.exit(130)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


class _Interruptible(Recorder):
    interrupted = False


def _epilog(rows: Sequence[Row]) -> str:
    width = max(len(row.key) for row in rows)
    lines = [f"  {row.key:{width}}  {row.title}, {row.unit}" for row in rows]
    return "\n".join(["rows:", *lines, "", f"contenders: {', '.join(contenders(rows))}"])


def contenders(rows: Sequence[Row]) -> list[str]:
    """Whom `--only` can choose."""
    names = dict.fromkeys(name for row in rows for name in (OURS, *row.others))
    return [name for name in names if name.split()[0] in SCRIPT_OF]


def _read(parser: argparse.ArgumentParser, file: Path) -> Results:
    try:
        found = results.read(file)
    except OSError as error:
        parser.error(f"--from {file}: {error.strerror}")
    except ValueError as error:
        parser.error(f"--from {file}: {error}")
    if not found.samples:
        parser.error(f"--from {file}: no measurement is in it")
    return found


def _measured(told: Options, measurements: Sequence[Measurement], *, small: bool) -> Results:
    file = None
    if told.save is not None:
        told.save.mkdir(parents=True, exist_ok=True)
        file = told.save / f"{_FILE}.jsonl"
    recorder = _Interruptible(file)
    with tempfile.TemporaryDirectory(prefix="gnj-bench-") as folder:
        run = Run(told, recorder, Path(folder))
        todo = [each for each in measurements if any(run.wants(row) for row in each.rows)]
        recorder.fact("machine", **machine.description())
        if small:
            recorder.fact("small")
        try:
            for rep in range(told.reps):
                for each in todo:
                    if each.alone and rep > 0:
                        continue
                    recorder.fact("state", rep=rep, rows=[row.key for row in each.rows], **machine.state(run.folder))
                    each.take(run, rep)
        except KeyboardInterrupt:
            recorder.interrupted = True
            recorder.say("interrupted: what was measured so far")
        finally:
            run.drop()
            recorder.close()
    return recorder


def _check(parser: argparse.ArgumentParser, told: Options, rows: Sequence[Row]) -> None:
    """Ends with a word about what is missing, where nothing can be measured; tells what is left out."""
    asked = [row for row in rows if wanted(row.key, told.rows)]
    known = contenders(asked)
    if unknown := [name for name in told.only if name not in known]:
        parser.error(f"nobody in these rows is called {', '.join(unknown)}; there are: {', '.join(known)}")
    if told.rivals is not None and not (python_of(told.rivals).exists() or node_of(told.rivals).is_dir()):
        parser.error(
            f"no rivals are in {told.rivals}: `python -m benchmarks.setup_rivals {told.rivals}` installs them there"
        )
    given = {"postgresql": told.database, "mariadb": told.mariadb}
    flags = {"postgresql": "--database postgresql://…", "mariadb": "--mariadb mysql://…"}
    for server, flag in flags.items():
        if (without := [row.key for row in asked if row.needs == server]) and given[server] is None:
            if len(without) == len(asked):
                parser.error(f"{', '.join(without)}: needs {flag}")
            print(f"left out, for want of {flag}: {', '.join(without)}", file=sys.stderr)
        elif without:
            _connect(parser, str(given[server]), flag)
    if told.rivals is None:
        print("left out, for want of --rivals FOLDER: all but gnj and raw", file=sys.stderr)


def _connect(parser: argparse.ArgumentParser, url: str, flag: str) -> None:
    from sqlalchemy import create_engine, exc

    from gnj.storage.sql.engine import parsed

    try:
        engine = create_engine(parsed(plain(url)))
        engine.connect().close()
        engine.dispose()
    except (exc.SQLAlchemyError, ValueError) as error:
        reason = str(getattr(error, "orig", error)).strip().splitlines()[0]
        parser.error(f"no database answers for {flag.split(maxsplit=1)[0]}: {reason}")


def _write(folder: Path, rows: Sequence[Row], found: Results) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{_FILE}.jsonl").write_text("\n".join(found.lines()) + "\n", "utf-8")
    (folder / f"{_FILE}.md").write_text(table(rows, found) + "\n", "utf-8")
    (folder / f"{_FILE}.svg").write_text(chart.svg(rows, found), "utf-8")
    print(f"saved: {folder / _FILE}.jsonl, .md, .svg")
