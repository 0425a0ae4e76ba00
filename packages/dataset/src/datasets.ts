/** Data sets as they lie in the store. */
import {
  CardinalError,
  type DatasetVersion,
  datasetVersionSchema,
  type ManifestRow,
  nameSchema,
  problem,
  type Split,
  sha256Schema,
} from "@cardinal/contracts";
import { isBeingRemoved, layout, listRemovals, type ObjectStore, orAbsent } from "@cardinal/storage";
import { z } from "zod";
import { parseJson, parseManifest } from "./manifest.ts";

/** `datasets/<name>/latest.json`: the version that was ingested last. */
export const latestSchema = z.strictObject({ version: sha256Schema });

/**
 * A version of a data set, by default the one ingested last. Throws `dataset_not_found`, `invalid_name`,
 * `dataset_corrupt`.
 */
export async function readDataset(store: ObjectStore, name: string, version?: string): Promise<DatasetVersion> {
  assertName(name, nameSchema);
  if (version !== undefined) assertName(version, sha256Schema);
  const wanted = version ?? (await latestVersion(store, name));
  if (wanted === undefined) throw notFound(name);
  const bytes = await orAbsent(store.read(layout.dataset(name, wanted)));
  if (!bytes) throw notFound(name, wanted);
  return parsed(datasetVersionSchema, parseJson(bytes.toString()), layout.dataset(name, wanted));
}

/** The latest version of every data set, by name. Names whose first ingest has not ended are left out. */
export async function* listDatasets(store: ObjectStore): AsyncGenerator<DatasetVersion> {
  for await (const name of store.listFolders(layout.datasets)) {
    const version = await latestVersion(store, name);
    if (version !== undefined) yield await readDataset(store, name, version);
  }
}

/** All versions of a data set, newest first. Throws `dataset_not_found`, `invalid_name`. */
export async function listVersions(store: ObjectStore, name: string): Promise<DatasetVersion[]> {
  assertName(name, nameSchema);
  const versions: DatasetVersion[] = [];
  for await (const version of store.listFolders(layout.datasetVersions(name))) {
    const found = await findDataset(store, name, version);
    if (found) versions.push(found);
  }
  if (versions.length === 0) throw notFound(name);
  return versions.sort((a, b) => b.createdAt.localeCompare(a.createdAt));
}

/** The version, or undefined: a folder without `dataset.json` is being written, or was given up. */
export async function findDataset(
  store: ObjectStore,
  name: string,
  version: string,
): Promise<DatasetVersion | undefined> {
  if (!sha256Schema.safeParse(version).success) return undefined;
  try {
    return await readDataset(store, name, version);
  } catch (error) {
    if (error instanceof CardinalError && error.code === "dataset_not_found") return undefined;
    throw error;
  }
}

/**
 * Whether a version may be put to use, asked after its user has written down that it uses it (see storage's removal.ts).
 * Throws `dataset_not_found` and `being_deleted`.
 */
export async function assertDatasetUsable(store: ObjectStore, name: string, version: string): Promise<void> {
  if (await isBeingRemoved(store, layout.datasetRemoval(name, version))) {
    throw problem("being_deleted", `version ${version} of the data set ${name} is being deleted`, { name, version });
  }
  if (!(await store.stat(layout.dataset(name, version)))) throw notFound(name, version);
}

/** Whether a version of the name may be made now; the removal of one ends first. Throws `being_deleted`. */
export async function assertNameUsable(store: ObjectStore, name: string): Promise<void> {
  for await (const _removal of listRemovals(store, layout.datasetRemovals(name))) {
    throw problem("being_deleted", `a version of the data set ${name} is being deleted: try again in a moment`, {
      name,
    });
  }
}

/**
 * The rows of a split, streamed in manifest order and checked one by one. Throws `dataset_not_found`,
 * `split_not_found`, `dataset_corrupt`.
 */
export async function* readManifest(
  store: ObjectStore,
  name: string,
  version: string,
  split: Split,
): AsyncGenerator<ManifestRow> {
  const dataset = await readDataset(store, name, version);
  const splits = Object.keys(dataset.report.splits);
  if (!splits.includes(split)) {
    throw problem("split_not_found", `the data set ${name} has no split ${split}; it has ${splits.join(", ")}`, {
      splits,
    });
  }
  const key = layout.splitManifest(name, version, split);
  yield* parseManifest(await store.get(key), key);
}

async function latestVersion(store: ObjectStore, name: string): Promise<string | undefined> {
  const pointer = await store.readPointer(layout.datasetLatest(name));
  return pointer && parsed(latestSchema, pointer.value, layout.datasetLatest(name)).version;
}

function parsed<T>(schema: z.ZodType<T>, value: unknown, key: string): T {
  const { data, error } = schema.safeParse(value);
  if (error)
    throw problem("dataset_corrupt", `${key} has not the shape that Cardinal writes: ${z.prettifyError(error)}`);
  return data!;
}

function assertName(text: string, schema: z.ZodType<string>): void {
  const { error } = schema.safeParse(text);
  const shown = JSON.stringify(text.slice(0, 120));
  if (error) throw problem("invalid_name", `${shown} is no data set name or version: it ${error.issues[0]?.message}`);
}

function notFound(name: string, version?: string): CardinalError {
  const what = version === undefined ? `data set ${name}` : `version ${version} of the data set ${name}`;
  return problem("dataset_not_found", `there is no ${what}`, { name, ...(version && { version }) });
}
