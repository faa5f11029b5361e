// What contenders on Node share: the command line and the mark of contender.py.
import fs from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";

export const DATABASE = process.env.BENCH_DATABASE;
export const IN_FLIGHT = 32;
const PAUSE_MS = 500; // see contender.py

const now = () => process.hrtime.bigint(); // the monotonic clock that Python's time.monotonic_ns reads

export function openLog() {
  const file = fs.openSync(process.env.BENCH_LOG, "a");
  const record = Buffer.alloc(16);
  return (number) => {
    record.writeBigInt64LE(BigInt(number), 0);
    record.writeBigInt64LE(now(), 8);
    fs.writeSync(file, record);
  };
}

export async function execute(...statements) {
  const client = new pg.Client(DATABASE);
  await client.connect();
  for (const statement of statements) await client.query(statement);
  await client.end();
}

export const versionOf = (name) =>
  JSON.parse(fs.readFileSync(new URL(`./node_modules/${name}/package.json`, import.meta.url))).version;

async function drive(contender, what, count, gap) {
  await contender.open(what === "concurrent" ? IN_FLIGHT : 1);
  const numbers = Array.from({ length: count }, (_, number) => number);
  if (what !== "bulk") await contender.put(-1);
  if (what === "latency") await sleep(PAUSE_MS);
  const at = [];
  const begun = now();
  if (what === "enqueue") {
    for (const number of numbers) await contender.put(number);
  } else if (what === "concurrent") {
    const todo = numbers.values();
    const work = async () => {
      for (const number of todo) await contender.put(number);
    };
    await Promise.all(Array.from({ length: IN_FLIGHT }, work));
  } else if (what === "bulk") {
    await contender.putMany(numbers);
  } else {
    const start = performance.now();
    for (const number of numbers) {
      const wait = start + number * gap - performance.now();
      if (wait > 0) await sleep(wait);
      at.push(Number(now()));
      await contender.put(number);
    }
    await sleep(PAUSE_MS);
    return { at };
  }
  return { seconds: Number(now() - begun) / 1e9 };
}

export async function main(contender) {
  const [what, first, second] = process.argv.slice(2);
  if (what === "worker") return contender.worker(first, openLog());
  if (what === "info") {
    const { name, schema, pending, configs, packages } = contender;
    const versions = { ...Object.fromEntries(packages.map((p) => [p, versionOf(p)])), node: process.version };
    console.log(JSON.stringify({ name, schema, file: null, pending, configs, versions, bulk: true }));
  } else if (what === "setup") {
    await contender.setup();
  } else if (what === "drop") {
    await execute(`DROP SCHEMA IF EXISTS ${contender.schema} CASCADE`);
  } else if (what === "fill") {
    await execute(...contender.filling(Number(first)));
  } else {
    console.log(JSON.stringify(await drive(contender, what, Number(first), Number(second))));
    await contender.close();
  }
  process.exit(0);
}
