import assert from "node:assert/strict";
import { after, test } from "node:test";
import { JobQueue } from "@cardinal/queue";
import { guardLeaks, startRedis } from "@cardinal/testing";
import { ApiKeys, RateLimits } from "../src/index.ts";

const redis = await startRedis();
const config = { redisUrl: redis.url, namespace: "t", retentionSeconds: 60 };
const queue = await JobQueue.open(config, () => {});
const keys = new ApiKeys(queue.internals);
after(async () => {
  await queue.close();
  await redis.stop();
});
guardLeaks();

const request = (name: string, limits = {}) => ({ name, scope: "submit" as const, limits });

test("a key is found by what was given once, by nothing else; only its digest is kept", async () => {
  const { key, ...view } = await keys.create(request("ci.bot_1"), "bootstrap");
  assert.match(key, /^cardinal\.ci\.bot_1\.[\w-]{43}$/);
  assert.deepEqual(await keys.find(key), { name: "ci.bot_1", scope: "submit", limits: {} });
  for (const wrong of [
    "",
    "cardinal.",
    "cardinal.ci.bot_1.",
    key.slice(0, -1),
    `${key}A`,
    key.toUpperCase(),
    key.replace("ci.bot_1", "ci.bot_2"),
    key.replace("cardinal.", ""),
    `cardinal.../x.${key.slice(-43)}`,
    `cardinal.__proto__.${key.slice(-43)}`,
  ]) {
    assert.equal(await keys.find(wrong), undefined, wrong);
  }
  const dump = JSON.stringify(await queue.internals.redis.hgetall("t:api-keys"));
  assert.ok(!dump.includes(key.slice(-43)));
  const [listed] = await keys.list();
  assert.ok(listed?.lastUsedAt);
  assert.deepEqual({ ...view, lastUsedAt: listed.lastUsedAt }, listed);
  await keys.revoke("ci.bot_1");
  assert.equal(await keys.find(key), undefined);
  await assert.rejects(keys.revoke("ci.bot_1"), { code: "key_not_found" });
  assert.deepEqual(await keys.list(), []);
});

test("of many who make a key of one name one succeeds", async () => {
  const made = await Promise.allSettled(Array.from({ length: 10 }, () => keys.create(request("one"), "bootstrap")));
  const [first, ...others] = made.filter(({ status }) => status === "fulfilled");
  assert.equal(others.length, 0);
  assert.equal((await keys.find((first as PromiseFulfilledResult<{ key: string }>).value.key))?.name, "one");
});

test("limits hold over processes; what was refused uses up nothing", async () => {
  const other = await JobQueue.open(config, () => {});
  const processes = [new RateLimits(queue.internals), new RateLimits(other.internals)];
  const caller = { name: "limited", scope: "submit" as const, limits: { requestsPerMinute: 5, imagesPerDay: 100 } };
  const asked = await Promise.allSettled(Array.from({ length: 12 }, (_, n) => processes[n % 2]!.request(caller)));
  assert.equal(asked.filter(({ status }) => status === "fulfilled").length, 5);
  const refused = asked.find(({ status }) => status === "rejected") as PromiseRejectedResult;
  assert.equal(refused.reason.code, "rate_limited");
  assert.ok(refused.reason.details.retryAfterSeconds >= 1 && refused.reason.details.retryAfterSeconds <= 60);
  await processes[0]!.images(caller, 60);
  await assert.rejects(processes[1]!.images(caller, 50), { code: "rate_limited", message: /60 are used and 50 more/ });
  await processes[1]!.images(caller, 40);
  await assert.rejects(processes[0]!.images(caller, 1), { code: "rate_limited" });
  await processes[0]!.request({ ...caller, limits: {} });
  await other.close();
});
