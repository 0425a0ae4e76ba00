/** Pages of models, newest first, by what they come from. */

import type { ListedModel, ModelList, ModelManifest, ModelQuery } from "@cardinal/contracts";
import { compareKeys, layout, type ObjectStore } from "@cardinal/storage";
import { aliasesByModel } from "./aliases.ts";
import { findManifest, targetOf } from "./registry.ts";

/** Manifests that are read at a time: a store far away answers after some ten milliseconds. */
const READS_AT_ONCE = 16;

/**
 * A page of the models for which every given filter holds. Throws `model_not_found` for an unknown alias. The cursor is
 * the id of the last model of the page before; that model may be gone by now.
 */
export async function queryModels(store: ObjectStore, query: ModelQuery): Promise<ModelList> {
  const aliases = await aliasesByModel(store);
  const base = query.base === undefined ? undefined : await targetOf(store, query.base);
  const only = query.alias === undefined ? undefined : await targetOf(store, query.alias);
  const found: ListedModel[] = [];
  const ids = await idsBefore(store, query.cursor);
  for (let first = 0; first < ids.length && found.length <= query.limit; first += READS_AT_ONCE) {
    const chunk = ids.slice(first, first + READS_AT_ONCE).filter((id) => only === undefined || id === only);
    // A folder without a manifest is a bundle that is being written, or was given up.
    const manifests = (await Promise.all(chunk.map((id) => findManifest(store, id)))).filter(
      (one) => one !== undefined,
    );
    for (const manifest of manifests) {
      if (matches(manifest, query, base)) found.push({ ...manifest, aliases: aliases.get(manifest.id) ?? [] });
    }
  }
  const models = found.slice(0, query.limit);
  return { models, ...(found.length > models.length && { nextCursor: models.at(-1)!.id }) };
}

async function idsBefore(store: ObjectStore, cursor: string | undefined): Promise<string[]> {
  const ids: string[] = [];
  for await (const id of store.listFolders(layout.models)) {
    if (cursor === undefined || compareKeys(id, cursor) < 0) ids.push(id);
  }
  return ids.reverse();
}

function matches({ architecture, lineage }: ModelManifest, query: ModelQuery, base: string | undefined): boolean {
  if (query.architecture !== undefined && architecture !== query.architecture) return false;
  const trained = "dataset" in lineage ? lineage : undefined;
  if (base !== undefined && trained?.base !== base) return false;
  if (query.dataset === undefined) return true;
  const { name, version } = query.dataset;
  return trained?.dataset.name === name && (version === undefined || trained.dataset.version === version);
}
