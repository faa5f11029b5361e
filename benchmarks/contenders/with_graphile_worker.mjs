// graphile-worker as a contender. "tuned" is the preset of its own benchmark.
import { Logger, makeWorkerUtils, run } from "graphile-worker";
import { DATABASE, execute, main } from "./contender.mjs";

const schema = "bench_graphile_worker";
const logger = new Logger(() => () => {});
const utils = (options) => makeWorkerUtils({ connectionString: DATABASE, schema, logger, ...options });
let opened;

main({
  name: "graphile-worker",
  schema,
  packages: ["graphile-worker", "pg"],
  pending: "SELECT EXISTS (SELECT 1 FROM _private_jobs)",
  configs: {
    default: "concurrentJobs 10",
    tuned: "concurrentJobs 24, localQueue {size 500}, completeJobBatchDelay 0, failJobBatchDelay 0",
  },
  async setup() {
    await execute(`DROP SCHEMA IF EXISTS ${schema} CASCADE`);
    const made = await utils();
    await made.migrate();
    await made.release();
  },
  filling: (count) => [
    `INSERT INTO ${schema}._private_tasks (identifier) VALUES ('noop') ON CONFLICT DO NOTHING`,
    `INSERT INTO ${schema}._private_jobs (task_id, payload)
     SELECT (SELECT id FROM ${schema}._private_tasks WHERE identifier = 'noop'), json_build_object('i', n)
     FROM generate_series(0, ${count - 1}) AS n`,
    `ANALYZE ${schema}._private_jobs`,
  ],
  async open(inFlight) {
    opened = await utils({ maxPoolSize: inFlight });
    await opened.migrate();
  },
  put: (number) => opened.addJob("noop", { i: number }),
  putMany: (numbers) => opened.addJobs(numbers.map((i) => ({ identifier: "noop", payload: { i } }))),
  close: () => opened.release(),
  async worker(config, mark) {
    const tuned = { concurrentJobs: 24, localQueue: { size: 500 }, completeJobBatchDelay: 0, failJobBatchDelay: 0 };
    const worker = config === "tuned" ? tuned : { concurrentJobs: 10 };
    await run({
      logger,
      taskList: { noop: async (payload) => mark(payload.i) },
      parsedCronItems: [],
      preset: { worker: { connectionString: DATABASE, schema, maxPoolSize: 30, ...worker } },
    });
  },
});
