"""What every contender in Python shares: a command line, and the mark that a job leaves.

    SCRIPT info                what it is, as JSON: versions, configurations, and how to see that all is done
    SCRIPT setup               an empty queue
    SCRIPT fill N              N jobs, put there the quickest way, so that a drain may begin
    SCRIPT enqueue N           one by one, each committed: {"seconds": ...}
    SCRIPT concurrent N        likewise, 32 in flight in this one process
    SCRIPT bulk N              in one call: {"seconds": ...}
    SCRIPT latency N GAP       one (-1) ahead of time, then one each GAP ms: {"at": [monotonic ns before each]}
    SCRIPT worker CONFIG       works until it is killed
    SCRIPT drop                nothing left behind

A script in another language speaks the same (contender.mjs). Where things are is said by the environment: BENCH_DATABASE (a
URL of PostgreSQL), BENCH_FOLDER (for SQLite files), BENCH_LOG (for marks).

It imports nothing but the standard library, since it runs beside libraries that know nothing of gnj.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import itertools
import json
import os
import struct
import sys
import threading
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

IN_FLIGHT = 32
PAUSE = 0.5
"""Seconds before and after jobs whose latency is taken: neither how a process begins nor how it ends is measured."""
DATABASE = os.environ.get("BENCH_DATABASE", "")
FOLDER = Path(os.environ.get("BENCH_FOLDER", "."))


class Log:
    """Where jobs leave their marks: 16 bytes in one append (number, monotonic ns), whole from any thread and process."""

    def __init__(self) -> None:
        self._file = os.open(os.environ["BENCH_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def mark(self, number: int) -> None:
        """Notes that a job has begun."""
        os.write(self._file, struct.pack("qq", number, time.monotonic_ns()))


def fresh_schema(name: str) -> None:
    """An empty schema, whatever was there."""
    drop_schema(name)
    execute(f"CREATE SCHEMA {name}")


def drop_schema(name: str) -> None:
    """No schema of that name."""
    execute(f"DROP SCHEMA IF EXISTS {name} CASCADE")


def execute(*statements: str, schema: str | None = None) -> None:
    """Runs statements on PostgreSQL, each a transaction of its own."""
    import psycopg

    with psycopg.connect(DATABASE, autocommit=True) as connection:
        if schema is not None:
            connection.execute(f"SET search_path = {schema}, public")
        for statement in statements:
            connection.execute(statement)


class Contender:
    """To be subclassed; `put`, `put_many`, `open`, `close`, `worker` and `setup` may be coroutine functions.

    `open` is told how many calls of `put` will be in flight. `put` returns when the job is committed.
    """

    name = ""
    packages: tuple[str, ...] = ()
    """Distributions whose versions are noted."""
    schema: str | None = None
    """Where it is, on PostgreSQL."""
    file: str | None = None
    """Where it is, on SQLite."""
    pending = ""
    """A SELECT of whether there is anything that is not done."""
    configs: ClassVar[dict[str, str]] = {}
    """The configurations of workers in words."""

    def setup(self) -> Any:
        """Makes an empty queue."""
        raise NotImplementedError

    def fill(self, count: int) -> Any:
        """Adds that many jobs, numbered from 0."""
        raise NotImplementedError

    def open(self, in_flight: int) -> Any:
        """Connects."""

    def put(self, number: int) -> Any:
        """Enqueues one job."""
        raise NotImplementedError

    def put_many(self, numbers: list[int]) -> Any:
        """Enqueues jobs in one call."""
        raise NotImplementedError

    def close(self) -> Any:
        """Disconnects."""

    def worker(self, config: str, log: Log) -> Any:
        """Works for ever."""
        raise NotImplementedError

    def drop(self) -> Any:
        """Leaves nothing."""
        if self.schema is not None:
            drop_schema(self.schema)
        if self.file is not None:
            for path in FOLDER.glob(f"{self.file}*"):
                path.unlink()

    def versions(self) -> dict[str, str]:
        """What was measured."""
        return {name: version(name) for name in self.packages} | {"python": sys.version.split()[0]}

    def info(self) -> dict[str, Any]:
        """See `info` above."""
        return {
            "name": self.name,
            "schema": self.schema,
            "file": self.file and str(FOLDER / self.file),
            "pending": self.pending,
            "configs": self.configs,
            "versions": self.versions(),
            "bulk": type(self).put_many is not Contender.put_many,
        }


def main(contender: Contender) -> None:
    """What a script's command line asks for."""
    what, *arguments = sys.argv[1:]
    if what == "info":
        print(json.dumps(contender.info()))
        return
    calls: dict[str, Any] = {
        "setup": contender.setup,
        "drop": contender.drop,
        "fill": lambda: contender.fill(int(arguments[0])),
        "worker": lambda: contender.worker(arguments[0], Log()),
    }
    if what in calls:
        result = calls[what]()
        if inspect.isawaitable(result):
            asyncio.run(_awaited(result))
        return
    count, gap = int(arguments[0]), float(arguments[1]) / 1000 if what == "latency" else 0.0
    drive = _drive_async if inspect.iscoroutinefunction(contender.put) else _drive
    result = drive(contender, what, count, gap)
    print(json.dumps(asyncio.run(result) if inspect.isawaitable(result) else result))


async def _awaited(result: Any) -> Any:
    return await result if inspect.isawaitable(result) else result


def _drive(contender: Contender, what: str, count: int, gap: float) -> dict[str, Any]:
    contender.open(IN_FLIGHT if what == "concurrent" else 1)
    numbers = list(range(count))
    if what != "bulk":
        contender.put(-1)  # connects, prepares, compiles
    gc.collect()
    if what == "latency":
        time.sleep(PAUSE)
    begun = time.perf_counter()
    if what == "enqueue":
        for number in numbers:
            contender.put(number)
    elif what == "concurrent":
        _threads(contender, count)
    elif what == "bulk":
        contender.put_many(numbers)
    else:
        at = [_put_at(contender, number, begun + number * gap) for number in numbers]
        time.sleep(PAUSE)
        return {"at": at}
    seconds = time.perf_counter() - begun
    contender.close()
    return {"seconds": seconds}


def _threads(contender: Contender, count: int) -> None:
    todo = itertools.count()
    failed: list[BaseException] = []

    def work() -> None:
        try:
            while (number := next(todo)) < count:
                contender.put(number)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(IN_FLIGHT)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]


def _put_at(contender: Contender, number: int, moment: float) -> int:
    time.sleep(max(0.0, moment - time.perf_counter()))
    at = time.monotonic_ns()
    contender.put(number)
    return at


async def _drive_async(contender: Contender, what: str, count: int, gap: float) -> dict[str, Any]:
    await _awaited(contender.open(IN_FLIGHT if what == "concurrent" else 1))
    numbers, at = list(range(count)), []
    if what != "bulk":
        await contender.put(-1)
    gc.collect()
    if what == "latency":
        await asyncio.sleep(PAUSE)
    begun = time.perf_counter()
    if what == "enqueue":
        for number in numbers:
            await contender.put(number)
    elif what == "concurrent":
        todo = iter(numbers)

        async def work() -> None:
            for number in todo:
                await contender.put(number)

        await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))
    elif what == "bulk":
        await contender.put_many(numbers)
    else:
        for number in numbers:
            await asyncio.sleep(max(0.0, begun + number * gap - time.perf_counter()))
            at.append(time.monotonic_ns())
            await contender.put(number)
        await asyncio.sleep(PAUSE)
    seconds = time.perf_counter() - begun
    await _awaited(contender.close())
    return {"at": at} if what == "latency" else {"seconds": seconds}
