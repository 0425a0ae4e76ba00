/** Checkpoints of one network and its optimiser; see CheckpointStore for their files. */
import { problem } from "@cardinal/contracts";
import type { Parameters } from "@cardinal/resnext";
import type { Network, Optimizer } from "@cardinal/resnext/tfjs";
import { decodeCheckpoint, encodeCheckpoint } from "./checkpoint-file.ts";
import { type CheckpointOptions, CheckpointStore } from "./checkpoint-store.ts";
import { initialState, type TrainingState } from "./training-state.ts";

export class Checkpoints {
  readonly #files: CheckpointStore;

  constructor(options: CheckpointOptions) {
    this.#files = new CheckpointStore(options);
  }

  /** Brings network and optimiser to where an earlier attempt left them; the initial state when there was none. */
  async restore(network: Network, optimizer: Optimizer): Promise<TrainingState> {
    const last = await this.#files.read("last");
    if (!last) return initialState();
    const checkpoint = decodeCheckpoint(last);
    loadTrained(network, checkpoint.parameters);
    optimizer.load(checkpoint.optimizer);
    this.#files.resumedAt(checkpoint.state);
    return checkpoint.state;
  }

  /** Brings the network to the end of the best epoch. */
  async restoreBest(network: Network): Promise<void> {
    const best = await this.#files.read("best");
    if (!best) throw problem("internal_error", "no epoch has ended, so there is no best one");
    loadTrained(network, decodeCheckpoint(best).parameters);
  }

  get due(): boolean {
    return this.#files.due;
  }

  /**
   * Saves this moment as `last`, and as `best` if it is; does nothing when it is saved already. Throws `fenced` when a
   * later attempt has taken over and `loss_not_finite` when a parameter is not; what was saved before stays then.
   */
  async save(network: Network, optimizer: Optimizer, state: TrainingState, isBest = false): Promise<void> {
    const encode = () => encodeCheckpoint({ parameters: trainedPart(network), optimizer: optimizer.state(), state });
    await this.#files.save(state, encode, isBest);
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
