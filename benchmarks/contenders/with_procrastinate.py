"""procrastinate as a contender, on psycopg."""

from typing import ClassVar

import contender
import procrastinate
from contender import DATABASE, Contender, execute, fresh_schema

SCHEMA = "bench_procrastinate"
APP = procrastinate.App(
    connector=procrastinate.PsycopgConnector(conninfo=DATABASE, kwargs={"options": f"-c search_path={SCHEMA}"})
)


class Procrastinate(Contender):
    name = "procrastinate"
    packages = ("procrastinate", "psycopg")
    schema = SCHEMA
    pending = "SELECT EXISTS (SELECT 1 FROM procrastinate_jobs WHERE status IN ('todo', 'doing'))"
    configs: ClassVar = {
        "default": "run_worker_async(concurrency=10)",
        "tuned": "concurrency=30, delete_jobs='successful'",
    }

    async def setup(self):
        fresh_schema(self.schema)
        async with APP.open_async():
            await APP.schema_manager.apply_schema_async()

    def fill(self, count):
        execute(
            "SET session_replication_role = replica",
            "INSERT INTO procrastinate_jobs (queue_name, task_name, args, status) "
            f"SELECT 'default', 'noop', jsonb_build_object('i', n), 'todo' FROM generate_series(0, {count - 1}) AS n",
            "ANALYZE procrastinate_jobs",
            schema=self.schema,
        )

    async def open(self, in_flight):
        self.task = self._task(None)
        await APP.open_async()

    def _task(self, log):
        @APP.task(name="noop")
        async def noop(i):
            log.mark(i)

        return noop

    async def put(self, number):
        await self.task.defer_async(i=number)

    async def put_many(self, numbers):
        await self.task.batch_defer_async(*({"i": number} for number in numbers))

    async def close(self):
        await APP.close_async()

    async def worker(self, config, log):
        self._task(log)
        options = {"concurrency": 10}
        if config == "tuned":
            options = {"concurrency": 30, "delete_jobs": "successful"}
        async with APP.open_async():
            await APP.run_worker_async(install_signal_handlers=False, **options)


if __name__ == "__main__":
    contender.main(Procrastinate())
