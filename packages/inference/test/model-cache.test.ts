import assert from "node:assert/strict";
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { readdir, readFile, truncate, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { layout, type ObjectStore } from "@cardinal/storage";
import { guardLeaks } from "@cardinal/testing";
import { ModelCache } from "../src/index.ts";
import { onnx, publishModel, testBench } from "./fixture.ts";

guardLeaks();

/** The store, counting the fetches of networks. */
function counting(store: ObjectStore) {
  const count = { fetches: 0 };
  const proxy = new Proxy(store, {
    get(target, name) {
      if (name === "get") count.fetches++;
      const member = Reflect.get(target, name);
      return typeof member === "function" ? member.bind(target) : member;
    },
  });
  return { store: proxy, count };
}

test("a model is fetched once and lies under its digest", async () => {
  await using bench = await testBench();
  const model = await publishModel(bench.store);
  const { store, count } = counting(bench.store);
  const caches = [1, 2, 3].map(() => new ModelCache({ store, dir: bench.cacheDir, maxBytes: 1e9 }));
  const found = await Promise.all(caches.map((cache) => cache.get(model)));
  for (const { id, manifest, onnxPath } of found) {
    assert.equal(id, model);
    assert.equal(onnxPath, join(bench.cacheDir, `${manifest.files["model.onnx"].sha256}.onnx`));
    assert.deepEqual(await readFile(onnxPath), Buffer.from(onnx));
  }
  assert.equal(count.fetches, 1);
  await caches[0]!.get(model);
  assert.equal(count.fetches, 1);
  assert.equal((await readdir(bench.cacheDir)).length, 1, "no lock and no temp file is left");
});

test("processes that want one model at once fetch it once", async () => {
  await using bench = await testBench();
  const model = await publishModel(bench.store);
  const script = join(import.meta.dirname, "fetch-child.ts");
  const storePath = join(bench.cacheDir, "../store");
  // execArgv: the test runner's own options are not for them.
  const children = [1, 2].map(() => fork(script, [storePath, bench.cacheDir, model], { execArgv: [] }));
  await Promise.all(children.map(messageOf));
  const answers = await Promise.all(children.map(answerOf));
  assert.equal(answers[0]!.onnxPath, answers[1]!.onnxPath);
  assert.equal(answers[0]!.fetches + answers[1]!.fetches, 1);
  assert.deepEqual(await readFile(answers[0]!.onnxPath), Buffer.from(onnx));
});

/** The child's next message; an error when it ends without one. */
async function messageOf(child: ChildProcess) {
  const ended = new AbortController();
  const end = once(child, "exit", { signal: ended.signal }).then(([code]) => {
    throw new Error(`the child ended with ${code}`);
  });
  try {
    return (await Promise.race([once(child, "message", { signal: ended.signal }), end]))[0];
  } finally {
    ended.abort();
    end.catch(() => {});
  }
}

async function answerOf(child: ChildProcess): Promise<{ onnxPath: string; fetches: number }> {
  const exit = once(child, "exit");
  child.send("go");
  const answer = await messageOf(child);
  assert.deepEqual(await exit, [0, null]);
  return answer;
}

test("the lock of a process that died does not stop the next one", async () => {
  await using bench = await testBench();
  const model = await publishModel(bench.store);
  const { onnxPath } = await bench.cache.get(model);
  await truncate(onnxPath, 10);
  await writeFile(`${onnxPath}.lock`, "");
  await writeFile(`${onnxPath}.left-behind.part`, "half a mod");
  const longAgo = new Date(Date.now() - 60_000);
  for (const suffix of [".lock", ".left-behind.part"]) await utimes(onnxPath + suffix, longAgo, longAgo);
  assert.deepEqual(await readFile((await bench.cache.get(model)).onnxPath), Buffer.from(onnx));
  assert.equal((await readdir(bench.cacheDir)).length, 1);
});

test("a file that was damaged on the disk is fetched anew", async () => {
  await using bench = await testBench();
  const model = await publishModel(bench.store);
  const { onnxPath } = await bench.cache.get(model);
  const bytes = await readFile(onnxPath);
  bytes[bytes.length >> 1]! ^= 1;
  await writeFile(onnxPath, bytes);
  await bench.cache.get(model);
  assert.deepEqual(await readFile(onnxPath), Buffer.from(onnx));
});

test("bytes in the store that are not the manifest's are refused, and nothing is kept of them", async () => {
  await using bench = await testBench();
  const model = await publishModel(bench.store);
  const changed = Buffer.from(onnx);
  changed[changed.length >> 1]! ^= 1;
  await bench.store.put(layout.modelFile(model, "model.onnx"), changed);
  await assert.rejects(bench.cache.get(model), { code: "model_corrupt", message: /has digest/ });
  assert.deepEqual(await readdir(bench.cacheDir), []);
});

test("unknown models are said to be unknown", async () => {
  await using bench = await testBench();
  await assert.rejects(bench.cache.get("mdl-none-1"), { code: "model_not_found" });
});

test("the longest unused files leave when there are too many bytes", async () => {
  await using bench = await testBench();
  const ids: string[] = [];
  for (const number of [0, 1, 2]) {
    const bytes = Buffer.concat([onnx, Buffer.alloc(number)]); // another digest
    ids.push(await publishModel(bench.store, { number, bytes }));
  }
  const cache = new ModelCache({ store: bench.store, dir: bench.cacheDir, maxBytes: 2.5 * onnx.length });
  const paths: string[] = [];
  for (const [age, id] of ids.slice(0, 2).entries()) {
    const { onnxPath } = await cache.get(id);
    paths.push(onnxPath);
    const used = new Date(Date.now() - 10_000 + age);
    await utimes(onnxPath, used, used);
  }
  await cache.get(ids[0]!); // now the second is the longest unused
  paths.push((await cache.get(ids[2]!)).onnxPath);
  const left = (await readdir(bench.cacheDir)).map((name) => join(bench.cacheDir, name));
  assert.deepEqual(left.sort(), [paths[0]!, paths[2]!].sort());
  const tiny = new ModelCache({ store: bench.store, dir: bench.cacheDir, maxBytes: 1 });
  const { onnxPath } = await tiny.get(ids[1]!);
  assert.deepEqual(await readdir(bench.cacheDir), [onnxPath.slice(bench.cacheDir.length + 1)]);
});
