"""pgqueuer as a contender, on asyncpg."""

from datetime import timedelta
from typing import ClassVar

import asyncpg
import contender
from contender import DATABASE, Contender, execute, fresh_schema
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver, AsyncpgPoolDriver
from pgqueuer.queries import Queries


class PgQueuerContender(Contender):
    name = "pgqueuer"
    packages = ("pgqueuer", "asyncpg")
    schema = "bench_pgqueuer"
    pending = "SELECT EXISTS (SELECT 1 FROM pgqueuer)"
    configs: ClassVar = {"default": "run()", "tuned": "run(batch_size=100)"}

    def _settings(self):
        return {"server_settings": {"search_path": self.schema}}

    async def setup(self):
        fresh_schema(self.schema)
        connection = await asyncpg.connect(DATABASE, **self._settings())
        await Queries(AsyncpgDriver(connection)).install()
        await connection.close()

    def fill(self, count):
        # past the trigger that would notify: no worker listens yet
        execute(
            "SET session_replication_role = replica",
            "INSERT INTO pgqueuer (priority, status, entrypoint, payload, execute_after) "
            f"SELECT 0, 'queued', 'noop', convert_to(n::text, 'UTF8'), now() FROM generate_series(0, {count - 1}) AS n",
            "ANALYZE pgqueuer",
            schema=self.schema,
        )

    async def open(self, in_flight):
        if in_flight == 1:
            self.connection = await asyncpg.connect(DATABASE, **self._settings())
            self.queries = Queries(AsyncpgDriver(self.connection))
        else:
            self.connection = await asyncpg.create_pool(
                DATABASE, min_size=in_flight, max_size=in_flight, **self._settings()
            )
            self.queries = Queries(AsyncpgPoolDriver(self.connection))

    async def put(self, number):
        await self.queries.enqueue("noop", b"%d" % number)

    async def put_many(self, numbers):
        await self.queries.enqueue(["noop"] * len(numbers), [b"%d" % number for number in numbers], [0] * len(numbers))

    async def close(self):
        await self.connection.close()

    async def worker(self, config, log):
        queue = PgQueuer(AsyncpgDriver(await asyncpg.connect(DATABASE, **self._settings())))

        @queue.entrypoint("noop")
        async def noop(job):
            log.mark(int(job.payload))

        options = {"batch_size": 100} if config == "tuned" else {}
        await queue.run(dequeue_timeout=timedelta(seconds=30), **options)


if __name__ == "__main__":
    contender.main(PgQueuerContender())
