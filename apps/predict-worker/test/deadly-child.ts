/**
 * A compute process as inference-child.ts is one, but that it dies of certain images: those whose digests stand in the
 * file that DEADLY names, one a line. Each prediction of an image is noted in the file that SEEN names.
 */
import { appendFileSync, existsSync, readFileSync } from "node:fs";
import { shardPayloadSchema } from "@cardinal/contracts";
import { blobReader } from "@cardinal/dataset";
import { ModelCache, predictShard, SessionPool } from "@cardinal/inference";
import { serveTasks } from "@cardinal/queue/child";
import { openStore, storeConfigFromEnv } from "@cardinal/storage";

const store = await openStore(storeConfigFromEnv(process.env));
const cache = new ModelCache({ store, dir: process.env.CACHE_DIR!, maxBytes: 1e9 });
const models = new SessionPool({ cache, threads: 1, maxBytes: 1e9 });
const blobs = blobReader(store, { memoryBytes: 0 });
const { DEADLY, SEEN } = process.env as { DEADLY: string; SEEN: string };

async function read(sha256: string): Promise<Uint8Array> {
  if (existsSync(DEADLY) && readFileSync(DEADLY, "utf8").split("\n").includes(sha256)) {
    process.kill(process.pid, "SIGKILL");
    await new Promise(() => {});
  }
  appendFileSync(SEEN, `${sha256}\n`);
  return blobs(sha256);
}

serveTasks({
  shard: async (input, { emit, signal }) => {
    const { payload, range } = input as { payload: unknown; range?: { first: number; count: number } };
    const parsed = shardPayloadSchema.parse(payload);
    return predictShard({ store, payload: parsed, range, models, read, batchSize: 4, emit, signal });
  },
});
