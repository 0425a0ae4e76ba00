/**
 * Removing something that others may be about to use, in a way that survives the death of the process.
 *
 * Each removal has a pointer; what moves it on is always a compare-and-swap:
 *
 *   absent | free ──mark──▶ marked ──▶ deleting ──▶ absent, the thing gone
 *                             └──withdraw (it is used)──▶ free
 *
 * Who wants to use the thing first writes down that it does (a job's record, an alias), then looks whether the thing is
 * there and not being removed (`isBeingRemoved`), and takes its word back otherwise. Who wants to remove it marks it
 * first, then looks for users. Whichever looks last sees the other, so a thing that is used is never removed.
 *
 * Invariants:
 * - `deleting` is entered only from the very mark (etag) under which no user was found, and never left but by removal.
 * - What has begun is ended: whoever finds `deleting` older than `LEASE_MS` takes it over; before, it is refused
 *   with `being_deleted`, so that one process at a time removes.
 */
import { CardinalError, problem } from "@cardinal/contracts";
import { z } from "zod";
import { layout } from "./layout.ts";
import type { ObjectStore } from "./object-store.ts";

const stateSchema = z.strictObject({
  state: z.enum(["free", "marked", "deleting"]),
  at: z.iso.datetime(),
  by: z.string().optional(),
});
type State = z.infer<typeof stateSchema>;

/** A removal that was not touched for so long was left behind by a process that died. */
const LEASE_MS = 60_000;

export interface Removal {
  /** What is removed, for messages: `the model mdl-…`. */
  what: string;
  /** Store key of its pointer, below `layout.removals`. */
  key: string;
  /** Who asked for it; kept in the pointer. */
  by?: string;
  /** Throws when somebody uses the thing. */
  refuseWhenUsed(): Promise<void>;
  /** Removes it; may be called again after dying anywhere. */
  remove(): Promise<void>;
}

/** Throws what `refuseWhenUsed` throws, or `being_deleted` while another process removes the same. */
export async function removeUnused(store: ObjectStore, removal: Removal): Promise<void> {
  // Most refusals need no mark, which would turn away others for a moment.
  await removal.refuseWhenUsed();
  for (;;) {
    const found = await read(store, removal.key);
    const { state } = found ?? { state: "free" };
    if (state === "deleting" && !isAbandoned(found!)) {
      throw problem("being_deleted", `${removal.what} is being deleted`);
    }
    if (state === "marked") await refuseUnder(store, removal, found!.etag);
    const next = state === "free" ? "marked" : "deleting";
    const moved = await move(store, removal.key, found?.etag, next, removal.by);
    if (moved && next === "deleting") return end(store, removal);
  }
}

/** Ends a removal that a dead process has left half done; a mark that it left is withdrawn. */
export async function resumeRemoval(store: ObjectStore, removal: Removal): Promise<void> {
  const found = await read(store, removal.key);
  if (!found || found.state === "free" || !isAbandoned(found)) return;
  const next = found.state === "marked" ? "free" : "deleting";
  const moved = await move(store, removal.key, found.etag, next, found.by);
  if (moved && next === "deleting") await end(store, removal);
}

/** True from the mark on: nobody may begin to use the thing now. */
export async function isBeingRemoved(store: ObjectStore, key: string): Promise<boolean> {
  const state = (await read(store, key))?.state;
  return state === "marked" || state === "deleting";
}

/** The keys of all removals that have begun. */
export async function* listRemovals(store: ObjectStore, prefix: string = layout.removals): AsyncGenerator<string> {
  for await (const { key } of store.list(prefix)) if (await isBeingRemoved(store, key)) yield key;
}

async function refuseUnder(store: ObjectStore, removal: Removal, etag: string): Promise<void> {
  try {
    await removal.refuseWhenUsed();
  } catch (error) {
    await move(store, removal.key, etag, "free");
    throw error;
  }
}

async function end(store: ObjectStore, removal: Removal): Promise<void> {
  await removal.remove();
  await store.delete(removal.key);
}

async function read(store: ObjectStore, key: string): Promise<(State & { etag: string }) | undefined> {
  const found = await store.readPointer(key);
  return found && { ...stateSchema.parse(found.value), etag: found.etag };
}

/** False when somebody else has moved it meanwhile. */
async function move(
  store: ObjectStore,
  key: string,
  expected: string | undefined,
  state: State["state"],
  by?: string,
): Promise<boolean> {
  const value: State = { state, at: new Date().toISOString(), ...(by !== undefined && { by }) };
  try {
    await store.swapPointer(key, expected, value);
    return true;
  } catch (error) {
    if (error instanceof CardinalError && error.code === "object_changed") return false;
    throw error;
  }
}

const isAbandoned = ({ at }: State): boolean => Date.now() - Date.parse(at) > LEASE_MS;
