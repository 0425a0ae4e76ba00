import assert from "node:assert/strict";
import { test } from "node:test";
import { layout, type ObjectStore } from "@cardinal/storage";
import { ingestArchive, readDataset, readManifest } from "../src/index.ts";
import { collect } from "./collect.ts";
import { files, keys, workspace } from "./ingesting.ts";

/** A store whose writer dies at its write number `dies`: that write and all later ones never happen. */
function dying(store: ObjectStore, dies: number): ObjectStore & { writes: number } {
  const handler = {
    writes: 0,
    get(target: ObjectStore, property: keyof ObjectStore | "writes") {
      if (property === "writes") return this.writes;
      const method = target[property];
      if (typeof method !== "function") return method;
      return (...args: unknown[]) => {
        if ((property === "put" || property === "swapPointer") && ++this.writes >= dies) throw new Error("died");
        return Reflect.apply(method, target, args);
      };
    },
  };
  return new Proxy(store, handler as ProxyHandler<ObjectStore>) as ObjectStore & { writes: number };
}

const content = files("train/a/1.png", "train/b/2.png", "val/b/3.png");
/** 3 blobs, 2 splits, manifest, classes, report, dataset.json, the pointer. */
const WRITES = 10;

for (let dies = 1; dies <= WRITES; dies++) {
  test(`a process that dies at write ${dies} leaves no version or a whole one, and the next repairs it`, async () => {
    await using space = await workspace();
    await assert.rejects(space.ingest(content, {}, { store: dying(space.store, dies) }), /died/);
    await assert.rejects(readDataset(space.store, "set"), { code: "dataset_not_found" });
    const { version, created } = await space.ingest(content);
    assert.equal(created, dies < WRITES); // at the last write only the pointer was missing
    assert.equal((await readDataset(space.store, "set")).version, version);
    for (const split of ["train", "val"] as const) {
      for (const row of await collect(readManifest(space.store, "set", version, split))) {
        await space.store.read(layout.blob(row.sha256), { sha256: row.sha256 });
      }
    }
    const there = await keys(space.store);
    for (const key of [
      layout.manifest("set", version),
      layout.classes("set", version),
      layout.report("set", version),
    ]) {
      assert.ok(there.includes(key), key);
    }
  });
}

test("an undisturbed ingest makes exactly those writes", async () => {
  await using space = await workspace();
  const store = dying(space.store, Number.POSITIVE_INFINITY);
  await space.ingest(content, {}, { store });
  assert.equal(store.writes, WRITES);
});

test("a blob that was lost is put again by the next ingest of the same files", async () => {
  await using space = await workspace();
  const { version } = await space.ingest(content);
  const [row] = await collect(readManifest(space.store, "set", version, "val"));
  await space.store.delete(layout.blob(row!.sha256));
  assert.equal((await space.ingest(content)).created, false);
  await space.store.read(layout.blob(row!.sha256), { sha256: row!.sha256 });
});

test("ingests of one name at the same time: the same files make one version, others a version each", async () => {
  await using space = await workspace();
  const archivePath = await space.archive(content);
  const other = await space.archive(files("x/1.png", "y/2.png"));
  const ingest = (path: string) =>
    ingestArchive({
      archivePath: path,
      store: space.store,
      request: { name: "set", valFraction: 0.1, seed: 0 },
      emit: () => {},
    });
  const results = await Promise.all([ingest(archivePath), ingest(archivePath), ingest(archivePath), ingest(other)]);
  assert.equal(new Set(results.slice(0, 3).map(({ version }) => version)).size, 1);
  assert.equal(results.slice(0, 3).filter(({ created }) => created).length, 1);
  assert.equal(results[3]!.created, true);
  const { version } = await readDataset(space.store, "set");
  assert.ok(results.some((result) => result.version === version));
});
