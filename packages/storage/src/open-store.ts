import { type StoreConfigInput, storeConfigSchema } from "./config.ts";
import { DirectoryStore } from "./directory/directory-store.ts";
import type { ObjectStore } from "./object-store.ts";
import { S3Store } from "./s3/s3-store.ts";

/**
 * Opens the store that the configuration names; whoever opens it closes it. A directory is made when it is not there,
 * a bucket with `createBucket`. Throws `store_misconfigured`, `store_unavailable` or `store_timeout`.
 */
export async function openStore(config: StoreConfigInput): Promise<ObjectStore> {
  const parsed = storeConfigSchema.parse(config);
  return parsed.kind === "directory" ? await DirectoryStore.open(parsed.path) : await S3Store.open(parsed);
}
