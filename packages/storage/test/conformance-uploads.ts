/** Puts that fail, race or are large. */
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { Readable } from "node:stream";
import { it } from "node:test";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { problem } from "@cardinal/contracts";
import { bytesOf, code, digestOf, keysOf, type Subject } from "./subject.ts";

/** Gives some bytes, then fails as a client does that goes away. */
function dyingSource(bytes: number): Readable {
  let left = bytes;
  return new Readable({
    read() {
      if (left <= 0) return void this.destroy(new Error("client went away"));
      left -= 65_536;
      this.push(Buffer.alloc(65_536));
    },
  });
}

/** Few buffers, given again and again, so that what memory grows by is the store's. */
function randomStream(bytes: number, onChunk: (chunk: Buffer) => void): Readable {
  const buffers = Array.from({ length: 7 }, () => randomBytes(65_536));
  return Readable.from(
    (function* () {
      for (let i = 0; i < bytes / 65_536; i++) {
        const chunk = buffers[i % 7] as Buffer;
        onChunk(chunk);
        yield chunk;
      }
    })(),
    { objectMode: false },
  );
}

const gc = (() => {
  setFlagsFromString("--expose-gc");
  return runInNewContext("gc") as () => void;
})();

/** Bytes of buffers that something still refers to. */
function liveBuffers(): number {
  gc();
  return process.memoryUsage().arrayBuffers;
}

