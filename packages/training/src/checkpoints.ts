/**
 * A job's checkpoints as its training uses them. The pointer refers to `last`, which training goes on from, and to
 * `best`, the end of the best epoch; where both are the same moment they are the same file. A file is complete before
 * the pointer refers to it and is removed when the pointer has moved on, so a death at any point leaves a pointer to
 * whole files.
 */
import type { CheckpointPointer, CheckpointRef } from "@cardinal/checkpoint";
import { type Emit, problem } from "@cardinal/contracts";
import type { Parameters } from "@cardinal/resnext";
import type { Network, Optimizer } from "@cardinal/resnext/tfjs";
import { layout, type ObjectStore } from "@cardinal/storage";
import { type Checkpoint, decodeCheckpoint, encodeCheckpoint } from "./checkpoint-file.ts";
import { initialState, type TrainingState } from "./training-state.ts";

export interface CheckpointsOptions {
  store: ObjectStore;
  pointer: CheckpointPointer;
  emit: Emit;
  /** Time between two checkpoints within an epoch. */
  everySeconds: number;
}

export class Checkpoints {
  readonly #options: CheckpointsOptions;
  /** What `last` holds, as `moment` names it. */
  #saved = moment(initialState());
  #savedAt = performance.now();

  constructor(options: CheckpointsOptions) {
    this.#options = options;
  }

  /** Brings network and optimiser to where an earlier attempt left them; the initial state when there was none. */
  async restore(network: Network, optimizer: Optimizer): Promise<TrainingState> {
    const last = this.#options.pointer.checkpoint?.last;
    if (!last) return initialState();
    const checkpoint = await this.#read(last);
    loadTrained(network, checkpoint.parameters);
    optimizer.load(checkpoint.optimizer);
    this.#saved = moment(checkpoint.state);
    this.#savedAt = performance.now();
    return checkpoint.state;
  }

  /** Brings the network to the end of the best epoch. */
  async restoreBest(network: Network): Promise<void> {
    const best = this.#options.pointer.checkpoint?.best;
    if (!best) throw problem("internal_error", "no epoch has ended, so there is no best one");
    loadTrained(network, (await this.#read(best)).parameters);
  }

  get due(): boolean {
    return performance.now() - this.#savedAt >= this.#options.everySeconds * 1000;
  }

  /**
   * Saves this moment as `last`, and as `best` if it is; does nothing when it is saved already. Throws `fenced` when a
   * later attempt has taken over and `loss_not_finite` when a parameter is not; what was saved before stays then.
   */
  async save(network: Network, optimizer: Optimizer, state: TrainingState, isBest = false): Promise<void> {
    const { store, pointer, emit } = this.#options;
    if (moment(state) === this.#saved) return;
    const started = performance.now();
    const file = encodeCheckpoint({ parameters: trainedPart(network), optimizer: optimizer.state(), state });
    const key = layout.checkpoint(pointer.job, pointer.attempt, state.step, "last");
    const { sha256, bytes } = await store.put(key, file);
    const last = { key, sha256, step: state.step };
    await pointer.update({ last, best: isBest ? last : pointer.checkpoint?.best });
    this.#saved = moment(state);
    this.#savedAt = performance.now();
    const seconds = (this.#savedAt - started) / 1000;
    emit({ type: "stage", stage: "checkpoint", seconds });
    emit({ type: "checkpoint", step: state.step, bytes, seconds });
  }

  async #read({ key, sha256 }: CheckpointRef): Promise<Checkpoint> {
    return decodeCheckpoint(await this.#options.store.read(key, { sha256 }));
  }
}

/** What training changes. Frozen stages are the base's and stay out of checkpoints: a head's are a thousandth as large. */
function trainedPart(network: Network): Parameters {
  const all = network.parameters();
  return new Map(network.changing.map(({ name }) => [name, all.get(name)!]));
}

/** The reverse: frozen stages keep what they have. Throws `invalid_checkpoint` for other tensors than those. */
function loadTrained(network: Network, trained: Parameters): void {
  const missing = network.changing.find(({ name }) => !trained.has(name));
  if (missing || trained.size !== network.changing.length) {
    const what = `the checkpoint has ${trained.size} tensors of the network, ${network.changing.length} change`;
    throw problem("invalid_checkpoint", missing ? `${what}; ${missing.name} is missing` : what);
  }
  network.load(new Map([...network.parameters(), ...trained]));
}

/** The end of an epoch before and after its validation are two moments, at the same step. */
function moment({ epoch, position }: TrainingState): string {
  return `${epoch}/${position}`;
}
