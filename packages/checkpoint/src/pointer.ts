/**
 * A job's pointer: the one small object that says which attempt may write, where its checkpoints are, and which model
 * it publishes. It lies at `checkpoints/<job>/latest.json` and is only ever replaced by compare-and-swap.
 *
 * States, and what moves a pointer on:
 *
 *   absent ──claim──▶ claimed ──update──▶ has a checkpoint ──announce──▶ published ──sweepJob──▶ absent (or fenced)
 *
 * `claim` is possible in every state and changes only who holds the pointer.
 *
 * Invariants:
 * - One holder at a time. A holder is an attempt and a random token; a claim by the same or a later attempt takes over,
 *   and the former holder's next write fails with `fenced`. A claim by an earlier attempt fails with `fenced`.
 * - What the pointer refers to was written before the pointer.
 * - `publish` is set once and never changed. From then on the job has that model and no other: whoever finds `publish`
 *   without the model's manifest object writes it (`rollForward`). So a process may die at any step of publishing, and
 *   the next attempt of the job still ends with exactly one model.
 */
import { randomUUID } from "node:crypto";
import { isDeepStrictEqual } from "node:util";
import { CardinalError, type ModelManifest, modelManifestSchema, problem, sha256Schema } from "@cardinal/contracts";
import { layout, type ObjectStore } from "@cardinal/storage";
import { z } from "zod";
import { missingFiles, modelId, writeManifest } from "./bundle.ts";

const checkpointRefSchema = z.strictObject({
  /** Store key of the file of tensors. */
  key: z.string().min(1),
  sha256: sha256Schema,
  step: z.int().min(0),
});
export type CheckpointRef = z.infer<typeof checkpointRefSchema>;

const checkpointsSchema = z.strictObject({ last: checkpointRefSchema, best: checkpointRefSchema.optional() });
export type Checkpoints = z.infer<typeof checkpointsSchema>;

const pointerStateSchema = z.strictObject({
  attempt: z.int().min(0),
  holder: z.string(),
  checkpoint: checkpointsSchema.optional(),
  publish: modelManifestSchema.optional(),
});
/** The pointer's content. */
export type PointerState = z.infer<typeof pointerStateSchema>;

interface Versioned {
  state: PointerState;
  etag: string;
}

/** The pointer and the etag to swap it by; undefined when the job has none (never claimed, or swept). */
async function load(store: ObjectStore, job: string): Promise<Versioned | undefined> {
  const found = await store.readPointer(layout.checkpointLatest(job));
  return found && { state: pointerStateSchema.parse(found.value), etag: found.etag };
}

/** What a job's pointer says; undefined when the job has none. */
export async function readCheckpoint(store: ObjectStore, job: string): Promise<PointerState | undefined> {
  return (await load(store, job))?.state;
}

/**
 * Replaces the pointer. Gives undefined when somebody else has changed it meanwhile. A swap whose answer was lost and
 * that was then sent again is refused by the store although it took effect: every state has a random holder, so a
 * pointer that holds exactly what we wrote was written by us.
 */
async function swap(store: ObjectStore, job: string, expected: string | undefined, state: PointerState) {
  try {
    return await store.swapPointer(layout.checkpointLatest(job), expected, state);
  } catch (error) {
    if (!(error instanceof CardinalError) || error.code !== "object_changed") throw error;
    const now = await load(store, job);
    const ours = now !== undefined && isDeepStrictEqual(now.state, JSON.parse(JSON.stringify(state)));
    return ours ? now.etag : undefined;
  }
}

/**
 * Takes a job's pointer over for `attempt`, whose number must rise with every start of the job.
 * Throws `fenced` when a later attempt has it. A pointer with `publish` can be claimed too: the claimer then has
 * nothing to train, only `rollForward` to call.
 */
export async function claimCheckpoint(store: ObjectStore, job: string, attempt: number): Promise<CheckpointPointer> {
  for (;;) {
    const found = await load(store, job);
    if (found && found.state.attempt > attempt) throw fenced(job, attempt, found.state.attempt);
    const state: PointerState = { ...found?.state, attempt, holder: randomUUID() };
    const etag = await swap(store, job, found?.etag, state);
    if (etag !== undefined) return new CheckpointPointer(store, job, state, etag);
  }
}

/**
 * Shuts out whoever holds the job's pointer, without taking its place: the holder's next write fails with `fenced`.
 * What was announced until then is completed.
 */
