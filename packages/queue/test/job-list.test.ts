import assert from "node:assert/strict";
import { test } from "node:test";
import { guardLeaks } from "@cardinal/testing";
import { enqueue, ingestPayload, openBench, predictPayload, testRedis } from "./setup.ts";

const redis = await testRedis();
guardLeaks();

test("pages go from new to old, filter, and a cursor outlives its job", async () => {
  await using bench = await openBench(redis);
  const ids: string[] = [];
  for (let i = 0; i < 5; i++) ids.push((await enqueue(bench.queue, "ingest", ingestPayload())).job.id);
  await bench.queue.cancel(ids[1]!);
  const first = await bench.queue.list({ limit: 2 });
  const names = ({ jobs }: typeof first) => jobs.map((job) => job.id);
  assert.deepEqual(names(first), [ids[4], ids[3]]);
  // The job that the cursor names expires.
  const { redis: connection, keys } = bench.queue.internals;
  await connection.del(keys.job(ids[3]!));
  await connection.zrem(keys.jobs, ids[3]!);
  const rest = await bench.queue.list({ limit: 10, cursor: first.next });
  assert.deepEqual(names(rest), [ids[2], ids[1], ids[0]]);
  assert.equal(rest.next, undefined);
  const exact = await bench.queue.list({ limit: 3, cursor: first.next });
  assert.equal(exact.next, undefined, "a page that ends with the last job is the last");
  assert.equal((await bench.queue.list({ limit: 10, kind: "ingest", state: "waiting" })).jobs.length, 3);
  assert.deepEqual(names(await bench.queue.list({ limit: 10, state: "cancelled" })), [ids[1]]);
  assert.deepEqual(await bench.queue.list({ limit: 10, kind: "train" }), { jobs: [] });
  for (const cursor of ["", "x", "1.train-x", `-1.${ids[0]}`, `1.${ids[0]} `]) {
    await assert.rejects(bench.queue.list({ limit: 10, cursor }), { code: "invalid_request" });
  }
});

test("jobs that arrive while a list of hundreds is scanned and paged repeat no row and hide none", async () => {
  await using bench = await openBench(redis);
  const make = (count: number) =>
    Promise.all(Array.from({ length: count }, () => enqueue(bench.queue, "ingest", ingestPayload())));
  const old = new Set((await make(250)).map(({ job }) => job.id));
  // What the filter passes lies beyond two chunks, so one page needs several reads.
  const rare = [...old].sort()[0]!;
  await bench.queue.cancel(rare);
  let arriving = true;
  const arrivals = (async () => {
    while (arriving) await make(20);
  })();
  const seen: string[] = [];
  let cursor: string | undefined;
  let found: string[];
  try {
    do {
      const page = await bench.queue.list({ limit: 30, cursor });
      seen.push(...page.jobs.map((job) => job.id));
      cursor = page.next;
    } while (cursor !== undefined);
    found = (await bench.queue.list({ limit: 200, state: "cancelled" })).jobs.map((job) => job.id);
  } finally {
    arriving = false;
    await arrivals;
  }
  assert.equal(new Set(seen).size, seen.length, "no row twice");
  assert.ok(
    [...old].every((id) => seen.includes(id)),
    "every job that was there is listed",
  );
  assert.deepEqual(found, [rare]);
});

test("many jobs of one millisecond are all listed once", async () => {
  await using bench = await openBench(redis);
  const { redis: connection, keys } = bench.queue.internals;
  const ids: string[] = [];
  for (let i = 0; i < 230; i++) ids.push((await enqueue(bench.queue, "predict", predictPayload())).job.id);
  await connection.zadd(keys.jobs, ...ids.flatMap((id) => [1_000, id]));
  const seen: string[] = [];
  let cursor: string | undefined;
  do {
    const page = await bench.queue.list({ limit: 70, cursor });
    seen.push(...page.jobs.map((job) => job.id));
    cursor = page.next;
  } while (cursor !== undefined);
  assert.deepEqual(seen, ids.toSorted().reverse());
});
