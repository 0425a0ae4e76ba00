/** The optimisers of a sweep's heads: all combinations of its lists, or random draws. */
import { optimizerSchema, problem, type Recipe, type Sweep, type TrainPayload } from "@cardinal/contracts";
import { seededRandom } from "@cardinal/dataset";

type UsedOptimizer = Recipe["optimizer"];

/** Beside the seed, so that these draws have nothing to do with any other of the training. */
const STREAM = 0x5eed;

/**
 * One for each head, in its order; see `sweepSchema`. A head whose optimiser is the request's has the request's weight
 * decay and momentum, others the defaults of theirs; a list of weight decays is for all of them.
 */
export function sweepOptimizers({ sweep, optimizer, seed }: TrainPayload["request"]): UsedOptimizer[] {
  if (!sweep) throw problem("internal_error", "the request has no sweep");
  return sweep.samples === undefined ? grid(sweep, optimizer) : draws(sweep, sweep.samples, optimizer, seed);
}

function grid(sweep: Sweep, given: UsedOptimizer): UsedOptimizer[] {
  const { optimizer = [given.name], learningRate = [given.learningRate] } = sweep;
  return optimizer.flatMap((name) =>
    learningRate.flatMap((rate) =>
      (sweep.weightDecay ?? [undefined]).map((decay) => combined(given, name, rate, decay)),
    ),
  );
}

function draws(sweep: Sweep, samples: number, given: UsedOptimizer, seed: number): UsedOptimizer[] {
  const random = seededRandom(seed, STREAM);
  return Array.from({ length: samples }, () => {
    // Three numbers for each head, needed or not: a list more or less leaves the draws of the others as they are.
    const [a, b, c] = [random(), random(), random()];
    const name = sweep.optimizer?.[Math.floor(a * sweep.optimizer.length)] ?? given.name;
    const rate = sweep.learningRate ? between(sweep.learningRate, b) : given.learningRate;
    return combined(given, name, rate, sweep.weightDecay && between(sweep.weightDecay, c));
  });
}

/** For `share` from 0 to 1: from the smallest to the largest of the list, evenly in the logarithm unless that has none. */
function between(list: readonly number[], share: number): number {
  const [low, high] = [Math.min(...list), Math.max(...list)];
  return low > 0 ? low * (high / low) ** share : low + (high - low) * share;
}

function combined(
  given: UsedOptimizer,
  name: UsedOptimizer["name"],
  learningRate: number,
  weightDecay: number | undefined,
): UsedOptimizer {
  const { decayNormAndBias } = given;
  const own = name === given.name ? given : optimizerSchema.parse({ name, decayNormAndBias });
  return { ...own, learningRate, ...(weightDecay !== undefined && { weightDecay }) };
}
