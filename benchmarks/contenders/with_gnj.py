"""gnj as a contender: on PostgreSQL, or on SQLite where BENCH_BACKEND says so. Workers are `jobs.worker()`, as it comes."""

import json
import os
import time
from contextlib import closing
from typing import ClassVar

import contender
from contender import DATABASE, FOLDER, Contender, Log, execute, fresh_schema

from gnj import GNJ, NewJob

SQLITE = os.environ.get("BENCH_BACKEND") == "sqlite"
PENDING = "SELECT EXISTS (SELECT 1 FROM gnj_job WHERE status IN ('queued', 'processing'))"


def fill_sqlite(path, count):
    """What `enqueue` writes, in one transaction."""
    import sqlite3  # 1 MB that a worker on PostgreSQL does not have

    now = time.time_ns() // 1_000_000
    rows = [(now, now, "noop", json.dumps({"i": i}, separators=(",", ":"))) for i in range(count)]
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executemany("INSERT INTO gnj_job (created_at, updated_at, type, input) VALUES (?, ?, ?, ?)", rows)


def fill_postgresql(schema, count):
    """Likewise, in one statement."""
    rows = f"SELECT 'noop', jsonb_build_object('i', n), now(), now() FROM generate_series(0, {count - 1}) AS n"
    execute(f"INSERT INTO gnj_job (type, input, created_at, updated_at) {rows}", "ANALYZE gnj_job", schema=schema)


class Gnj(Contender):
    name = "gnj-sqlite" if SQLITE else "gnj"
    packages = ("sqlalchemy",) if SQLITE else ("sqlalchemy", "psycopg")
    schema = None if SQLITE else "bench_gnj"
    file = "gnj.sqlite" if SQLITE else None
    pending = PENDING
    configs: ClassVar = {"default": "jobs.worker()"}

    def setup(self):
        if SQLITE:
            self.drop()
        else:
            fresh_schema(self.schema)
        self.open(1)
        self.jobs.migrate()
        self.close()

    def fill(self, count):
        if SQLITE:
            fill_sqlite(FOLDER / self.file, count)
        else:
            fill_postgresql(self.schema, count)

    def open(self, in_flight):
        self.jobs = GNJ(f"sqlite:///{FOLDER / self.file}") if SQLITE else GNJ(DATABASE, schema=self.schema)

    def put(self, number):
        self.jobs.enqueue("noop", {"i": number})

    def put_many(self, numbers):
        self.jobs.enqueue_many([NewJob("noop", {"i": number}) for number in numbers])

    def close(self):
        self.jobs.close()

    def worker(self, config, log: Log):
        self.open(1)

        @self.jobs.handler("noop")
        def noop(job):
            log.mark(job.input["i"])

        self.jobs.worker().run()


if __name__ == "__main__":
    contender.main(Gnj())
