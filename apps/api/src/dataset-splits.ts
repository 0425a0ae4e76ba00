/**
 * How many images the splits of a data set's version have. A version never changes, so what was read of it is
 * remembered; that it is still there is asked when its job is confirmed (uses.ts).
 */
import type { DatasetReference, DatasetVersion } from "@cardinal/contracts";
import { readDataset } from "@cardinal/dataset/catalog";
import type { ObjectStore } from "@cardinal/storage";

export interface DatasetSplits extends Pick<DatasetVersion, "name" | "version"> {
  splits: DatasetVersion["report"]["splits"];
}

const REMEMBERED = 1_000;

/** The reader throws what `readDataset` does. */
export function splitsReader(store: ObjectStore): (wanted: DatasetReference) => Promise<DatasetSplits> {
  /** By `name@version`, the first read first. */
  const known = new Map<string, DatasetSplits>();
  return async (wanted) => {
    const found = wanted.version && known.get(`${wanted.name}@${wanted.version}`);
    if (found) return found;
    const { name, version, report } = await readDataset(store, wanted.name, wanted.version);
    const read = { name, version, splits: report.splits };
    known.set(`${name}@${version}`, read);
    if (known.size > REMEMBERED) known.delete(known.keys().next().value!);
    return read;
  };
}
