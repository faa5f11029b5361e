"""A run: who is measured, and each in turn."""

from __future__ import annotations

import compileall
import shutil
import struct
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from pathlib import Path
from subprocess import Popen
from typing import Any

from sqlalchemy.engine import make_url

from benchmarks.harness import processes
from benchmarks.harness.options import Options, wanted
from benchmarks.harness.processes import Failed
from benchmarks.harness.results import Recorder, Sample
from benchmarks.harness.rows import Row
from benchmarks.setup_rivals import node_of, python_of

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "benchmarks" / "contenders"

SCRIPT_OF: Mapping[str, tuple[str, bool, Mapping[str, str]]] = {
    "gnj": ("with_gnj.py", True, {}),
    "gnj-sqlite": ("with_gnj.py", True, {"BENCH_BACKEND": "sqlite"}),
    "raw": ("with_psycopg.py", True, {}),
    "raw-sqlite": ("with_sqlite3.py", True, {}),
    "pgqueuer": ("with_pgqueuer.py", False, {}),
    "procrastinate": ("with_procrastinate.py", False, {}),
    "huey": ("with_huey.py", False, {}),
    "graphile-worker": ("with_graphile_worker.mjs", False, {}),
    "pg-boss": ("with_pg_boss.mjs", False, {}),
}
"""By the names of contenders: the script, whether it runs beside gnj, and further environment."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Who stands in a row, and how it is set up there."""

    contender: str
    config: str = "default"
    processes: int = 1


@dataclass(frozen=True)
class Contender:
    """One that can be called."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]

    @cached_property
    def info(self) -> Any:
        """What it says of itself."""
        return processes.call([*self.command, "info"], self.environment)

    def call(self, *what: object) -> Any:
        """Has it do something, to the end."""
        return processes.call([*self.command, *map(str, what)], self.environment)

    def workers(self, config: str, log: Path, processes_: int = 1) -> AbstractContextManager[list[Popen[bytes]]]:
        """Its workers, for as long as the block lasts."""
        return processes.workers([*self.command, "worker", config], self.environment, log, processes_)

    @contextmanager
    def watching(self) -> Iterator[Callable[[], bool]]:
        """Asks whether anything is not done, on a connection of its own."""
        if self.info["file"] is not None:
            import sqlite3

            connection: Any = sqlite3.connect(f"file:{self.info['file']}?mode=ro", uri=True, isolation_level=None)
        else:
            import psycopg

            connection = psycopg.connect(self.environment["BENCH_DATABASE"], autocommit=True)
            connection.execute(f"SET search_path = {self.info['schema']}, public")
        try:
            yield lambda: bool(connection.execute(self.info["pending"]).fetchone()[0])
        finally:
            connection.close()


Figures = Mapping[str, tuple[float, Mapping[str, Any]]]
"""By the keys of rows: the value, and what else is known."""


class Run:
    """One run.

    Args:
        options: What it was told.
        recorder: Where samples go.
        folder: An empty one, for databases and marks.
    """

    def __init__(self, options: Options, recorder: Recorder, folder: Path) -> None:
        self.options = options
        self.recorder = recorder
        self.folder = folder
        self._contenders: dict[str, Contender | None] = {}
        self._logs = count()

    def new_log(self) -> Path:
        """A file that does not exist yet."""
        return self.folder / f"marks-{next(self._logs)}.log"

    def wants(self, row: Row) -> bool:
        """Whether a row is to be measured, and can be."""
        there = {"postgresql": self.options.database, "mariadb": self.options.mariadb}.get(row.needs, "nothing needed")
        return there is not None and wanted(row.key, self.options.rows)

    def contender(self, name: str) -> Contender | None:
        """One by its name; None, and a word about it once, where it is not installed."""
        if name not in self._contenders:
            self._contenders[name] = self._find(name)
            if (found := self._contenders[name]) is not None:
                self.recorder.fact(
                    "contender", name=name, versions=found.info["versions"], configs=found.info["configs"]
                )
        return self._contenders[name]

    def each(
        self,
        rep: int,
        rows: Sequence[Row],
        entries: Mapping[str, Entry],
        measure: Callable[[Contender, Entry], Figures],
    ) -> None:
        """Measures all that stand in `rows`, in an order that differs from repetition to repetition."""
        rows = [row for row in rows if self.wants(row)]
        units = {row.key: row.unit for row in rows}
        names = [name for name in entries if not self.options.only or name in self.options.only]
        for name in names[rep % len(names) :] + names[: rep % len(names)] if rows and names else ():
            try:
                contender = self.contender(entries[name].contender)
                figures = None if contender is None else measure(contender, entries[name])
            except Exception as error:
                for row in rows:
                    self.recorder.add(Sample(row.key, name, None, rep, {"failed": str(error)}))
                continue
            for key, (value, notes) in (figures or {}).items():
                if key in units:
                    self.recorder.add(Sample(key, name, value, rep, dict(notes)), units[key])

    def drop(self) -> None:
        """Leaves nothing of the contenders in the databases."""
        for contender in self._contenders.values():
            if contender is not None:
                with suppress(Failed):
                    contender.call("drop")

    def _find(self, name: str) -> Contender | None:
        script, ours, extra = SCRIPT_OF[name]
        environment = {
            "BENCH_DATABASE": plain(self.options.database or ""),
            "BENCH_FOLDER": str(self.folder),
            "BENCH_LOG": "/dev/null",
            "PYTHONDONTWRITEBYTECODE": "1",
            **extra,
        }
        if ours:
            # as on any installation: to compile it anew each time leaves 1.6 MB of a worker's memory behind
            compileall.compile_dir(ROOT / "gnj", quiet=2)
            return Contender(name, (sys.executable, str(SCRIPTS / script)), environment | {"PYTHONPATH": str(ROOT)})
        if self.options.rivals is None:
            return None
        rivals = self.options.rivals.resolve()
        command = self._node(rivals, script) if script.endswith(".mjs") else self._python(rivals, script)
        if command is None:
            self.recorder.say(
                f"{name} is left out: `python -m benchmarks.setup_rivals {self.options.rivals}` installs it"
            )
            return None
        return Contender(name, command, environment)

    def _python(self, rivals: Path, script: str) -> tuple[str, ...] | None:
        python = python_of(rivals)
        return (str(python), str(SCRIPTS / script)) if python.exists() else None

    def _node(self, rivals: Path, script: str) -> tuple[str, ...] | None:
        place, node = node_of(rivals), shutil.which("node")
        if node is None or not (place / "node_modules").is_dir():
            return None
        # modules are looked for beside the script that imports them
        for name in ("contender.mjs", script):
            shutil.copyfile(SCRIPTS / name, place / name)
        return node, str(place / script)


def marks(log: Path) -> list[tuple[int, int]]:
    """What jobs left behind: (number, monotonic ns), in the order of arrival."""
    data = log.read_bytes() if log.exists() else b""
    return list(struct.iter_unpack("qq", data[: len(data) // 16 * 16]))


def marked(log: Path) -> int:
    """How many did."""
    return log.stat().st_size // 16 if log.exists() else 0


def plain(url: str) -> str:
    """A URL as drivers take it, not SQLAlchemy."""
    if not url:
        return url
    parts = make_url(url)
    return parts.set(drivername=parts.get_backend_name()).render_as_string(hide_password=False)
