"""The raw limit on SQLite: the standard library's sqlite3 on gnj's own tables, WAL and synchronous FULL, as gnj has them."""

import json
import sqlite3
import time
from typing import ClassVar

import contender
from contender import FOLDER, Contender
from with_gnj import PENDING, fill_sqlite

from gnj import GNJ

CLAIM = """
    UPDATE gnj_job SET updated_at = ?1, status = 'processing', due_at = NULL, attempt = attempt + 1, lease_seconds = 30.0,
    lease_expires_at = ?1 + 30000, worker_id = 'raw', started_at = ?1, is_update_already_called_while_cancel_requested = 0
    WHERE id IN (
        SELECT id FROM gnj_job INDEXED BY gnj_job_ready_idx WHERE ready AND type = 'noop'
        ORDER BY priority_level DESC, position, id LIMIT {limit}
    ) RETURNING id, input"""
END = """
    UPDATE gnj_job SET updated_at = ?1, status = 'successful', due_at = NULL, lease_expires_at = NULL, ended_at = ?1
    WHERE id IN (SELECT value FROM json_each(?2))"""
INSERT = """
    INSERT INTO gnj_job (tenant, created_at, updated_at, type, input, status, priority_level, is_recoverable)
    VALUES ('', ?1, ?1, 'noop', ?2, 'queued', 4, 0)"""


def now():
    """Milliseconds, as gnj keeps them on SQLite."""
    return time.time_ns() // 1_000_000


class Raw(Contender):
    name = "raw-sqlite"
    file = "raw.sqlite"
    pending = PENDING
    configs: ClassVar = {"50": "claim 50, end 50, each statement committed", "500": "likewise with 500"}

    def versions(self):
        return super().versions() | {"sqlite": sqlite3.sqlite_version}

    def setup(self):
        self.drop()
        jobs = GNJ(f"sqlite:///{FOLDER / self.file}")
        jobs.migrate()
        jobs.close()

    def fill(self, count):
        fill_sqlite(FOLDER / self.file, count)

    def open(self, in_flight):
        self.connection = sqlite3.connect(FOLDER / self.file, isolation_level=None, timeout=10)
        self.connection.execute("PRAGMA journal_mode = WAL")
        self.connection.execute("PRAGMA synchronous = FULL")

    def put(self, number):
        self.connection.execute(INSERT, (now(), json.dumps({"i": number})))

    def put_many(self, numbers):
        self.connection.execute("BEGIN IMMEDIATE")
        self.connection.executemany(INSERT, [(now(), json.dumps({"i": number})) for number in numbers])
        self.connection.execute("COMMIT")

    def close(self):
        self.connection.close()

    def worker(self, config, log):
        self.open(1)
        claim = CLAIM.format(limit=int(config))
        while True:
            while rows := self.connection.execute(claim, (now(),)).fetchall():
                for _, input in rows:
                    log.mark(json.loads(input)["i"])
                self.connection.execute(END, (now(), json.dumps([id for id, _ in rows])))
            time.sleep(0.005)


if __name__ == "__main__":
    contender.main(Raw())
