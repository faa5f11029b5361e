// pg-boss as a contender. Its defaults (one job each two seconds) are no match for anybody: "default" here is ten at once,
// woken by LISTEN/NOTIFY.
import { PgBoss } from "pg-boss";
import { DATABASE, execute, main } from "./contender.mjs";

const schema = "bench_pgboss";
const make = (options) => {
  const boss = new PgBoss({ connectionString: DATABASE, schema, ...options });
  boss.on("error", console.error);
  return boss;
};
let opened;

main({
  name: "pg-boss",
  schema,
  packages: ["pg-boss", "pg"],
  pending: "SELECT EXISTS (SELECT 1 FROM job WHERE state < 'completed')",
  configs: {
    default: "localConcurrency 10, batchSize 2, burstWhenBatchFull, useListenNotify",
    tuned: "localConcurrency 2, batchSize 500, burstWhenBatchFull, useListenNotify",
  },
  async setup() {
    await execute(`DROP SCHEMA IF EXISTS ${schema} CASCADE`);
    const boss = make({ useListenNotify: true });
    await boss.start();
    await boss.createQueue("noop", { notify: true });
    await boss.stop({ graceful: false });
  },
  filling: (count) => [
    `INSERT INTO ${schema}.job (name, data) SELECT 'noop', jsonb_build_object('i', n) FROM generate_series(0, ${count - 1}) AS n`,
    `ANALYZE ${schema}.job`,
  ],
  async open(inFlight) {
    opened = make({ supervise: false, schedule: false, max: inFlight });
    await opened.start();
  },
  put: (number) => opened.send("noop", { i: number }),
  putMany: (numbers) => opened.insert("noop", numbers.map((i) => ({ data: { i } }))),
  close: () => opened.stop({ graceful: false }),
  async worker(config, mark) {
    const boss = make({ useListenNotify: true, max: 12 });
    await boss.start();
    const size = config === "tuned" ? { localConcurrency: 2, batchSize: 500 } : { localConcurrency: 10, batchSize: 2 };
    await boss.work("noop", { ...size, burstWhenBatchFull: true, pollingIntervalSeconds: 0.5 }, async (jobs) => {
      for (const job of jobs) mark(job.data.i);
    });
  },
});
