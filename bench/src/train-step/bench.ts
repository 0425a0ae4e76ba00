/** A whole step of training ResNeXt-50 (32x4d), batch 16, 224x224, all parameters, Adam: against PyTorch. */
import os from "node:os";
import { fileURLToPath } from "node:url";
import type { Bench, BenchContext, Outcome } from "../bench.ts";
import { LineProcess } from "../line-process.ts";
import { type Contestant, type Measured, ratio, takeTurns } from "../turns.ts";
import { type StartFiles, writeStart } from "./model.ts";

/** At least, and whole steps: two or three of ours, one or two of PyTorch's. */
const TURN_SECONDS = 4;
const LAYOUTS = ["channels_last", "nchw"] as const;
/** Losses that are compared before anything is timed; from the second on they depend on all gradients and on Adam. */
const COMPARED_STEPS = 3;
const LARGEST_ERROR = 1e-3;

interface Rate {
  imagesPerSecond: number;
  /** Of all threads, for a step: hardly changed by what else the machine does. */
  cpuSeconds: number;
}

export const trainStep: Bench = {
  title: "ResNeXt-50 step of training, images a second, against PyTorch",
  rounds: 5,
  async run(context) {
    const cores = os.availableParallelism();
    const start = writeStart(context.folder);
    await using ours = await ourProcess(start, cores);
    await using peer = await theirProcess(context, start, cores);
    const error = await largestError(ours, peer);
    context.say(`losses agree to ${error.toExponential(1)}`);
    const contestants = [
      new RateContestant("cardinal", () => ours.ask<Rate>("rate", { seconds: TURN_SECONDS })),
      ...LAYOUTS.map((layout) => {
        return new RateContestant(`pytorch, ${layout}`, () =>
          peer.ask<Rate>("rate", { layout, seconds: TURN_SECONDS }),
        );
      }),
    ];
    context.say(`${context.rounds} rounds of ${contestants.length} turns of ${TURN_SECONDS} s or more`);
    const rates = await takeTurns(contestants, context.rounds);
    const cpu = contestants.map((contestant) => contestant.cpu());
    const memory = await ours.ask<number>("peakRss");
    return outcome({ rates, cpu, error, memory }, { ...ours.versions, ...peer.versions });
  },
};

function ourProcess({ images }: StartFiles, cores: number): Promise<LineProcess> {
  const file = fileURLToPath(import.meta.resolve("./child.ts"));
  // As the train-worker starts its compute process.
  const env = {
    TF_NUM_INTRAOP_THREADS: `${cores}`,
    TF_NUM_INTEROP_THREADS: "1",
    OMP_NUM_THREADS: `${cores}`,
    TF_CPP_MIN_LOG_LEVEL: "2",
    GLIBC_TUNABLES: "glibc.malloc.hugetlb=1",
  };
  return LineProcess.start({ command: process.execPath, args: [file, images], env });
}

function theirProcess({ python }: BenchContext, { weights, images }: StartFiles, cores: number): Promise<LineProcess> {
  const file = fileURLToPath(import.meta.resolve("../../peers/train_step.py"));
  return LineProcess.start({ command: python, args: [file, weights, images, `${cores}`] });
}

/** Throws when the two do not do the same work: then their speeds say nothing. */
async function largestError(ours: LineProcess, peer: LineProcess): Promise<number> {
  const losses = await ours.ask<number[]>("losses", { steps: COMPARED_STEPS });
  let worst = 0;
  for (const layout of LAYOUTS) {
    const theirs = await peer.ask<number[]>("losses", { layout, steps: COMPARED_STEPS });
    const error = Math.max(...theirs.map((loss, step) => Math.abs(losses[step]! - loss) / loss));
    if (!(error <= LARGEST_ERROR)) {
      throw new Error(`losses are ${losses} and PyTorch's (${layout}) ${theirs}: nothing was timed`);
    }
    worst = Math.max(worst, error);
  }
  return worst;
}

class RateContestant implements Contestant {
  readonly name: string;
  readonly unit = "images/s";
  readonly #ask: () => Promise<Rate>;
  readonly #cpuSeconds: number[] = [];

  constructor(name: string, ask: () => Promise<Rate>) {
    this.name = name;
    this.#ask = ask;
  }

  async turn(): Promise<number> {
    const { imagesPerSecond, cpuSeconds } = await this.#ask();
    this.#cpuSeconds.push(cpuSeconds);
    return imagesPerSecond;
  }

  /** CPU seconds a step, without the turn that warms up. */
  cpu(): Measured {
    return { name: `${this.name}, CPU time`, unit: "s/step", samples: this.#cpuSeconds.slice(1) };
  }
}

interface Results {
  /** Of ours, of PyTorch in channels_last, of PyTorch in NCHW. */
  rates: Measured[];
  cpu: Measured[];
  error: number;
  memory: number;
}

function outcome({ rates, cpu, error, memory }: Results, versions: Record<string, string>): Outcome {
  const [ours, channelsLast, nchw] = rates as [Measured, Measured, Measured];
  const extra: Measured[] = [
    { name: "lossRelativeError", unit: `in ${COMPARED_STEPS} steps`, samples: [error] },
    { name: "peakRssGb", unit: "GB, cardinal", samples: [memory] },
  ];
  return {
    measured: [...rates, ...cpu, ...extra],
    ratios: {
      vsTorchChannelsLast: { value: ratio([ours], [channelsLast]), target: { atLeast: 1 } },
      vsTorchNchw: { value: ratio([ours], [nchw]), target: { atLeast: 1.8 } },
      peakRssGb: { value: memory, target: { atMost: 5 } },
    },
    versions,
  };
}