export function uploads(subject: Subject): void {
  async function leavesNothing(prefix: string, work: (key: string) => Promise<unknown>): Promise<void> {
    await using store = await subject.open();
    await work(`${prefix}/object`);
    assert.deepEqual(await keysOf(store, `${prefix}/`), []);
    assert.deepEqual(await subject.leftovers(), []);
  }

  for (const bytes of [0, 200_000, 20_000_000]) {
    it(`stores nothing of a source that dies after ${bytes} bytes`, async () => {
      await using store = await subject.open();
      await leavesNothing("uploads/dies", async (key) => {
        await assert.rejects(store.put(key, dyingSource(bytes)), code("upload_failed"));
      });
    });
  }

  it("stores nothing of a source that is dead before it is read", async () => {
    await using store = await subject.open();
    await leavesNothing("uploads/dead", async (key) => {
      const dead = new Readable({ read() {} });
      dead.on("error", () => {}).destroy(new Error("gone"));
      await assert.rejects(store.put(key, dead), code("upload_failed"));
      const dying = new Readable({ read() {} });
      const put = store.put(key, dying);
      // In the same turn: nothing has been read yet, nothing of ours has been awaited.
      dying.destroy(new Error("gone"));
      await assert.rejects(put, code("upload_failed"));
      const refusing = new Readable({ read() {} });
      refusing.on("error", () => {}).destroy(problem("body_too_large", "the source has seen enough"));
      await assert.rejects(store.put(key, refusing), code("body_too_large"));
      const ended = Readable.from([Buffer.from("x")]);
      await ended.toArray();
      await assert.rejects(store.put(key, ended), code("upload_failed"));
    });
  });

  it("stores nothing of a source that is shorter or longer than said, or has another digest", async () => {
    await using store = await subject.open();
    await leavesNothing("uploads/wrong", async (key) => {
      const ten = Buffer.alloc(10);
      for (const source of [() => ten, () => Readable.from([ten])]) {
        await assert.rejects(store.put(key, source(), { bytes: 11 }), code("upload_failed"));
        await assert.rejects(store.put(key, source(), { bytes: 9 }), code("upload_failed"));
        await assert.rejects(store.put(key, source(), { sha256: digestOf(Buffer.alloc(9)) }), code("digest_mismatch"));
      }
      const endless = Readable.from(
        (function* () {
          for (;;) yield Buffer.alloc(65_536);
        })(),
      );
      await assert.rejects(store.put(key, endless, { bytes: 100_000 }), code("upload_failed"));
      assert.ok(endless.destroyed, "the source is let go");
    });
  });

  it("stores nothing when its signal aborts, with a source that has stalled", async () => {
    await using store = await subject.open();
    await leavesNothing("uploads/aborted", async (key) => {
      const stop = new AbortController();
      const stalled = new Readable({ read() {} });
      stalled.push(Buffer.alloc(1000));
      const put = store.put(key, stalled, { signal: stop.signal });
      setImmediate(() => stop.abort());
      await assert.rejects(put, { name: "AbortError" });
      assert.ok(stalled.destroyed);
      await assert.rejects(store.put(key, Buffer.from("x"), { signal: AbortSignal.abort() }), { name: "AbortError" });
    });
  });

  it("keeps the old object when a put fails", async () => {
    await using store = await subject.open();
    await store.put("uploads/kept", Buffer.from("old"));
    await assert.rejects(store.put("uploads/kept", dyingSource(500_000)), code("upload_failed"));
    assert.equal(String(await store.read("uploads/kept")), "old");
  });

  it("lets one of 50 racers create an object", async () => {
    await using store = await subject.open();
    await using other = await subject.open();
    const racers = Array.from({ length: 50 }, (_, i) => {
      const body = Buffer.from(`racer ${i}`);
      return (i % 2 ? store : other).put("uploads/raced", i % 3 ? body : Readable.from([body]), { ifAbsent: true });
    });
    const results = await Promise.allSettled(racers);
    const winners = results.flatMap((result, i) => (result.status === "fulfilled" ? [i] : []));
    assert.equal(winners.length, 1);
    assert.equal(String(await store.read("uploads/raced")), `racer ${winners[0]}`);
    for (const result of results) {
      if (result.status === "rejected") assert.equal(result.reason.code, "object_exists", result.reason);
    }
    const late = Readable.from([Buffer.from("late")]);
    await assert.rejects(store.put("uploads/raced", late, { ifAbsent: true }), code("object_exists"));
    assert.ok(late.destroyed);
    assert.deepEqual(await subject.leftovers(), []);
  });

  it("lets one of three racers create a large object", async () => {
    await using store = await subject.open();
    const bodies = ["a", "b", "c"].map((letter) => Buffer.alloc(9_000_000, letter));
    const results = await Promise.allSettled(
      bodies.map((body) => store.put("uploads/large-raced", body, { ifAbsent: true })),
    );
    assert.deepEqual(results.map(({ status }) => status).sort(), ["fulfilled", "rejected", "rejected"]);
    const winner = results.findIndex(({ status }) => status === "fulfilled");
    assert.equal(digestOf(await store.read("uploads/large-raced")), digestOf(bodies[winner] as Buffer));
    assert.deepEqual(await subject.leftovers(), []);
  });

  it("never mixes two writers of one key", async () => {
    await using store = await subject.open();
    const bodies = ["a", "b"].map((letter) => Buffer.alloc(20_000_000, letter));
    await Promise.all(bodies.map((body) => store.put("uploads/two-writers", body)));
    const stored = digestOf(await store.read("uploads/two-writers"));
    assert.ok(bodies.map(digestOf).includes(stored));
  });

  it("streams 64 MB through with bounded memory", async () => {
    await using store = await subject.open();
    const size = 64 * 1024 * 1024;
    const hash = createHash("sha256");
    const before = liveBuffers();
    let peak = 0;
    let passed = 0;
    const look = (chunk: Buffer) => {
      passed += chunk.length;
      if (passed % (8 * 1024 * 1024) < chunk.length) peak = Math.max(peak, liveBuffers() - before);
    };
    const source = randomStream(size, (chunk) => {
      hash.update(chunk);
      look(chunk);
    });
    const put = await store.put("uploads/stream", source, { bytes: size });
    assert.equal(put.sha256, hash.digest("hex"));
    const back = createHash("sha256");
    for await (const chunk of await store.get("uploads/stream")) {
      back.update(chunk);
      look(chunk);
    }
    assert.equal(back.digest("hex"), put.sha256);
    assert.ok(
      peak < 32 * 1024 * 1024,
      `${Math.round(peak / 1e6)} MB of buffers for an object of ${Math.round(size / 1e6)} MB`,
    );
    const range = { first: size - 10_000_000, last: size - 1 };
    assert.equal((await bytesOf(store, "uploads/stream", { range })).length, 10_000_000);
    await store.delete("uploads/stream");
  });
}
