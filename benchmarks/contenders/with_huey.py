"""huey as a contender, on SQLite: its default is WAL with synchronous FULL."""

import sqlite3
from contextlib import closing
from typing import ClassVar

import contender
from contender import FOLDER, Contender
from huey import SqliteHuey

FILE = "huey.sqlite"


class Huey(Contender):
    name = "huey"
    packages = ("huey",)
    file = FILE
    pending = "SELECT EXISTS (SELECT 1 FROM task)"
    configs: ClassVar = {"default": "one worker thread", "tuned": "ten worker threads"}

    def _open(self, log):
        self.huey = SqliteHuey("bench", filename=str(FOLDER / FILE), results=False)

        @self.huey.task()
        def noop(i):
            log.mark(i)

        self.noop = noop

    def setup(self):
        self.drop()
        self._open(None)

    def fill(self, count):
        """The rows that enqueueing one by one would write, in one transaction."""
        self._open(None)
        messages = [self.huey.serialize_task(self.noop.s(number)) for number in range(count)]
        self.huey.storage.close()
        with closing(sqlite3.connect(FOLDER / FILE)) as connection, connection:
            connection.executemany(
                "INSERT INTO task (queue, data, priority) VALUES (?, ?, 0)",
                [("bench", sqlite3.Binary(m)) for m in messages],
            )

    def open(self, in_flight):
        self._open(None)

    def put(self, number):
        self.noop(number)

    def worker(self, config, log):
        self._open(log)
        workers = 10 if config == "tuned" else 1
        self.huey.create_consumer(workers=workers, worker_type="thread", periodic=False).run()


if __name__ == "__main__":
    contender.main(Huey())
