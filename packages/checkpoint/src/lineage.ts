/** Where a model comes from: its base, the base of that, and so on, also over models that were deleted. */
import { type Ancestor, ancestorSchema, type ModelManifest } from "@cardinal/contracts";
import { layout, type ObjectStore } from "@cardinal/storage";
import { findManifest } from "./registry.ts";

/** Ends a chain that a damaged manifest has closed to a ring. */
const MAX_ANCESTORS = 100;

/** What stays known of a model once it is deleted. */
export function ancestorOf({ id, architecture, createdAt, lineage }: ModelManifest): Ancestor {
  const trained = "dataset" in lineage ? lineage : undefined;
  return {
    id,
    architecture,
    createdAt,
    job: lineage.job,
    ...(lineage.createdBy !== undefined && { createdBy: lineage.createdBy }),
    ...(trained && { dataset: trained.dataset }),
    ...(trained?.base !== undefined && { base: trained.base }),
  };
}

/** The models that this one comes from, its base first. */
export async function ancestorsOf(store: ObjectStore, manifest: ModelManifest): Promise<Ancestor[]> {
  const ancestors: Ancestor[] = [];
  let base = ancestorOf(manifest).base;
  while (base !== undefined && ancestors.length < MAX_ANCESTORS) {
    const ancestor = await findAncestor(store, base);
    ancestors.push(ancestor);
    base = ancestor.base;
  }
  return ancestors;
}

async function findAncestor(store: ObjectStore, id: string): Promise<Ancestor> {
  const manifest = await findManifest(store, id);
  if (manifest) return ancestorOf(manifest);
  const deleted = await store.readPointer(layout.deletedModel(id));
  return deleted ? ancestorSchema.parse(deleted.value) : { id };
}
