/**
 * Aliases: names that are moved from model to model. An alias is one pointer, so a move is atomic, and of movers at the
 * same time each leaves its trace in the history.
 */
import { setTimeout as sleep } from "node:timers/promises";
import {
  type AliasRecord,
  aliasRecordSchema,
  aliasSchema,
  CardinalError,
  MODEL_ID_PREFIX,
  problem,
} from "@cardinal/contracts";
import { layout, type ObjectStore } from "@cardinal/storage";
import { assertUsable } from "./registry.ts";

/** How many former models an alias remembers. */
const HISTORY_LENGTH = 100;

export interface MoveOptions {
  /** Who moves it; kept in the record. */
  by?: string;
  /** Move it only from this revision (`alias_changed` otherwise); of an alias that is not there: 0. */
  revision?: number;
}

/** The alias's record; undefined when it was never set. Throws `invalid_name`. */
export async function readAlias(store: ObjectStore, alias: string): Promise<AliasRecord | undefined> {
  return (await load(store, alias))?.record;
}

/** All aliases in key order. */
export async function* listAliases(store: ObjectStore): AsyncGenerator<AliasRecord> {
  for await (const { key } of store.list(layout.aliases)) {
    const found = await store.readPointer(key);
    if (found) yield aliasRecordSchema.parse(found.value);
  }
}

/** Names of the aliases that point to each model now. */
export async function aliasesByModel(store: ObjectStore): Promise<Map<string, string[]>> {
  const byModel = new Map<string, string[]>();
  for await (const { alias, model } of listAliases(store)) byModel.set(model, [...(byModel.get(model) ?? []), alias]);
  return byModel;
}

/**
 * Points an alias to a model (an id). What it pointed to before goes to the front of its history. Setting what is set
 * already changes nothing, so a job may do it again. Throws `invalid_name`, `model_not_found`, `being_deleted` and
 * `alias_changed`.
 */
export async function setAlias(
  store: ObjectStore,
  alias: string,
  model: string,
  options: MoveOptions = {},
): Promise<AliasRecord> {
  if (!model.startsWith(MODEL_ID_PREFIX)) {
    throw problem("model_not_found", `an alias points to a model id (${MODEL_ID_PREFIX}…), not to ${model}`, { model });
  }
  await assertUsable(store, model);
  return move(store, alias, options, (current) => {
    if (current?.model === model) return undefined;
    return { model, history: current ? [formerOf(current), ...current.history] : [] };
  });
}

/**
 * Points an alias back to the model that it had before. The model that it leaves stays in the history, marked, and is
 * not gone back to: each roll-back leads one step further into the past. Throws `alias_not_found`, `no_former_model`,
 * `model_not_found` (the former model was deleted), `being_deleted` and `alias_changed`.
 */
export async function rollBackAlias(
  store: ObjectStore,
  alias: string,
  options: MoveOptions = {},
): Promise<AliasRecord> {
  return move(store, alias, options, (current) => {
    if (!current) throw notFound(alias);
    const index = current.history.findIndex(({ rolledBack }) => !rolledBack);
    const former = current.history[index];
    if (!former) throw problem("no_former_model", `the alias ${alias} has no former model`, { alias });
    const rest = current.history.toSpliced(index, 1);
    return { model: former.model, history: [{ ...formerOf(current), rolledBack: true }, ...rest] };
  });
}

/** Removes an alias and its history; the model stays. Throws `alias_not_found` and `alias_changed`. */
export async function deleteAlias(store: ObjectStore, alias: string, options: MoveOptions = {}): Promise<AliasRecord> {
  const found = await load(store, alias);
  if (!found) throw notFound(alias);
  assertRevision(alias, found.record, options.revision);
  await store.delete(layout.alias(alias));
  return found.record;
}

type Target = Pick<AliasRecord, "model" | "history">;

const formerOf = ({ model, updatedAt, updatedBy }: AliasRecord): AliasRecord["history"][number] => ({
  model,
  updatedAt,
  ...(updatedBy !== undefined && { updatedBy }),
});

/** Swaps the record for the one that `target` makes of it (undefined: it stays), until no other mover was faster. */
async function move(
  store: ObjectStore,
  alias: string,
  { by, revision }: MoveOptions,
  target: (current: AliasRecord | undefined) => Target | undefined,
): Promise<AliasRecord> {
  for (;;) {
    const found = await load(store, alias);
    assertRevision(alias, found?.record, revision);
    const next = target(found?.record);
    if (!next) return found!.record;
    await assertUsable(store, next.model);
    const record: AliasRecord = {
      alias,
      model: next.model,
      updatedAt: new Date().toISOString(),
      ...(by !== undefined && { updatedBy: by }),
      revision: (found?.record.revision ?? 0) + 1,
      history: next.history.slice(0, HISTORY_LENGTH),
    };
    const etag = await swapped(store, alias, found?.etag, record);
    if (etag === undefined) continue;
    await confirm(store, found?.record, record, etag);
    return record;
  }
}

/** The new etag; undefined when another writer was faster: then the aliases advance all the same. */
async function swapped(store: ObjectStore, alias: string, expected: string | undefined, record: AliasRecord) {
  try {
    return await store.swapPointer(layout.alias(alias), expected, record);
  } catch (error) {
    if (!(error instanceof CardinalError) || error.code !== "object_changed") throw error;
    // A random pause keeps many writers from racing in step.
    await sleep(Math.random() * 20);
    return undefined;
  }
}

/** The move is written down; if its model began to be removed meanwhile, it is taken back (see storage's removal.ts). */
async function confirm(store: ObjectStore, before: AliasRecord | undefined, record: AliasRecord, etag: string) {
  try {
    await assertUsable(store, record.model);
  } catch (error) {
    // One that somebody has moved on meanwhile is theirs.
    if (before) await swapped(store, record.alias, etag, { ...before, revision: record.revision + 1 });
    else if ((await load(store, record.alias))?.etag === etag) await store.delete(layout.alias(record.alias));
    throw error;
  }
}

async function load(store: ObjectStore, alias: string): Promise<{ record: AliasRecord; etag: string } | undefined> {
  const found = await store.readPointer(layout.alias(validAlias(alias)));
  return found && { record: aliasRecordSchema.parse(found.value), etag: found.etag };
}

function assertRevision(alias: string, current: AliasRecord | undefined, expected: number | undefined): void {
  const revision = current?.revision ?? 0;
  if (expected === undefined || expected === revision) return;
  throw problem("alias_changed", `the alias ${alias} is at revision ${revision}, not ${expected}`, { alias, revision });
}

const notFound = (alias: string) => problem("alias_not_found", `there is no alias ${alias}`, { alias });

function validAlias(alias: string): string {
  const parsed = aliasSchema.safeParse(alias);
  if (parsed.success) return parsed.data;
  throw problem("invalid_name", `${JSON.stringify(alias)} cannot be an alias: ${parsed.error.issues[0]?.message}`);
}
