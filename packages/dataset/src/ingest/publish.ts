/**
 * Writing a version of a data set so that it exists as a whole or not at all.
 *
 * States of a version: absent -> blobs -> files (split manifests, manifest, classes, report) -> exists (dataset.json)
 * -> latest. Every step can be done again: blobs and files have the same bytes each time, dataset.json is created once
 * and by one writer, the pointer is swapped. So a process that dies at any step leaves no version or a whole one, and
 * the next ingest of the same files goes on from there. What it leaves of an absent version nobody reads.
 * Invariant: when dataset.json exists, all it stands for exists, and none of it is written again.
 */
import { CardinalError, type DatasetVersion, type IngestReport, type ProblemCode } from "@cardinal/contracts";
import { layout, type ObjectStore } from "@cardinal/storage";
import type { Manifest } from "../manifest.ts";

export interface Publication {
  manifest: Manifest;
  classes: string[];
  report: IngestReport;
  createdBy?: string;
  signal?: AbortSignal;
}

/** Puts an image's bytes under their digest unless they are there. */
export async function putBlob(
  store: ObjectStore,
  sha256: string,
  read: () => Promise<Buffer>,
  signal?: AbortSignal,
): Promise<void> {
  // Without a look before (a stat): the store makes sure that a blob which somebody else has just put is durable too.
  await createOnce(store.put(layout.blob(sha256), await read(), { sha256, ifAbsent: true, deferSync: true, signal }));
}

/** Writes the files of a version and makes it the latest. False when the version existed. */
export async function publish(store: ObjectStore, name: string, publication: Publication): Promise<boolean> {
  const { manifest, signal } = publication;
  const key = layout.dataset(name, manifest.version);
  const existed = (await store.stat(key)) !== undefined;
  if (!existed) await putFiles(store, name, publication);
  const created =
    !existed && (await createOnce(store.put(key, datasetJson(name, publication), { ifAbsent: true, signal })));
  await makeLatest(store, name, manifest.version);
  return created;
}

async function putFiles(store: ObjectStore, name: string, { manifest, classes, report, signal }: Publication) {
  const { version, splits } = manifest;
  for (const { split, lines } of splits) await store.put(layout.splitManifest(name, version, split), lines, { signal });
  const whole = Buffer.concat(splits.map(({ lines }) => lines));
  await store.put(layout.manifest(name, version), whole, { sha256: version, signal });
  await store.put(layout.classes(name, version), json(classes), { signal });
  await store.put(layout.report(name, version), json(report), { signal });
}

function datasetJson(name: string, { manifest, classes, report, createdBy }: Publication): Buffer {
  const { version } = manifest;
  const by = createdBy === undefined ? {} : { createdBy };
  return json({ name, version, createdAt: new Date().toISOString(), ...by, classes, report } satisfies DatasetVersion);
}

const json = (value: unknown): Buffer => Buffer.from(`${JSON.stringify(value, null, 2)}\n`);

const EXISTS: ProblemCode = "object_exists";
const CHANGED: ProblemCode = "object_changed";

/** Whether a put with `ifAbsent` has made the object; false when it was there. */
async function createOnce(put: Promise<unknown>): Promise<boolean> {
  try {
    await put;
    return true;
  } catch (error) {
    if (error instanceof CardinalError && error.code === EXISTS) return false;
    throw error;
  }
}

/** Other ingests of the same name may move the pointer meanwhile; the one that ends last wins. */
async function makeLatest(store: ObjectStore, name: string, version: string): Promise<void> {
  const key = layout.datasetLatest(name);
  for (let attempt = 1; ; attempt++) {
    const pointer = await store.readPointer(key);
    if ((pointer?.value as { version?: unknown } | undefined)?.version === version) return;
    try {
      await store.swapPointer(key, pointer?.etag, { version });
      return;
    } catch (error) {
      if (attempt === 10 || !(error instanceof CardinalError) || error.code !== CHANGED) throw error;
    }
  }
}
