"""One run of `gnj demo`: the server, the worker, the pipeline, and what is said about them."""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from textwrap import indent
from typing import Any

from rich.console import Console

from gnj.cli import demo_files
from gnj.cli.demo_client import SCAN, SUMMARY, Client, Progress
from gnj.cli.demo_processes import Child, Children
from gnj.cli.demo_report import Display, Result, make_display, print_checks, print_result
from gnj.cli.output import CommandError, printable, shown_url

_CONCURRENCY = 4
_KILL_LEASE = 3
_MEMBER = "status output attempt stalledCount startedAt endedAt"
_SAME = ("bytesIn", "bytesOut", "sha256", "lines")
HELLO = """\
import gnj

jobs = gnj.GNJ("sqlite:///gnj.db")

@jobs.handler("hello")
def hello(job):
    return {"text": f"Hello {job.input['name']}"}

if __name__ == "__main__":
    print(jobs.enqueue("hello", {"name": "world"}).id)"""


class Stage:
    """One run.

    Args:
        console: Where it is shown.
        children: Where processes are started.
        home: A folder of its own.
        root: Whose files.
        database: The URL that was asked for, if any.
        port: Of the server.
    """

    def __init__(
        self, console: Console, children: Children, home: Path, root: Path, database: str | None, port: int
    ) -> None:
        self._console = console
        self._children = children
        self._root = root
        self._database = database or f"sqlite:///{(home / 'gnj.db').as_posix()}"
        self._port = port
        self._url = ""

    def run(self, *, kill: bool) -> bool:
        """The pipeline from beginning to end, and whether everything is as it must be."""
        begin = time.monotonic()
        self._print(f"gnj demo: the files of {self._root}, jobs in {shown_url(self._database)}")
        self._start_server()
        worker = self._start_worker(kill=kill)
        self._print(f"server {self._url}, worker {worker.pid}")
        with Client(self._url) as client:
            pipeline = client.create_pipeline("demo", str(self._root))
            batch = client.batch_of(pipeline)
            killing = _Killing(self, client, batch, worker) if kill else None
            client.start(pipeline)
            with make_display(self._console) as display:
                status = self._watch(client, pipeline, batch, display, killing)
            wall = time.monotonic() - begin
            members = list(client.members(batch, _MEMBER))
            steps = client.steps(pipeline)
        if status != "successful":
            raise CommandError(f"the pipeline {status}: {_reason([*steps.values(), *members])}", exit_code=1)
        result = Result(steps[SUMMARY]["output"], members, steps[SCAN]["output"]["skipped"], wall)
        print_result(self._console, result)
        if not members:
            self._print(f"There is no file in {self._root}.")
        checks = [_all_successful(members, steps)]
        if killing is not None:
            checks += [*killing.checks(members), *_recount(self._root, result)]
        print_checks(self._console, checks)
        return all(good for good, _ in checks)

    def keep(self) -> None:
        """Waits for Ctrl-C, with server and worker up."""
        query = '{"query": "{ jobCount pipeline { id name status } }"}'
        self._print(
            f"\nServer and worker stay up until Ctrl-C:\n  {self._url}/graphql\n  {self._url}/readyz\n\nAsk it:\n"
            f"  curl -s {self._url}/graphql -H 'content-type: application/json' -d '{query}'\n"
            f"  curl -s {self._url}/readyz"
        )
        while True:
            self._children.check()
            time.sleep(0.2)

    def kill(self, worker: Child) -> None:
        """Kills the worker with signal 9."""
        self._children.kill(worker)

    def replace_worker(self) -> Child:
        """Another worker in the place of the killed one."""
        return self._start_worker(kill=True)

    def _start_server(self) -> None:
        environment = {"GNJ_DATABASE": self._database}
        server = self._children.start("serve", "--port", str(self._port), "--grace", "1", **environment)
        self._url = next(word for word in server.line.split() if word.startswith("http://")).rpartition("/")[0]

    def _start_worker(self, *, kill: bool) -> Child:
        lease = _KILL_LEASE if kill else 30
        options = {"--concurrency": _CONCURRENCY, "--lease": lease, "--poll": 0.1, "--grace": 1}
        arguments = [str(each) for option in options.items() for each in option]
        environment = {"GNJ_DATABASE": self._database, "GNJ_DEMO_SERVER": self._url}
        return self._children.start("worker", "gnj.cli.demo_handlers:handlers", *arguments, **environment)

    def _watch(self, client: Client, pipeline: int, batch: int, display: Display, killing: _Killing | None) -> str:
        while True:
            progress = client.progress(pipeline, batch)
            display.show(progress)
            if progress.status not in ("planned", "processing"):
                return progress.status
            if killing is not None and killing.is_due(progress) and (line := killing.do(progress)) is not None:
                display.say(line)
            self._children.check()
            # the third of a small folder is over soon
            time.sleep(0.05 if killing is not None and killing.pending else 0.2)

    def _print(self, text: str) -> None:
        self._console.print(text, markup=False)
        self._console.file.flush()


