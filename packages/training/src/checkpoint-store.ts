/**
 * A job's checkpoint files as its training writes and reads them. The pointer refers to `last`, which training goes on
 * from, to `best`, the end of the best epoch (where both are the same moment they are the same file), and to those that
 * the request wants kept. A file is complete before the pointer refers to it and is removed when the pointer has moved
 * on, so a death at any point leaves a pointer to whole files.
 */
import type { CheckpointPointer } from "@cardinal/checkpoint";
import type { Emit } from "@cardinal/contracts";
import { layout, type ObjectStore } from "@cardinal/storage";
import { initialState, type TrainingState } from "./training-state.ts";

export interface CheckpointOptions {
  store: ObjectStore;
  pointer: CheckpointPointer;
  emit: Emit;
  /** Time between two checkpoints within an epoch. */
  everySeconds: number;
}

/** Where a training is, as far as its checkpoints go. */
type Place = Pick<TrainingState, "step" | "epoch" | "position">;

export class CheckpointStore {
  readonly #options: CheckpointOptions;
  /** What `last` holds, as `moment` names it. */
  #saved = moment(initialState());
  #savedAt = performance.now();

  constructor(options: CheckpointOptions) {
    this.#options = options;
  }

  /** A file that the pointer refers to; undefined when it refers to none. */
  async read(which: "last" | "best"): Promise<Uint8Array | undefined> {
    const { store, pointer } = this.#options;
    const ref = pointer.checkpoint?.[which];
    return ref && store.read(ref.key, { sha256: ref.sha256 });
  }

  /** The training stands where the pointer's `last` was saved. */
  resumedAt(place: Place): void {
    this.#saved = moment(place);
    this.#savedAt = performance.now();
  }

  get due(): boolean {
    return performance.now() - this.#savedAt >= this.#options.everySeconds * 1000;
  }

  /**
   * Saves what `encode` gives as `last`, and as `best` if it is; does nothing when this place is saved already. Throws
   * `fenced` when a later attempt has taken over and what `encode` throws; what was saved before stays then.
   */
  async save(place: Place, encode: () => Uint8Array, isBest = false): Promise<void> {
    const { store, pointer, emit } = this.#options;
    if (moment(place) === this.#saved) return;
    const started = performance.now();
    const { step } = place;
    const key = layout.checkpoint(pointer.job, pointer.attempt, step, "last");
    const { sha256, bytes } = await store.put(key, encode());
    const last = { key, sha256, step };
    await pointer.update({ last, best: isBest ? last : pointer.checkpoint?.best });
    this.resumedAt(place);
    const seconds = (this.#savedAt - started) / 1000;
    emit({ type: "stage", stage: "checkpoint", seconds });
    emit({ type: "checkpoint", step, bytes, seconds });
  }
}

/** The end of an epoch before and after its validation are two moments, at the same step. */
function moment({ epoch, position }: Place): string {
  return `${epoch}/${position}`;
}
