/** Data sets as they lie in the store. */
import {
  CardinalError,
  type DatasetVersion,
  datasetVersionSchema,
  type ManifestRow,
  nameSchema,
  type ProblemCode,
  problem,
  type Split,
  sha256Schema,
} from "@cardinal/contracts";
import { layout, type ObjectStore } from "@cardinal/storage";
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
  const bytes = await instead(store.read(layout.dataset(name, wanted)), () => notFound(name, wanted));
  return parsed(datasetVersionSchema, parseJson(bytes.toString()), layout.dataset(name, wanted));
}

/** The latest version of every data set, by name. Names whose first ingest has not ended are left out. */
export async function* listDatasets(store: ObjectStore): AsyncGenerator<DatasetVersion> {
  for await (const name of store.listFolders(layout.datasets)) {
    const version = await latestVersion(store, name);
    if (version !== undefined) yield await readDataset(store, name, version);
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

const NOT_FOUND: ProblemCode = "object_not_found";

/** The promise's value; when the object is missing, the error that says what it stands for. */
async function instead<T>(value: Promise<T>, error: () => Error): Promise<T> {
  try {
    return await value;
  } catch (cause) {
    throw cause instanceof CardinalError && cause.code === NOT_FOUND ? error() : cause;
  }
}
