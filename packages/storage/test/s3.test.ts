import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import fs from "node:fs/promises";
import { after, before, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { guardLeaks, s3Skip, startS3, type TempDir, type TestS3, tempDir } from "@cardinal/testing";
import { Client } from "minio";
import { type ObjectStore, openStore, type StoreConfigInput } from "../src/index.ts";
import { conformance } from "./conformance.ts";
import { bytesOf, code, digestOf, keysOf } from "./subject.ts";
import { type Decision, type Rules, startProxy, type TcpProxy } from "./tcp-proxy.ts";

guardLeaks();

const IDLE_MS = 200;
const skip = s3Skip();
if (skip) console.error(`WARNING: the S3 store is NOT tested: ${skip}`);

describe("s3 store", { skip }, () => {
  let server: TestS3;
  let folder: TempDir;
  before(async () => {
    [server, folder] = await Promise.all([startS3(), tempDir("s3")]);
  });
  after(async () => {
    await server.stop();
    await folder[Symbol.asyncDispose]();
  });

  const config = (changes: object = {}): StoreConfigInput => {
    const { endpoint, region, bucket, accessKey, secretKey } = server;
    return { kind: "s3", endpoint, region, bucket, accessKey, secretKey, tempDir: folder.path, ...changes };
  };
  const client = () => {
    const { accessKey, secretKey, port } = server;
    return new Client({ endPoint: "127.0.0.1", port, useSSL: false, accessKey, secretKey });
  };

  async function leftovers(): Promise<string[]> {
    const open: string[] = [];
    for await (const upload of client().listIncompleteUploads(server.bucket, "", true)) open.push(upload.key);
    return [...open, ...(await fs.readdir(folder.path))];
  }

  conformance({ open: () => openStore(config()), leftovers });

  it("makes the bucket only when it is told to", async () => {
    const bucket = `made-${randomBytes(6).toString("hex")}`;
    await assert.rejects(openStore(config({ bucket })), code("store_misconfigured"));
    await using _one = await openStore(config({ bucket, createBucket: true }));
    await using two = await openStore(config({ bucket }));
    await two.check();
    await client().removeBucket(bucket);
  });

  it("tells wrong keys and a server that is not there", async () => {
    await assert.rejects(openStore(config({ secretKey: "wrong" })), code("store_misconfigured"));
    const started = Date.now();
    await assert.rejects(openStore(config({ endpoint: "http://127.0.0.1:9" })), code("store_unavailable"));
    assert.ok(Date.now() - started < 5000);
  });

  describe("on a bad network", () => {
    let proxy: TcpProxy;
    const body = randomBytes(6_000_000);
    before(async () => {
      proxy = await startProxy(server.endpoint);
      await using direct = await openStore(config());
      await direct.put("bad/large", body);
    });
    after(async () => {
      await proxy[Symbol.asyncDispose]();
    });

    /** A store through the proxy, opened before the rules hold. */
    async function through(rules: Rules): Promise<ObjectStore> {
      proxy.rules = {};
      const store = await openStore(config({ endpoint: proxy.endpoint, idleTimeoutMs: IDLE_MS }));
      proxy.rules = rules;
      return store;
    }

    /** The first time that so many bytes have passed. */
    function once(decision: Decision, from: number): { rule: (bytes: number) => Decision; times: number } {
      const state = {
        times: 0,
        rule(bytes: number) {
          if (bytes < from || state.times > 0) return "pass" as const;
          state.times++;
          return decision;
        },
      };
      return state;
    }

    for (const fault of ["stall", "cut"] as const) {
      it(`resumes a download after a ${fault} in its middle`, async () => {
        const faults = once(fault, 2_000_000);
        await using store = await through({ downstream: faults.rule });
        assert.equal(digestOf(await store.read("bad/large")), digestOf(body));
        assert.equal(faults.times, 1);
        const again = once(fault, 1_000_000);
        proxy.rules = { downstream: again.rule };
        const part = await bytesOf(store, "bad/large", { range: { first: 1_000_000, last: 4_999_999 } });
        assert.equal(digestOf(part), digestOf(body.subarray(1_000_000, 5_000_000)));
        assert.equal(again.times, 1);
      });
    }

    it("gives up a download that stalls for good, in time", async () => {
      let passed = 0;
      await using store = await through({ downstream: () => (++passed > 20 ? "stall" : "pass") });
      const started = Date.now();
      await assert.rejects(store.read("bad/large"), code("store_timeout"));
      assert.ok(Date.now() - started < 4 * (IDLE_MS + 700), `${Date.now() - started} ms`);
    });

    it("gives up a download that brings some bytes on each connection and stalls", async () => {
      await using store = await through({ downstream: (bytes) => (bytes > 40_000 ? "stall" : "pass") });
      await assert.rejects(store.read("bad/large"), code("store_timeout"));
    });

    it("does not mix two objects when the first is replaced during a stall", async () => {
      await using direct = await openStore(config());
      await direct.put("bad/replaced", Buffer.alloc(6_000_000, "a"));
      await using store = await through({ downstream: (bytes) => (bytes > 1_000_000 ? "stall" : "pass") });
      const stream = await store.get("bad/replaced");
      await direct.put("bad/replaced", Buffer.alloc(6_000_000, "b"));
      await assert.rejects(stream.toArray(), code("object_changed"));
      const gone = await store.get("bad/replaced");
      await direct.delete("bad/replaced");
      await assert.rejects(gone.toArray(), code("object_changed"));
    });

    it("waits for a slow reader longer than for a slow server", async () => {
      await using store = await through({});
      let connections = 0;
      let bytes = 0;
      for await (const chunk of await store.get("bad/large")) {
        if (bytes === 0) {
          connections = proxy.connections;
          await sleep(3 * IDLE_MS);
        }
        bytes += chunk.length;
      }
      assert.equal(bytes, body.length);
      assert.equal(proxy.connections, connections, "the download went on on its connection");
    });

    it("gives up an upload that stalls, and stores nothing", async () => {
      await using store = await through({ upstream: (bytes) => (bytes > 50_000 ? "stall" : "pass") });
      await assert.rejects(store.put("bad/stalled", randomBytes(1_000_000)), code("store_timeout"));
      assert.equal(await store.stat("bad/stalled"), undefined);
      proxy.rules = {};
      await store.put("bad/stalled", Buffer.from("now"));
    });

    it("ends a stalled upload when its signal aborts", async () => {
      await using store = await through({ upstream: (bytes) => (bytes > 50_000 ? "stall" : "pass") });
      const put = store.put("bad/aborted", randomBytes(1_000_000), { signal: AbortSignal.timeout(50) });
      await assert.rejects(put, { name: "TimeoutError" });
      proxy.rules = {};
      assert.equal(await store.stat("bad/aborted"), undefined);
    });

    it("recognises its own object when the answer to a conditional put got lost", async () => {
      const commits = [
        { size: 1000, commit: "PUT /" },
        { size: 9_000_000, commit: "<CompleteMultipartUpload" },
      ];
      for (const { size, commit } of commits) {
        const key = `bad/lost-${size}`;
        const seen = { commits: 0, cuts: 0 };
        await using store = await through({
          upstream(_, piece) {
            if (piece.includes(commit)) seen.commits++;
            return "pass";
          },
          // The server has stored the object before it sends a byte of its answer.
          downstream: () => (seen.commits === 1 && seen.cuts++ === 0 ? "cut" : "pass"),
        });
        assert.equal((await store.put(key, Buffer.alloc(size, "x"), { ifAbsent: true })).bytes, size);
        assert.equal((await store.stat(key))?.bytes, size);
        assert.deepEqual([seen.commits, seen.cuts > 0], [2, true]);
        assert.deepEqual(await leftovers(), []);
      }
    });

    it("tells a server that has gone", async () => {
      await using store = await through({ upstream: () => "cut" });
      const calls = [
        () => store.read("bad/large"),
        () => store.put("bad/x", Buffer.from("x")),
        () => store.check(),
        () => keysOf(store, ""),
      ];
      await Promise.all(calls.map((call) => assert.rejects(call, code("store_unavailable"))));
      await assert.rejects(store.swapPointer("bad/p", undefined, 1), code("store_unavailable"));
    });
  });
});
