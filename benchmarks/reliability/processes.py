"""The servers and workers of a run: started, killed, frozen, thawed and replaced, and none of them left behind."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.request import urlopen

from benchmarks.reliability import mutations
from benchmarks.reliability.options import Options
from benchmarks.reliability.skew import VARIABLE as SKEW
from benchmarks.reliability.work import Place, work

ROOT = Path(__file__).resolve().parents[2]
_START_SECONDS = 30.0


def forking() -> Any:
    """Forks from a process that has imported all there is: a worker is there in 30 ms, not in a second."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["benchmarks.reliability.work", "gnj.storage.sql", "gnj.cli.database"])
    return context


@dataclass(slots=True, eq=False)
class Worker:
    """A worker process."""

    name: str
    http: bool
    process: Any
    frozen: bool = False

    @property
    def pid(self) -> int:
        """The process."""
        pid: int = self.process.pid
        return pid

    def end(self) -> None:
        """Waits for its end."""
        self.process.join(10)
        self.process.close()


@dataclass(slots=True, eq=False)
class Server:
    """A `gnj serve` process, which keeps its port over its lives."""

    port: int
    lives: int = 0
    process: subprocess.Popen[bytes] | None = None
    frozen: bool = False
    back_at: float | None = field(default=None)
    """When the next life begins, while there is none."""

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The process."""
        assert self.process is not None
        return self.process.pid


class Fleet:
    """All processes of a run. Leaving the block ends them, whatever happened in it.

    Args:
        options: The run.
        folder: For traces and logs.
    """

    def __init__(self, options: Options, folder: Path) -> None:
        self._options = options
        self._folder = folder
        self._context = forking()
        self._started = 0
        self.workers: list[Worker] = []
        self.servers = [Server(port) for port in free_ports(options.servers)]
        self.crashes: list[str] = []
        """Processes that ended by themselves."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for server in self.servers:
            if server.process is not None:
                _signal(server.pid, signal.SIGKILL)
                server.process.wait()
                server.process = None
        for worker in self.workers:
            _signal(worker.pid, signal.SIGKILL)
        for worker in self.workers:
            worker.end()
        self.workers.clear()

    @property
    def urls(self) -> tuple[str, ...]:
        """Where the servers answer, or will."""
        return tuple(server.url for server in self.servers)

    def start(self) -> None:
        """The servers, which are up when this returns, then the workers."""
        for server in self.servers:
            self.start_server(server)
        for server in self.servers:
            await_server(server, self._folder)
        for _ in range(self._options.workers):
            self.start_worker()

    def start_worker(self) -> Worker:
        """One more worker; every second one works over HTTP where both ways are wanted."""
        self._started += 1
        mode = self._options.mode
        http = mode == "http" or (mode == "both" and self._started % 2 == 0)
        place = Place(
            name=f"{'http' if http else 'embedded'}-{self._started}",
            folder=self._folder,
            database=self._options.database,
            urls=self.urls,
            http=http,
            lease=self._options.lease,
            mutant=self._options.mutant,
            skew=self._skew(self._started // 2),
        )
        process = self._context.Process(target=work, args=(place,), daemon=True)
        process.start()
        worker = Worker(place.name, http, process)
        self.workers.append(worker)
        return worker

    def start_server(self, server: Server) -> None:
        """The next life of a server; it is not up yet when this returns."""
        server.lives += 1
        server.back_at = None
        server.frozen = False
        server.process = serve(
            self._options.database,
            server.port,
            self._folder / f"server-{server.port}.log",
            mutant=self._options.mutant,
            skew=self._skew(self.servers.index(server)),
        )

    def _skew(self, number: int) -> float:
        return self._options.skew if number % 2 else -self._options.skew

    def kill_worker(self, worker: Worker) -> None:
        """Signal 9, and another worker in its place."""
        _signal(worker.pid, signal.SIGKILL)
        worker.end()
        self.workers.remove(worker)
        self.start_worker()

    def restart_worker(self, worker: Worker) -> None:
        """SIGTERM, and another worker in its place."""
        self.retire([worker])
        self.start_worker()

    def retire(self, workers: Sequence[Worker]) -> None:
        """SIGTERM to all of them; waits for their ends."""
        for worker in workers:
            freeze(worker, frozen=False)
            _signal(worker.pid, signal.SIGTERM)
        for worker in workers:
            worker.process.join(15)
            # one that the signal met before it had begun does not take it over
            begun = (self._folder / f"{worker.name}.trace").exists()
            if worker.process.exitcode not in ((0,) if begun else (0, -signal.SIGTERM)):
                self.crashes.append(f"{worker.name}: exit code {worker.process.exitcode} after SIGTERM")
                _signal(worker.pid, signal.SIGKILL)
            worker.end()
            self.workers.remove(worker)

    def end_server(self, server: Server, number: int, pause: float) -> None:
        """Ends a server by that signal; it is started again on the same port after `pause` seconds, by `look_after`."""
        assert server.process is not None
        freeze(server, frozen=False)
        _signal(server.pid, number)
        server.process.wait(30)
        server.process = None
        server.back_at = time.monotonic() + pause

    def look_after(self) -> None:
        """Starts what has to be started again, and notes what has ended by itself."""
        for server in self.servers:
            if server.process is None and server.back_at is not None and time.monotonic() >= server.back_at:
                self.start_server(server)
            elif server.process is not None and (code := server.process.poll()) is not None:
                self.crashes.append(f"server on port {server.port}: exit code {code}")
                self.start_server(server)
        for worker in list(self.workers):
            if (code := worker.process.exitcode) is not None:
                self.crashes.append(f"{worker.name}: exit code {code}")
                self.workers.remove(worker)
                self.start_worker()


def serve(database: str, port: int, log: Path, *, mutant: str | None = None, skew: float = 0.0) -> Any:
    """Starts `gnj serve`; see `await_server`."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("GNJ_") or name.startswith("GNJ_LIMIT_")
    }
    wrong = {mutations.VARIABLE: mutant or "", SKEW: str(skew or "")}
    module = "benchmarks.reliability.serve" if mutant or skew else "gnj.cli"
    command = [sys.executable, "-m", module, "serve", "--database", database, "--port", str(port)]
    with log.open("ab") as file:
        return subprocess.Popen(
            command,
            cwd=ROOT,
            env=kept | wrong | {"PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            # a terminal's Ctrl-C is for the run, which then ends its children
            process_group=0,
        )


def await_server(server: Server, folder: Path) -> None:
    """Returns when the server answers."""
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        with suppress(OSError), urlopen(f"{server.url}/readyz", timeout=2):
            return
        if server.process is not None and server.process.poll() is not None:
            break
        time.sleep(0.05)
    log = folder / f"server-{server.port}.log"
    raise RuntimeError(f"the server is not up: {log.read_text('utf-8', 'replace')[-2000:]}")


def freeze(process: Worker | Server, *, frozen: bool) -> None:
    """Stops a process where it stands, or lets it go on."""
    if process.frozen != frozen:
        _signal(process.pid, signal.SIGSTOP if frozen else signal.SIGCONT)
        process.frozen = frozen


def free_ports(number: int) -> list[int]:
    """Ports nobody listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [int(each.getsockname()[1]) for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _signal(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
