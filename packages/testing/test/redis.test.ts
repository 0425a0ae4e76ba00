import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { Redis } from "ioredis";
import { guardLeaks, startRedis, tempDir, waitFor } from "../src/index.ts";

guardLeaks();

const isAlive = (pid: number) => {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
};

async function ask<T>(url: string, question: (redis: Redis) => Promise<T>): Promise<T> {
  const redis = new Redis(url, { maxRetriesPerRequest: 0 });
  try {
    return await question(redis);
  } finally {
    redis.disconnect();
  }
}

for (const kind of ["redis", "valkey"] as const) {
  test(`${kind} answers with the settings of production and ends by its own pid`, async () => {
    const server = await startRedis({ kind });
    const policy = await ask(server.url, (redis) => redis.config("GET", "maxmemory-policy"));
    const [, dir] = (await ask(server.url, (redis) => redis.config("GET", "dir"))) as string[];
    assert.deepEqual(policy, ["maxmemory-policy", "noeviction"]);
    assert.deepEqual(await ask(server.url, (redis) => redis.config("GET", "appendonly")), ["appendonly", "yes"]);
    assert.ok(isAlive(server.pid));
    await server.stop();
    await server.stop();
    assert.ok(!isAlive(server.pid));
    assert.throws(() => readdirSync(dir as string), { code: "ENOENT" });
  });
}

test("data survives a kill when the folder is the caller's, on the same port", async () => {
  await using folder = await tempDir("redis");
  await using first = await startRedis({ dir: folder.path });
  await ask(first.url, (redis) => redis.set("key", "value"));
  await first.kill();
  assert.ok(!isAlive(first.pid));
  await using second = await startRedis({ dir: folder.path, port: first.port });
  assert.equal(second.url, first.url);
  assert.equal(await ask(second.url, (redis) => redis.get("key")), "value");
});

test("a server with a password starts, too", async () => {
  await using server = await startRedis({ args: ["--requirepass", "secret"] });
  const url = server.url.replace("//", "//:secret@");
  assert.equal(await ask(url, (redis) => redis.ping()), "PONG");
});

test("a server that cannot start is an error with what it printed", async () => {
  await assert.rejects(
    startRedis({ args: ["--no-such-option", "1"] }),
    /ended \(1\) before it answered.*no-such-option/s,
  );
  await using taken = await startRedis();
  await assert.rejects(startRedis({ port: taken.port }), /Address already in use/);
});

test("the server ends with the test process, even when that is killed", {
  skip: process.platform !== "linux",
}, async () => {
  const door = path.join(import.meta.dirname, "../src/index.ts");
  const script = `import { startRedis } from ${JSON.stringify(door)};
    console.log((await startRedis({ dir: process.argv[1] })).pid);
    setInterval(() => {}, 1000);`;
  await using folder = await tempDir("redis");
  const child = spawn(process.execPath, ["--input-type=module", "-e", script, folder.path]);
  const [line] = await once(child.stdout, "data");
  const pid = Number(line);
  assert.ok(isAlive(pid));
  child.kill("SIGKILL");
  await once(child, "close");
  await waitFor(() => !isAlive(pid), { what: "the server to end" });
});
