/**
 * Checkpoints of a sweep: one safetensors file with the stack's state under `stack.`, the best weights of each head
 * under `best.<head>.`, and the heads' states as JSON in its metadata.
 */
import { decodeSafetensors, encodeSafetensors } from "@cardinal/checkpoint";
import { problem } from "@cardinal/contracts";
import type { Parameters, ParameterTensor } from "@cardinal/resnext";
import { type HeadShape, HeadStack } from "@cardinal/resnext/tfjs";
import { withoutPrefix } from "./checkpoint-file.ts";
import { type CheckpointOptions, CheckpointStore } from "./checkpoint-store.ts";
import { type HeadTraining, placeOf, runningHeads, sweepStateSchema } from "./sweep-state.ts";

/** Raise when a checkpoint changes in a way that an older worker would misread. */
const FORMAT = "cardinal-sweep-1";

/** What a sweep has beside its state: the heads that learn, and `fc.*` of the best epoch of each head that had one. */
export interface SweepWeights {
  stack: HeadStack;
  best: Map<number, Parameters>;
}

export class SweepCheckpoints {
  readonly #files: CheckpointStore;

  constructor(options: CheckpointOptions) {
    this.#files = new CheckpointStore(options);
  }

  get due(): boolean {
    return this.#files.due;
  }

  /** Saves this moment; does nothing when it is saved already. Throws `fenced` when a later attempt has taken over. */
  async save(heads: readonly HeadTraining[], { stack, best }: SweepWeights): Promise<void> {
    await this.#files.save(placeOf(heads), () => {
      const tensors = new Map<string, ParameterTensor>();
      for (const [name, tensor] of stack.state()) tensors.set(`stack.${name}`, tensor);
      for (const [head, parameters] of best) {
        for (const [name, tensor] of parameters) tensors.set(`best.${head}.${name}`, tensor);
      }
      const state = heads.map(({ state, error }) => ({ state, ...(error && { error }) }));
      return encodeSafetensors(tensors, { format: FORMAT, state: JSON.stringify(state) });
    });
  }

  /**
   * Brings the heads to where an earlier attempt left them; undefined when there was none, who then are as they were.
   * Throws `invalid_checkpoint` for bytes that no `save` of such heads wrote.
   */
  async restore(heads: HeadTraining[], shape: HeadShape): Promise<SweepWeights | undefined> {
    const bytes = await this.#files.read("last");
    if (!bytes) return undefined;
    const { tensors, metadata } = decodeSafetensors(bytes);
    try {
      if (metadata.format !== FORMAT) throw new RangeError(`the format is ${metadata.format}, not ${FORMAT}`);
      const states = sweepStateSchema.parse(JSON.parse(metadata.state ?? ""));
      if (states.length !== heads.length) throw new RangeError(`it has ${states.length} heads, not ${heads.length}`);
      states.forEach(({ state, error }, head) => {
        Object.assign(heads[head]!, { state, error });
      });
      const options = new Map(runningHeads(heads).map((head) => [head, heads[head]!.recipe.optimizer]));
      const stack = HeadStack.restored(shape, options, withoutPrefix("stack.", tensors));
      this.#files.resumedAt(placeOf(heads));
      return { stack, best: bestOf(tensors, heads.length) };
    } catch (cause) {
      throw problem(
        "invalid_checkpoint",
        `the sweep's checkpoint cannot be used: ${(cause as Error).message}`,
        {},
        cause,
      );
    }
  }
}

function bestOf(tensors: Parameters, heads: number): Map<number, Parameters> {
  const best = new Map<number, Parameters>();
  for (let head = 0; head < heads; head++) {
    const own = withoutPrefix(`best.${head}.`, tensors);
    if (own.size > 0) best.set(head, own);
  }
  return best;
}
