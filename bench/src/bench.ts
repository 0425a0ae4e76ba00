/** What a benchmark is, and what it gives back. */
import type { Measured } from "./turns.ts";

/** What every benchmark is given. */
export interface BenchContext {
  /** Turns that every contestant gets; the medians are over these. */
  rounds: number;
  /** The Python that has the peer: PyTorch, torchvision and Pillow. Empty for a benchmark without a peer. */
  python: string;
  /** A folder of this run's own; removed after it. */
  folder: string;
  /** Tells what is being done, a line at a time. */
  say(line: string): void;
}

export interface Ratio {
  value: number;
  /** The ratio that must be reached: at least this, or at most. */
  target: { atLeast: number } | { atMost: number };
}

export interface Outcome {
  measured: Measured[];
  ratios: Record<string, Ratio>;
  /** Versions of what was measured: torch, onnxruntime, … */
  versions: Record<string, string>;
}

export interface Bench {
  /** One line for the list of benchmarks. */
  title: string;
  /** Turns for each contestant unless the command line says otherwise. */
  rounds: number;
  /** It has no peer in Python: `python` is empty. */
  withoutPeer?: true;
  run(context: BenchContext): Promise<Outcome>;
}

export function reached({ value, target }: Ratio): boolean {
  return "atLeast" in target ? value >= target.atLeast : value <= target.atMost;
}