export async function fenceJob(store: ObjectStore, job: string): Promise<void> {
  for (;;) {
    const found = await load(store, job);
    if (!found) return;
    const state: PointerState = { ...found.state, holder: randomUUID() };
    if ((await swap(store, job, found.etag, state)) === undefined) continue;
    if (state.publish) await writeManifest(store, state.publish);
    return;
  }
}

/**
 * Completes what the job announced: writes the model's manifest when it is missing. Gives the manifest, or undefined
 * when the job has announced nothing. May be called by anybody, any number of times.
 */
export async function rollForward(store: ObjectStore, job: string): Promise<ModelManifest | undefined> {
  const publish = (await load(store, job))?.state.publish;
  if (publish) await writeManifest(store, publish);
  return publish;
}

/** One attempt's hold on a job's pointer, made by `claimCheckpoint`. Its calls must not overlap. */
export class CheckpointPointer {
  readonly job: string;
  readonly #store: ObjectStore;
  #state: PointerState;
  #etag: string;

  constructor(store: ObjectStore, job: string, state: PointerState, etag: string) {
    this.#store = store;
    this.job = job;
    this.#state = state;
    this.#etag = etag;
  }

  get attempt(): number {
    return this.#state.attempt;
  }

  /** The checkpoints to continue from: this attempt's, or what an earlier one left. */
  get checkpoint(): Checkpoints | undefined {
    return this.#state.checkpoint;
  }

  /** The manifest that the job has announced already. */
  get publish(): ModelManifest | undefined {
    return this.#state.publish;
  }

  /**
   * Moves the pointer to new checkpoints, whose files are complete, then removes those that it no longer refers to.
   * Throws `fenced` when another attempt has taken over; nothing is removed then.
   */
  async update(checkpoint: Checkpoints): Promise<void> {
    await this.#write({ ...this.#state, checkpoint });
    await removeOldCheckpoints(this.#store, this.job, this.#state);
  }

  /**
   * Publishes a bundle whose files lie complete under its folder: first the pointer takes the whole manifest, then the
   * manifest object is created. Gives the model that the job has now: when one was announced before (by an attempt
   * that died half way), that one, and this bundle is left to the sweep.
   *
   * Throws `fenced`, and `object_not_found` when a file of the bundle is missing or has another size.
   */
  async announce(manifest: ModelManifest): Promise<ModelManifest> {
    const expected = modelId(this.job, this.attempt);
    if (manifest.id !== expected || manifest.lineage.job !== this.job) {
      throw problem("internal_error", `attempt ${this.attempt} of ${this.job} may announce ${expected} only`, {
        id: manifest.id,
        job: manifest.lineage.job,
      });
    }
    if (!this.#state.publish) {
      const missing = await missingFiles(this.#store, manifest);
      if (missing.length > 0) {
        throw problem("object_not_found", `the bundle ${manifest.id} lacks ${missing.join(", ")}`, { missing });
      }
      await this.#write({ ...this.#state, publish: modelManifestSchema.parse(manifest) });
    }
    const published = this.#state.publish ?? manifest;
    await writeManifest(this.#store, published);
    return published;
  }

  async #write(state: PointerState): Promise<void> {
    const etag = await swap(this.#store, this.job, this.#etag, state);
    if (etag === undefined) {
      const now = await readCheckpoint(this.#store, this.job);
      throw fenced(this.job, this.attempt, now?.attempt);
    }
    this.#state = state;
    this.#etag = etag;
  }
}

/**
 * Removes the checkpoint files of this attempt and of earlier ones that `state` does not refer to. Files of a later
 * attempt are never touched.
 */
export async function removeOldCheckpoints(store: ObjectStore, job: string, state: PointerState): Promise<void> {
  const kept = new Set([state.checkpoint?.last.key, state.checkpoint?.best?.key]);
  const folder = layout.checkpoints(job);
  const removable: string[] = [];
  for await (const { key } of store.list(folder)) {
    const attempt = /^(\d+)-/.exec(key.slice(folder.length))?.[1];
    if (attempt !== undefined && Number(attempt) <= state.attempt && !kept.has(key)) removable.push(key);
  }
  for (const key of removable) await store.delete(key);
}

function fenced(job: string, attempt: number, by: number | undefined): CardinalError {
  const taker =
    by === undefined ? "the job has been swept" : by === attempt ? "it was claimed anew" : `attempt ${by} has it`;
  return problem("fenced", `attempt ${attempt} of ${job} has lost its hold: ${taker}`, { job, attempt, by });
}
