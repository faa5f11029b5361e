"""The raw limit on PostgreSQL: no library between psycopg and gnj's own tables, writing the columns that gnj writes.

Its claims and ends are fenced by nothing, look for no holds, no due and no lost jobs, and wake nobody: what a queue costs
besides is what is measured against it.
"""

import json
from typing import ClassVar

import contender
import psycopg
from contender import DATABASE, Contender
from with_gnj import PENDING, fill_postgresql

from gnj import GNJ

_FIRST = "SELECT id FROM gnj_job WHERE ready AND type = 'noop' ORDER BY priority_level DESC, position, id"
CLAIM = f"""
    UPDATE gnj_job SET updated_at = now(), status = 'processing', due_at = NULL, attempt = attempt + 1, lease_seconds = 30,
    lease_expires_at = now() + interval '30 seconds', worker_id = 'raw', started_at = now(),
    is_update_already_called_while_cancel_requested = false
    WHERE id = ANY (ARRAY({_FIRST} LIMIT {{limit}} FOR UPDATE SKIP LOCKED)) RETURNING id, input"""
END = """
    UPDATE gnj_job SET updated_at = now(), status = 'successful', due_at = NULL, lease_expires_at = NULL, ended_at = now()
    WHERE id = ANY (%s)"""
_COLUMNS = "(tenant, created_at, updated_at, type, input, status, priority_level, is_recoverable)"
INSERT = f"INSERT INTO gnj_job {_COLUMNS} VALUES ('', now(), now(), 'noop', %s::jsonb, 'queued', 4, false) RETURNING id"
INSERT_MANY = f"""
    INSERT INTO gnj_job {_COLUMNS}
    SELECT '', now(), now(), 'noop', input::jsonb, 'queued', 4, false FROM unnest(%s::text[]) AS input"""
NOTIFY = f"WITH job AS ({INSERT}) SELECT pg_notify('bench', '') FROM job"


class Raw(Contender):
    name = "raw"
    packages = ("psycopg",)
    schema = "bench_raw"
    pending = PENDING
    configs: ClassVar = {
        "50": "one connection, claim 50, end 50, each statement committed",
        "500": "likewise with 500",
        "notify": "LISTEN; at each notification claims, one by one, until there is none",
    }

    def setup(self):
        contender.fresh_schema(self.schema)
        jobs = GNJ(DATABASE, schema=self.schema)
        jobs.migrate()
        jobs.close()

    def fill(self, count):
        fill_postgresql(self.schema, count)

    def open(self, in_flight):
        self.connections = [self._connect() for _ in range(in_flight)]
        self.free = list(self.connections)

    def _connect(self):
        connection = psycopg.connect(DATABASE, autocommit=True, prepare_threshold=0)
        connection.execute(f"SET search_path = {self.schema}")
        return connection

    def put(self, number):
        connection = self.free.pop()
        connection.execute(INSERT, (json.dumps({"i": number}),)).fetchone()
        self.free.append(connection)

    def put_many(self, numbers):
        self.connections[0].execute(INSERT_MANY, ([json.dumps({"i": number}) for number in numbers],))

    def close(self):
        for connection in self.connections:
            connection.close()

    def worker(self, config, log):
        limit = {"notify": 1}.get(config) or int(config)
        connection, claim = self._connect(), CLAIM.format(limit=limit)
        if config == "notify":
            connection.execute("LISTEN bench")
        while True:
            while rows := connection.execute(claim).fetchall():
                for _, input in rows:
                    log.mark(input["i"])
                connection.execute(END, ([id for id, _ in rows],))
            for _ in connection.notifies(timeout=1.0 if config == "notify" else 0.005, stop_after=1):
                pass


class RawNotifying(Raw):
    """Whose enqueues tell the worker."""

    def put(self, number):
        self.connections[0].execute(NOTIFY, (json.dumps({"i": number}),)).fetchone()


if __name__ == "__main__":
    import sys

    contender.main(RawNotifying() if sys.argv[1] == "latency" else Raw())
