import assert from "node:assert/strict";
import { test } from "node:test";
import { layout, type ObjectStore, resumeRemoval } from "@cardinal/storage";
import { type CollectOptions, collectBlobs, datasetRemoval, deleteDataset, deleteVersion } from "../src/catalog.ts";
import { listDatasets, listVersions, readDataset, readManifest } from "../src/index.ts";
import { collect } from "./collect.ts";
import { files, keys, workspace } from "./ingesting.ts";

const noJobs = { jobs: async (): Promise<string[]> => [] };
const nobody = async function* () {};
const held = { isHeld: () => true, release: async () => {} };
const now: CollectOptions = { graceMs: 0, hold: async () => held, kept: nobody };

/** Images 0 to 2 in the first version, 0 to 4 in the second. */
const FIRST = files("train/a/1.png", "train/b/2.png", "val/b/3.png");
const SECOND = files("train/a/1.png", "train/b/2.png", "val/b/3.png", "val/a/4.png", "val/a/5.png");

const blobs = async (store: ObjectStore) => (await keys(store)).filter((key) => key.startsWith(layout.blobs));

async function assertWhole(store: ObjectStore, name: string): Promise<void> {
  for (const split of ["train", "val"] as const) {
    for (const { sha256 } of await collect(
      readManifest(store, name, (await readDataset(store, name)).version, split),
    )) {
      await store.read(layout.blob(sha256), { sha256 });
    }
  }
}

test("the latest version goes: the one before is the latest again; the last goes: the name is free", async () => {
  await using space = await workspace();
  const first = await space.ingest(FIRST);
  const second = await space.ingest(SECOND);
  assert.deepEqual(
    (await listVersions(space.store, "set")).map(({ version }) => version),
    [second.version, first.version],
  );
  await assert.rejects(deleteVersion(space.store, "set", second.version, { jobs: async () => ["train-1"] }), {
    code: "dataset_in_use",
    details: { name: "set", version: second.version, jobs: ["train-1"] },
  });
  await deleteVersion(space.store, "set", second.version, noJobs);
  assert.equal((await readDataset(space.store, "set")).version, first.version);
  await assertWhole(space.store, "set");
  await deleteVersion(space.store, "set", first.version, noJobs);
  assert.deepEqual(await collect(listDatasets(space.store)), []);
  await assert.rejects(deleteDataset(space.store, "set", noJobs), { code: "dataset_not_found" });
  assert.deepEqual(await keys(space.store), await blobs(space.store));
  // The very same files make the very same version again.
  assert.deepEqual([(await space.ingest(FIRST)).version, 1], [first.version, 1]);
  await assertWhole(space.store, "set");
});

test("all versions of a name, or none when one is in use", async () => {
  await using space = await workspace();
  const first = await space.ingest(FIRST);
  await space.ingest(SECOND);
  const jobs = async (version: string) => (version === first.version ? ["predict-1"] : []);
  await assert.rejects(deleteDataset(space.store, "set", { jobs }), { code: "dataset_in_use" });
  assert.equal((await listVersions(space.store, "set")).length, 2);
  assert.equal((await deleteDataset(space.store, "set", noJobs)).length, 2);
  assert.deepEqual(await collect(listDatasets(space.store)), []);
});

test("a process that dies at any write leaves a version that works or one that the next process ends", async () => {
  for (let dies = 1, died = true; died; dies++) {
    await using space = await workspace();
    const first = await space.ingest(FIRST);
    const second = await space.ingest(SECOND);
    died = await deleteVersion(dying(space.store, dies), "set", second.version, noJobs).then(
      () => false,
      (error) => /died/.test(error.message) || assert.fail(error),
    );
    if (!died) break;
    const key = layout.datasetRemoval("set", second.version);
    const found = await space.store.readPointer(key);
    if (found) {
      await space.store.swapPointer(key, found.etag, { ...(found.value as object), at: new Date(0).toISOString() });
    }
    await resumeRemoval(space.store, datasetRemoval(space.store, "set", second.version, noJobs));
    const latest = (await readDataset(space.store, "set")).version;
    const left = (await keys(space.store)).filter((key) =>
      key.startsWith(layout.datasetVersion("set", second.version)),
    );
    if (latest === second.version) await assertWhole(space.store, "set");
    else assert.deepEqual([latest, left], [first.version, []], `write ${dies}`);
  }
});

/** A store whose writer dies before its change number `dies`. */
function dying(store: ObjectStore, dies: number): ObjectStore {
  let changes = 0;
  return new Proxy(store, {
    get(target, name) {
      const property = name as keyof ObjectStore & string;
      const method = target[property];
      if (typeof method !== "function") return method;
      return (...args: unknown[]) => {
        const isChange = ["put", "swapPointer", "delete", "deletePrefix"].includes(property);
        if (isChange && ++changes >= dies) throw new Error("died");
        return Reflect.apply(method, target, args);
      };
    },
  });
}

test("blobs that no version refers to go, those that another shares stay, and what Cardinal has not named", async () => {
  await using space = await workspace();
  await space.ingest(FIRST);
  const second = await space.ingest(SECOND);
  await space.store.put(`${layout.blobs}README`, Buffer.from("mine"));
  assert.equal((await collectBlobs(space.store, now)).removed, 0);
  await deleteVersion(space.store, "set", second.version, noJobs);
  const young = await collectBlobs(space.store, { ...now, graceMs: 60_000 });
  assert.deepEqual([young.removed, young.young], [0, 2]);
  const { removed, bytes } = await collectBlobs(space.store, now);
  assert.equal(removed, 2);
  assert.ok(bytes > 0);
  await assertWhole(space.store, "set");
  assert.equal((await blobs(space.store)).length, 3 + 1);
});

test("no blob goes while an ingest is under way, or one that came during the mark, or one that an open job lists", async () => {
  await using space = await workspace();
  const { version } = await space.ingest(FIRST);
  const rows = await collect(readManifest(space.store, "set", version, "train"));
  await deleteVersion(space.store, "set", version, noJobs);
  const refused = await collectBlobs(space.store, { ...now, hold: async () => undefined });
  assert.deepEqual([refused.removed, refused.interrupted], [0, true]);
  const expired = { isHeld: () => false, release: async () => {} };
  assert.equal((await collectBlobs(space.store, { ...now, hold: async () => expired })).removed, 0);
  // An ingest ends between the mark and the hold: it has found its images there already.
  const late = async () => {
    await space.ingest(FIRST);
    return held;
  };
  assert.equal((await collectBlobs(space.store, { ...now, hold: late })).removed, 0);
  await assertWhole(space.store, "set");
  await deleteVersion(space.store, "set", version, noJobs);
  const kept = async function* () {
    yield rows[0]!.sha256;
  };
  assert.equal((await collectBlobs(space.store, { ...now, kept })).removed, 2);
  assert.deepEqual(await blobs(space.store), [layout.blob(rows[0]!.sha256)]);
});

test("a collection stops when it is told to", async () => {
  await using space = await workspace();
  const { version } = await space.ingest(FIRST);
  await deleteVersion(space.store, "set", version, noJobs);
  const stop = new AbortController();
  let released = false;
  const hold = async () => {
    stop.abort();
    const release = async () => {
      released = true;
    };
    return { isHeld: () => true, release };
  };
  await assert.rejects(collectBlobs(space.store, { ...now, hold, signal: stop.signal }), { name: "AbortError" });
  assert.ok(released);
  assert.equal((await blobs(space.store)).length, 3);
});
