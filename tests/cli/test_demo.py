from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from gnj.cli import demo_files
from gnj.cli.demo_stage import HELLO


@pytest.fixture
def folder(home):
    """Some files, and some that are none."""
    files = home / "files"
    (files / "deep" / "er").mkdir(parents=True)
    for number in range(20):
        (files / "deep" / f"{number}.txt").write_text(f"line {number}\n" * (number * 50))
    (files / "deep" / "er" / "[red]bold\x1b[31m.txt").write_text("no newline at the end" * 100_000)
    (files / "empty.txt").touch()
    (files / "ünïcode €.bin").write_bytes(bytes(range(256)) * 500)
    (files / "nothing here").mkdir()
    return files


def many(home, count):
    files = home / "many"
    files.mkdir()
    for number in range(count):
        (files / f"{number:04}.txt").write_text(f"{number}\n" * 100)
    return files


def processes_of(environment):
    """Those of this test that are left."""
    left = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if environment["TMPDIR"].encode() in (process / "environ").read_bytes():
                left.append(process.name)
    return left


def nothing_is_left(environment):
    assert list(Path(environment["TMPDIR"]).iterdir()) == []
    assert processes_of(environment) == []


def add_odd_ones(folder):
    """Six that no job can be made for."""
    (folder / "loop").symlink_to(folder)
    (folder / "link").symlink_to(folder / "empty.txt")
    (folder / "broken").symlink_to(folder / "nowhere")
    os.mkfifo(folder / "pipe")
    os.mkfifo(folder / "deep" / "pipe")
    Path(os.fsdecode(os.fsencode(folder) + b"/not utf-8 \xff")).touch()


def test_a_small_folder(gnj, folder, environment, home):
    add_odd_ones(folder)
    before = sorted(home.iterdir())
    result = gnj("demo", folder)
    assert result.returncode == 0, (result.stdout, result.stderr)
    assert result.stderr == ""
    assert "\x1b" not in result.stdout
    assert re.search(r"^Files +23$", result.stdout, re.MULTILINE)
    assert re.search(r"^Lines +10,000$", result.stdout, re.MULTILINE)
    assert re.search(r"^Jobs per second +\d", result.stdout, re.MULTILINE)
    skipped = r"^Skipped +6: 3 a link, 1 a name that is not UTF-8, 2 no regular file$"
    assert re.search(skipped, result.stdout, re.MULTILINE)
    assert "[red]bold\\x1b[31m.txt" in result.stdout
    assert "every file has exactly one successful result: 23 files, 23 jobs" in result.stdout
    assert HELLO.splitlines()[0] in result.stdout
    assert sorted(home.iterdir()) == before
    nothing_is_left(environment)


@pytest.mark.slow
def test_a_folder_without_files(gnj, folder, environment):
    result = gnj("demo", folder / "nothing here")
    assert result.returncode == 0, (result.stdout, result.stderr)
    assert "There is no file in" in result.stdout
    nothing_is_left(environment)


@pytest.mark.slow
def test_killing_the_worker_loses_nothing(gnj, home, environment):
    result = gnj("demo", many(home, 2000), "--kill")
    assert result.returncode == 0, (result.stdout, result.stderr)
    assert re.search(r"killed worker \d+ with signal 9 after \d+ of 2000 files, in the middle of \d+", result.stdout)
    assert "every file has exactly one successful result: 2,000 files, 2,000 jobs" in result.stdout
    assert "all 2,000 have the same size, lines and SHA-256" in result.stdout
    assert "the summary equals the recount" in result.stdout
    assert "WRONG" not in result.stdout
    nothing_is_left(environment)


@pytest.mark.slow
def test_a_worker_that_cannot_be_killed_in_time_is_no_success(gnj, home, environment):
    result = gnj("demo", many(home, 1), "--kill")
    assert result.returncode == 1
    assert "choose a folder with more files" in result.stdout
    nothing_is_left(environment)


def test_keep_stays_up_until_ctrl_c(start, folder, environment):
    demo = start("demo", folder, "--keep")
    demo.wait_for("stay up until Ctrl-C")
    demo.wait_for("Ask it")
    url = demo.wait_for("curl").split()[2].removesuffix("/graphql")
    asked = httpx.post(f"{url}/graphql", json={"query": "{ jobCount }"}, trust_env=False)
    assert asked.json() == {"data": {"jobCount": 25}}
    assert demo.signal(signal.SIGINT) < 2
    assert (demo.process.returncode, demo.errors) == (0, [])
    nothing_is_left(environment)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("delay", [0.0, 0.5, 1.2])
@pytest.mark.slow
def test_stopped_at_any_moment_it_leaves_nothing(start, environment, number, delay):
    demo = start("demo")
    demo.wait_for("gnj demo")
    time.sleep(delay)
    assert demo.signal(number) < 2
    assert demo.process.returncode == 130
    assert demo.lines[-1] == "Stopped; nothing is left behind."
    assert demo.errors == []
    nothing_is_left(environment)


@pytest.mark.slow
def test_stopped_in_the_middle_it_leaves_nothing(start, environment):
    demo = start("demo")
    demo.wait_for("compress: ")
    assert demo.signal(signal.SIGINT) < 2
    assert demo.process.returncode == 130
    nothing_is_left(environment)


@pytest.mark.slow
def test_postgresql(gnj, folder, environment, postgresql_database):
    result = gnj("demo", folder, "--database", postgresql_database())
    assert result.returncode == 0, (result.stdout, result.stderr)
    assert "23 files, 23 jobs" in result.stdout
    nothing_is_left(environment)


def test_the_python_file_it_shows_works(home, environment, start):
    (home / "hello.py").write_text(HELLO)
    made = subprocess.run(
        [sys.executable, "hello.py"], cwd=home, env=environment, capture_output=True, text=True, check=True
    )
    assert made.stdout == "1\n"
    worker = start("worker", "hello:jobs")
    assert worker.wait_for("gnj worker") == "gnj worker for hello, 8 at once, database sqlite:///gnj.db"


def test_a_file_that_vanished_is_skipped(tmp_path):
    assert demo_files.measure(tmp_path, "gone", lambda: None) == {"path": "gone", "skipped": "vanished"}


def test_a_file_that_became_a_pipe_is_skipped(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert demo_files.measure(tmp_path, "pipe", lambda: None) == {"path": "pipe", "skipped": "no regular file"}


def test_a_file_that_became_a_link_is_skipped(tmp_path):
    (tmp_path / "link").symlink_to("/etc/passwd")
    assert "cannot be read" in demo_files.measure(tmp_path, "link", lambda: None)["skipped"]


@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_skipped(tmp_path):
    (tmp_path / "file").touch(0)
    assert "cannot be read" in demo_files.measure(tmp_path, "file", lambda: None)["skipped"]
    (tmp_path / "folder").mkdir(0)
    assert demo_files.scan(tmp_path).skipped == {"a folder that cannot be read": 1}


def test_a_folder_that_is_too_large_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(demo_files, "MAX_FILES", 2)
    for number in range(3):
        (tmp_path / str(number)).touch()
    with pytest.raises(demo_files.TooManyFiles, match="more than 2 files"):
        demo_files.scan(tmp_path)


def test_the_standard_library_is_scanned_without_packages_and_caches():
    found = demo_files.scan(demo_files.standard_library())
    assert len(found.paths) > 500
    assert "json/__init__.py" in found.paths
    assert not any("site-packages" in path or "__pycache__" in path for path in found.paths)
