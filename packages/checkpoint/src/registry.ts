/** Models and the aliases that name them. */
import { setTimeout as sleep } from "node:timers/promises";
import {
  type AliasRecord,
  aliasRecordSchema,
  aliasSchema,
  CardinalError,
  MODEL_ID_PREFIX,
  type ModelManifest,
  modelManifestSchema,
  nameSchema,
  problem,
} from "@cardinal/contracts";
import { layout, type ObjectStore } from "@cardinal/storage";

/** How many former models an alias remembers. */
const HISTORY_LENGTH = 100;

export interface Model {
  id: string;
  manifest: ModelManifest;
}

/** The model of that id or alias. Throws `invalid_name` and `model_not_found`. */
export async function readModel(store: ObjectStore, reference: string): Promise<Model> {
  const id = await targetOf(store, reference);
  const manifest = await readManifestOf(store, id);
  if (!manifest) throw problem("model_not_found", `there is no model ${id}`, { model: reference, id });
  return { id, manifest };
}

/** The id that an id or alias stands for now, of a model that exists. Throws `invalid_name` and `model_not_found`. */
export async function resolveModel(store: ObjectStore, reference: string): Promise<string> {
  const id = await targetOf(store, reference);
  if (await store.stat(layout.modelManifest(id))) return id;
  throw problem("model_not_found", `there is no model ${id}`, { model: reference, id });
}

/** All models in the order of their ids, which is that of their jobs' creation. */
export async function* listModels(store: ObjectStore): AsyncGenerator<Model> {
  for await (const id of store.listFolders(layout.models)) {
    // A folder without a manifest is a bundle that is being written, or was given up.
    const manifest = await readManifestOf(store, id);
    if (manifest) yield { id, manifest };
  }
}

/** The alias's record; undefined when it was never set. Throws `invalid_name`. */
export async function readAlias(store: ObjectStore, alias: string): Promise<AliasRecord | undefined> {
  const found = await store.readPointer(layout.alias(validAlias(alias)));
  return found && aliasRecordSchema.parse(found.value);
}

/** All aliases in key order. */
export async function* listAliases(store: ObjectStore): AsyncGenerator<AliasRecord> {
  for await (const { key } of store.list(layout.aliases)) {
    const found = await store.readPointer(key);
    if (found) yield aliasRecordSchema.parse(found.value);
  }
}

/**
 * Points an alias to a model (an id). What it pointed to before goes to the front of its history. Setting what is set
 * already changes nothing, so a job may do it again. Throws `invalid_name` and `model_not_found`.
 */
export async function setAlias(store: ObjectStore, alias: string, model: string): Promise<AliasRecord> {
  const key = layout.alias(validAlias(alias));
  if (!model.startsWith(MODEL_ID_PREFIX)) {
    throw problem("model_not_found", `an alias points to a model id (${MODEL_ID_PREFIX}…), not to ${model}`, { model });
  }
  await resolveModel(store, model);
  for (;;) {
    const found = await store.readPointer(key);
    const current = found && aliasRecordSchema.parse(found.value);
    if (current?.model === model) return current;
    const former = current ? [{ model: current.model, updatedAt: current.updatedAt }, ...current.history] : [];
    const record: AliasRecord = {
      alias,
      model,
      updatedAt: new Date().toISOString(),
      history: former.slice(0, HISTORY_LENGTH),
    };
    try {
      await store.swapPointer(key, found?.etag, record);
      return record;
    } catch (error) {
      if (!(error instanceof CardinalError) || error.code !== "object_changed") throw error;
      // Another writer was faster, so the aliases advance; a random pause keeps many writers from racing in step.
      await sleep(Math.random() * 20);
    }
  }
}

async function targetOf(store: ObjectStore, reference: string): Promise<string> {
  if (!nameSchema.safeParse(reference).success) {
    throw problem("invalid_name", `${JSON.stringify(reference)} is neither a model id nor an alias`);
  }
  if (reference.startsWith(MODEL_ID_PREFIX)) return reference;
  const record = await readAlias(store, reference);
  if (!record) throw problem("model_not_found", `there is no alias ${reference}`, { model: reference });
  return record.model;
}

async function readManifestOf(store: ObjectStore, id: string): Promise<ModelManifest | undefined> {
  try {
    return modelManifestSchema.parse(JSON.parse((await store.read(layout.modelManifest(id))).toString()));
  } catch (error) {
    if (error instanceof CardinalError && error.code === "object_not_found") return undefined;
    throw error;
  }
}

function validAlias(alias: string): string {
  const parsed = aliasSchema.safeParse(alias);
  if (parsed.success) return parsed.data;
  throw problem("invalid_name", `${JSON.stringify(alias)} cannot be an alias: ${parsed.error.issues[0]?.message}`);
}