class _Killing:
    """The murder of a worker, and what it led to."""

    def __init__(self, stage: Stage, client: Client, batch: int, worker: Child) -> None:
        self._stage = stage
        self._client = client
        self._batch = batch
        self._worker = worker
        self._open = 0
        self.pending = True
        """Whether it is still to be done."""

    def is_due(self, progress: Progress) -> bool:
        """Whether a third of the files is done, and not all."""
        enough = progress.scanned and progress.done >= max(1, progress.planned // 3)
        return self.pending and enough and progress.done < progress.planned

    def do(self, progress: Progress) -> str | None:
        """Kills the worker, and starts another. What happened; None if it has nothing in hand, which would prove nothing."""
        killed = self._worker
        killed.freeze()
        self._open = self._client.running(self._batch)
        if not self._open:
            killed.thaw()
            return None
        self._stage.kill(killed)
        self.pending = False
        self._worker = self._stage.replace_worker()
        return (
            f"killed worker {killed.pid} with signal 9 after {progress.done} of {progress.planned} files, "
            f"in the middle of {self._open}; worker {self._worker.pid} goes on"
        )

    def checks(self, members: list[dict[str, Any]]) -> list[tuple[bool, str]]:
        """What must hold afterwards."""
        if self.pending:
            return [(False, "the worker was done before it could be killed: choose a folder with more files")]
        lost = sum(member["stalledCount"] for member in members)
        again = sum(member["attempt"] > 1 for member in members)
        text = (
            f"{self._open} claims of the killed worker were lost; when their leases of {_KILL_LEASE} s had run out, "
            f"{again} jobs were taken back and run again"
        )
        return [(lost >= again >= self._open, text)]


def _all_successful(members: list[dict[str, Any]], steps: dict[str, dict[str, Any]]) -> tuple[bool, str]:
    counted = Counter(member["output"]["path"] for member in members if member["status"] == "successful")
    good = set(counted.values()) <= {1} and len(counted) == len(members) == steps[SCAN]["output"]["files"]
    return good, f"every file has exactly one successful result: {len(counted):,} files, {len(members):,} jobs"


def _recount(root: Path, result: Result) -> list[tuple[bool, str]]:
    """The same work done here, without a queue, and compared with what the jobs said."""
    stopped = threading.Event()

    def checkpoint() -> None:
        if stopped.is_set():
            raise RuntimeError("stopped")

    paths = demo_files.scan(root).paths
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        try:
            outputs = list(pool.map(lambda path: demo_files.measure(root, path, checkpoint), paths))
        except BaseException:
            # the pool's block waits for its threads: they have to end soon
            stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    here = {output["path"]: [output.get(name) for name in _SAME] for output in outputs}
    told = {member["output"]["path"]: [member["output"].get(name) for name in _SAME] for member in result.members}
    differing = sorted(path for path in here.keys() | told.keys() if here.get(path) != told.get(path))
    first = ", ".join(printable(path) for path in differing[:3])
    return [
        (
            not differing,
            f"recounted on the files themselves, {len(differing)} differ: {first}"
            if differing
            else f"recounted on the files themselves, all {len(here):,} have the same size, lines and SHA-256",
        ),
        (demo_files.total(outputs) == result.summary, "the summary equals the recount"),
    ]


def _reason(jobs: list[dict[str, Any]]) -> str:
    for job in jobs:
        if job["status"] in ("failed", "cancelled"):
            output = job["output"] or {}
            return printable(str(output.get("error") or output.get("cancelMessage") or output))
    return "no job says why"


def print_next(console: Console) -> None:
    """What to type next."""
    lines = indent(HELLO, "  ").strip()
    gnj, python = _as_typed("gnj"), _as_typed("python")
    console.print(
        "\nNext:\n"
        f"  {gnj} demo --keep           the same, and server and worker stay up for your questions\n"
        f"  {gnj} demo --kill           the same, and the worker is killed in the middle\n"
        f"  {gnj} serve                 a server of your own, on http://127.0.0.1:8080/graphql\n"
        f"\nOr from Python. Put this into hello.py:\n\n  {lines}\n\n"
        f"and run\n\n  {python} hello.py && {gnj} worker hello:jobs",
        markup=False,
        soft_wrap=True,
    )


def _as_typed(name: str) -> str:
    """How to call a program of this environment: by its name where the shell finds this one, else by its path."""
    here = Path(sys.executable).with_name(name)
    found = shutil.which(name)
    if not here.exists() or (found is not None and Path(found) == here):
        return name
    relative = os.path.relpath(here)
    return str(here) if relative.startswith("..") else relative
