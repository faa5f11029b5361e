"""The command line, from its help to a table of small sizes."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.harness.command import main
from benchmarks.harness.options import wanted
from benchmarks.table import MEASUREMENTS

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "benchmarks" / "README.md").read_text("utf-8")
COMMANDS = sorted(set(re.findall(r"python -m (benchmarks\.[\w.]+)", README)))
SMALL = ["--small", "--only=gnj,raw", "--jobs=200"]


@pytest.fixture(autouse=True)
def no_handler() -> None:
    """The tests' process keeps its own handler of SIGTERM."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


HELP = """
import runpy, sys
for module in sys.argv[1:]:
    sys.argv[1:] = ["--help"]
    print("==", module)
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        print("ended with", ended.code)
"""


def test_help() -> None:
    """In one process: to load what they need took each of them half a second."""
    command = [sys.executable, "-W", "ignore::RuntimeWarning:runpy", "-c", HELP, *COMMANDS]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (told.returncode, told.stderr) == (0, "")
    parts = {part.split("\n")[0]: part.partition("\n")[2] for part in told.stdout.split("== ")[1:]}
    assert [*parts] == COMMANDS
    for module, text in parts.items():
        assert text.startswith(f"usage: python -m {module} ")
        assert text.endswith("\nended with 0\n")


@pytest.mark.parametrize("module, arguments", [("benchmarks.acquire_cpu", ["--rounds", "1"])])
def test_what_stands_for_parts_of_gnj_has_what_these_ask_of_it(module, arguments) -> None:
    command = [sys.executable, "-m", module, *arguments]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (told.returncode, told.stderr) == (0, "")
    assert told.stdout.splitlines()[0].endswith(" us")


def test_help_tells_rows_and_contenders(capsys) -> None:
    with pytest.raises(SystemExit):
        main("", MEASUREMENTS, ["--help"])
    told = capsys.readouterr().out
    lines = {line.split()[0]: line for line in told.splitlines() if line.startswith("  ") and line.strip()}
    for row in (row for each in MEASUREMENTS for row in each.rows):
        assert lines[row.key].endswith(f"{row.title}, {row.unit}")
    assert "contenders: gnj, pgqueuer, graphile-worker, raw, raw 500, huey, pg-boss, procrastinate" in told


def test_the_readme_names_each_command() -> None:
    modules = {f"benchmarks.{path.stem}" for path in (ROOT / "benchmarks").glob("*.py")}
    assert modules <= set(COMMANDS)
    assert {"benchmarks.reliability", "benchmarks.reliability.mutants"} <= set(COMMANDS)


def test_the_table_has_each_row_once() -> None:
    keys = [row.key for each in MEASUREMENTS for row in each.rows]
    assert len(keys) == len(set(keys))


def test_rows_are_asked_for_by_how_they_begin() -> None:
    assert wanted("drain-sqlite", [])
    assert wanted("drain-sqlite", ["drain"])
    assert wanted("drain-sqlite", ["latency", "drain-sqlite"])
    assert not wanted("drain-sqlite", ["dra"])


@pytest.mark.parametrize(
    "arguments,told",
    [
        (["--rows=nonsense"], "no row begins with nonsense; there are: drain-postgresql"),
        (["--rows=concurrent"], "concurrent-postgresql: needs --database postgresql://"),
        (["--rows=backlog-mariadb"], "needs --mariadb mysql://"),
        (["--rows=concurrent", "--database=postgresql://127.0.0.1:1/none"], "no database answers for --database"),
        (["--reps=0"], "must be at least 1"),
        (["--only=gnj,nobody"], "nobody in these rows is called nobody; there are: gnj, pgqueuer"),
        (["--rows=drain-sqlite", "--only=pgqueuer"], "is called pgqueuer; there are: gnj, huey, raw, raw 500"),
        (["--rivals=/nowhere"], "no rivals are in /nowhere: `python -m benchmarks.setup_rivals /nowhere`"),
        (["--rivals=/dev"], "no rivals are in /dev"),
        (["--from=/nowhere"], "--from /nowhere: No such file or directory"),
        (["--from=/tmp"], "--from /tmp: Is a directory"),
        (["--from=/dev/null"], "--from /dev/null: no measurement is in it"),
        ([f"--from={__file__}"], "line 1 is not what a run saves"),
    ],
)
def test_what_cannot_be_measured_is_refused(arguments, told, capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        main("", MEASUREMENTS, arguments)
    assert ended.value.code == 2
    err = capsys.readouterr().err
    assert told in err
    assert len(err[: err.index("error: ")].splitlines()) <= 2  # what is wrong is not below a screen of usage


@pytest.mark.slow
def test_a_table_is_printed_saved_and_printed_again(tmp_path, capsys) -> None:
    main("", MEASUREMENTS, [*SMALL, "--rows=drain-sqlite,bulk-sqlite,import", f"--save={tmp_path}"])
    out, err = capsys.readouterr()
    rows = [line for line in out.splitlines() if line.startswith("| ")]
    assert [re.sub(" +", " ", row.split("|")[1]).strip() for row in rows[1:]] == [
        "drain no-ops, SQLite, synchronous FULL, jobs/s",
        "enqueue in one call, SQLite, jobs/s",
        "import gnj, ms",
    ]
    assert "failed" not in out
    assert "verdict" not in out.splitlines()[1]
    assert "Small sizes: the figures mean nothing" in out
    assert "1  drain-sqlite" in err  # a line of progress
    assert {path.name for path in tmp_path.iterdir()} == {"performance.jsonl", "performance.md", "performance.svg"}
    assert '"fact": "state"' in (tmp_path / "performance.jsonl").read_text()
    main("", MEASUREMENTS, [f"--from={tmp_path / 'performance.jsonl'}"])
    assert [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")] == rows
    main("", MEASUREMENTS, [f"--from={tmp_path / 'performance.jsonl'}", "--rows=import"])
    assert [line for line in capsys.readouterr().out.splitlines() if line.startswith("| import")]


def test_a_backlog_on_sqlite(capsys) -> None:
    sizes = ["--queued=500", "--before=500", "--ended=500", "--cycles=2"]
    main("", MEASUREMENTS, ["--small", *sizes, "--rows=backlog-sqlite-held,backlog-sqlite-twenty"])
    out = capsys.readouterr().out
    assert "failed" not in out
    assert out.count("steps") == 2
    # the plan is the same whatever stands in the table: a tenth more at most, of so few jobs
    assert all(float(ratio) < 1.2 for ratio in re.findall(r"steps .*?\(x ([\d.]+)\)", out))


def test_an_interrupted_run_prints_what_it_has_and_leaves_no_worker(tmp_path) -> None:
    command = [
        sys.executable,
        "-m",
        "benchmarks.drain",
        "--rows=drain-sqlite",
        "--only=raw",
        "--jobs=300",
        "--reps=999",
    ]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stderr is not None
        while "drain-sqlite" not in process.stderr.readline():
            assert process.poll() is None
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "interrupted" in err
    assert "drain no-ops, SQLite" in out
    assert list(tmp_path.iterdir()) == []
    found = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(tmp_path) not in found
