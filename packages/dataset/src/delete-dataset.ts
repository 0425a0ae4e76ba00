/**
 * Deleting a version of a data set, or all of them: refused while an open job uses it, and completed by whoever comes
 * next when the process dies (storage's removal.ts). Its images are blobs, which other versions may share: they stay
 * until `collectBlobs` finds that nobody refers to them.
 */
import { CardinalError, type DatasetVersion, problem } from "@cardinal/contracts";
import { layout, type ObjectStore, type Removal, removeUnused } from "@cardinal/storage";
import { findDataset, listVersions, readDataset } from "./datasets.ts";

export interface DeleteDatasetOptions {
  by?: string;
  /** Ids of the open jobs that use the version, and of the open ingests of its name. */
  jobs(version: string): Promise<string[]>;
}

/** Throws `dataset_not_found`, `dataset_in_use` with the jobs, `being_deleted`. */
export async function deleteVersion(
  store: ObjectStore,
  name: string,
  version: string,
  options: DeleteDatasetOptions,
): Promise<void> {
  await readDataset(store, name, version);
  await removeUnused(store, datasetRemoval(store, name, version, options));
}

/**
 * All versions, the oldest first; none when one of them is in use. Gives those that were deleted. One that comes to be
 * used in the middle ends it: then the older ones are gone. Throws like `deleteVersion`.
 */
export async function deleteDataset(
  store: ObjectStore,
  name: string,
  options: DeleteDatasetOptions,
): Promise<DatasetVersion[]> {
  const versions = (await listVersions(store, name)).reverse();
  const removals = versions.map(({ version }) => datasetRemoval(store, name, version, options));
  for (const removal of removals) await removal.refuseWhenUsed();
  for (const removal of removals) await removeUnused(store, removal);
  return versions;
}

export function datasetRemoval(
  store: ObjectStore,
  name: string,
  version: string,
  { by, jobs }: DeleteDatasetOptions,
): Removal {
  return {
    what: `version ${version} of the data set ${name}`,
    key: layout.datasetRemoval(name, version),
    by,
    async refuseWhenUsed() {
      const users = await jobs(version);
      if (users.length === 0) return;
      const names = users.join(", ");
      const message = `version ${version} of the data set ${name} is used by ${users.length > 1 ? "jobs" : "job"} ${names}`;
      throw problem("dataset_in_use", message, { name, version, jobs: users });
    },
    async remove() {
      await leaveLatest(store, name, version);
      await store.delete(layout.dataset(name, version));
      await store.deletePrefix(layout.datasetVersion(name, version));
    },
  };
}

/** The latest version becomes the newest of the others; without others the name is no data set any more. */
async function leaveLatest(store: ObjectStore, name: string, version: string): Promise<void> {
  const key = layout.datasetLatest(name);
  for (;;) {
    const pointer = await store.readPointer(key);
    if (!pointer || (pointer.value as { version?: unknown }).version !== version) return;
    const next = await newestBut(store, name, version);
    // Nobody makes a version of the name meanwhile: its ingests are refused while this one is being removed.
    if (next === undefined) return store.delete(key);
    try {
      await store.swapPointer(key, pointer.etag, { version: next });
      return;
    } catch (error) {
      if (!(error instanceof CardinalError) || error.code !== "object_changed") throw error;
    }
  }
}

async function newestBut(store: ObjectStore, name: string, version: string): Promise<string | undefined> {
  let newest: DatasetVersion | undefined;
  for await (const folder of store.listFolders(layout.datasetVersions(name))) {
    const found = folder === version ? undefined : await findDataset(store, name, folder);
    if (found && (newest === undefined || found.createdAt > newest.createdAt)) newest = found;
  }
  return newest?.version;
}
