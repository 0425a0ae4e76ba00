/**
 * Removes images that no data set refers to any more.
 *
 * 1. Mark: the digests of all manifests are read, without holding anybody up.
 * 2. Candidates: blobs that are not among them and older than the grace age.
 * 3. Sweep, batch by batch under a hold (`hold`) that keeps ingests from writing and is refused while one is under way:
 *    an ingest relies on blobs that are there already, before its manifest says so. Under the hold manifests that have
 *    come since the mark are read, then what is still unwanted goes. A hold lasts a second or so; ingests wait for it.
 *
 * Invariants: a blob is deleted only under a hold, and only when every manifest that exists then, and every list of an
 * open job (`kept`), lacks it. Cut off anywhere, it leaves fewer unwanted blobs than there were.
 *
 * Memory: 16 bytes and JavaScript's overhead for each distinct image of all data sets, some 80 MB for a million.
 */
import { CardinalError, problem, sha256Schema } from "@cardinal/contracts";
import { layout, type ObjectStore } from "@cardinal/storage";
import { findDataset } from "./datasets.ts";
import { parseManifest } from "./manifest.ts";

/** A hold by which no ingest writes. */
export interface Hold {
  /** False once it may have run out: nothing must be deleted then. */
  isHeld(): boolean;
  release(): Promise<void>;
}

export interface CollectOptions {
  /** Undefined while an ingest is under way. */
  hold(): Promise<Hold | undefined>;
  /** Digests that open jobs read by themselves, asked under each hold. */
  kept(): AsyncIterable<string>;
  /** Younger blobs stay, in milliseconds. */
  graceMs: number;
  signal?: AbortSignal;
}

export interface Collection {
  removed: number;
  bytes: number;
  /** Unwanted ones that were too young. */
  young: number;
  /** An ingest came in between: the rest is left to the next collection. */
  interrupted: boolean;
}

/** Blobs deleted under one hold, at most. */
const BATCH = 200;

export async function collectBlobs(store: ObjectStore, options: CollectOptions): Promise<Collection> {
  const { signal, graceMs } = options;
  const wanted = new Wanted(store, signal);
  await wanted.readManifests();
  const collection: Collection = { removed: 0, bytes: 0, young: 0, interrupted: false };
  const sweep = async (batch: Candidate[]) => {
    if (batch.length > 0) await sweepBatch(store, batch, wanted, options, collection);
  };
  let batch: Candidate[] = [];
  for await (const { key, bytes, modifiedAt } of store.list(layout.blobs)) {
    signal?.throwIfAborted();
    const sha256 = key.slice(key.lastIndexOf("/") + 1);
    // What Cardinal has not named is not its to remove.
    if (!sha256Schema.safeParse(sha256).success || wanted.has(sha256)) continue;
    if (Date.now() - modifiedAt.getTime() < graceMs) collection.young++;
    else batch.push({ key, sha256, bytes });
    if (batch.length < BATCH) continue;
    await sweep(batch);
    batch = [];
    if (collection.interrupted) break;
  }
  await sweep(batch);
  return collection;
}

interface Candidate {
  key: string;
  sha256: string;
  bytes: number;
}

async function sweepBatch(
  store: ObjectStore,
  batch: Candidate[],
  wanted: Wanted,
  { hold, kept, signal }: CollectOptions,
  collection: Collection,
): Promise<void> {
  const held = await hold();
  if (!held) {
    collection.interrupted = true;
    return;
  }
  try {
    await wanted.readManifests();
    const inUse = new Set<string>();
    for await (const sha256 of kept()) inUse.add(sha256);
    for (const { key, sha256, bytes } of batch) {
      signal?.throwIfAborted();
      if (wanted.has(sha256) || inUse.has(sha256)) continue;
      if (!held.isHeld()) {
        collection.interrupted = true;
        return;
      }
      await store.delete(key);
      collection.removed++;
      collection.bytes += bytes;
    }
  } finally {
    await held.release();
  }
}

/** The digests of all manifests; of a version that has been read nothing changes. */
class Wanted {
  readonly #store: ObjectStore;
  readonly #signal: AbortSignal | undefined;
  readonly #digests = new Set<string>();
  readonly #read = new Set<string>();

  constructor(store: ObjectStore, signal: AbortSignal | undefined) {
    this.#store = store;
    this.#signal = signal;
  }

  has(sha256: string): boolean {
    return this.#digests.has(short(sha256));
  }

  /** Reads the manifests that have not been read yet. A version that is deleted meanwhile wants nothing more. */
  async readManifests(): Promise<void> {
    for await (const name of this.#store.listFolders(layout.datasets)) {
      for await (const version of this.#store.listFolders(layout.datasetVersions(name))) {
        this.#signal?.throwIfAborted();
        const key = layout.manifest(name, version);
        if (this.#read.has(key) || !(await findDataset(this.#store, name, version))) continue;
        if (await this.#readManifest(key)) this.#read.add(key);
        // A manifest is missed only of a version that is being deleted: of any other, no image can be told unwanted.
        else if (await findDataset(this.#store, name, version)) throw problem("dataset_corrupt", `there is no ${key}`);
      }
    }
  }

  /** False when there is none. */
  async #readManifest(key: string): Promise<boolean> {
    try {
      for await (const { sha256 } of parseManifest(await this.#store.get(key), key)) this.#digests.add(short(sha256));
      return true;
    } catch (error) {
      if (error instanceof CardinalError && error.code === "object_not_found") return false;
      throw error;
    }
  }
}

/** Half of a digest, as 16 characters of a byte each: two images that share it keep each other. */
const short = (sha256: string): string => Buffer.from(sha256.slice(0, 32), "hex").toString("latin1");
