/** Models, by their ids and by the aliases that name them. */
import {
  aliasRecordSchema,
  type CardinalError,
  MODEL_ID_PREFIX,
  type ModelManifest,
  modelManifestSchema,
  nameSchema,
  problem,
} from "@cardinal/contracts";
import { isBeingRemoved, layout, type ObjectStore, orAbsent } from "@cardinal/storage";

export interface Model {
  id: string;
  manifest: ModelManifest;
}

/** The model of that id or alias. Throws `invalid_name` and `model_not_found`. */
export async function readModel(store: ObjectStore, reference: string): Promise<Model> {
  const id = await targetOf(store, reference);
  const manifest = await findManifest(store, id);
  if (!manifest) throw await absent(store, reference, id);
  return { id, manifest };
}

/** The id that an id or alias stands for now, of a model that exists. Throws `invalid_name` and `model_not_found`. */
export async function resolveModel(store: ObjectStore, reference: string): Promise<string> {
  const id = await targetOf(store, reference);
  if (await store.stat(layout.modelManifest(id))) return id;
  throw await absent(store, reference, id);
}

/**
 * Whether a model may be put to use, asked after its user has written down that it uses it (see storage's removal.ts).
 * Throws `model_not_found` and `being_deleted`.
 */
export async function assertUsable(store: ObjectStore, id: string): Promise<void> {
  if (await isBeingRemoved(store, layout.modelRemoval(id))) {
    throw problem("being_deleted", `the model ${id} is being deleted`, { model: id });
  }
  await resolveModel(store, id);
}

/** All models in the order of their ids, which is that of their jobs' creation. */
export async function* listModels(store: ObjectStore): AsyncGenerator<Model> {
  for await (const id of store.listFolders(layout.models)) {
    // A folder without a manifest is a bundle that is being written, or was given up.
    const manifest = await findManifest(store, id);
    if (manifest) yield { id, manifest };
  }
}

/** Undefined when there is no such model. */
export async function findManifest(store: ObjectStore, id: string): Promise<ModelManifest | undefined> {
  const bytes = await orAbsent(store.read(layout.modelManifest(id)));
  return bytes && modelManifestSchema.parse(JSON.parse(bytes.toString()));
}

/** The id behind an id or an alias, whether there is such a model or not. */
export async function targetOf(store: ObjectStore, reference: string): Promise<string> {
  if (!nameSchema.safeParse(reference).success) {
    throw problem("invalid_name", `${JSON.stringify(reference)} is neither a model id nor an alias`);
  }
  if (reference.startsWith(MODEL_ID_PREFIX)) return reference;
  const found = await store.readPointer(layout.alias(reference));
  if (!found) throw problem("model_not_found", `there is no alias ${reference}`, { model: reference });
  return aliasRecordSchema.parse(found.value).model;
}

async function absent(store: ObjectStore, reference: string, id: string): Promise<CardinalError> {
  const isDeleted = (await store.stat(layout.deletedModel(id))) !== undefined;
  return problem("model_not_found", isDeleted ? `the model ${id} was deleted` : `there is no model ${id}`, {
    model: reference,
    id,
  });
}
