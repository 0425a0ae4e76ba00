/** The result of a benchmark as a file and as a table. */
import { type Outcome, type Ratio, reached } from "./bench.ts";
import type { Machine } from "./machine.ts";
import { median } from "./turns.ts";

export interface ResultFile {
  bench: string;
  machine: Machine;
  /** Medians. */
  rows: { name: string; value: number; unit: string }[];
  ratios: Record<string, number>;
}

export function resultFile(bench: string, machine: Machine, { measured, ratios }: Outcome): ResultFile {
  return {
    bench,
    machine,
    rows: measured.map(({ name, unit, samples }) => ({ name, value: significant(median(samples)), unit })),
    ratios: Object.fromEntries(Object.entries(ratios).map(([name, { value }]) => [name, significant(value)])),
  };
}

/** Four digits: more would be noise. */
function significant(value: number): number {
  return Number(value.toPrecision(4));
}

export function table(bench: string, machine: Machine, { measured, ratios }: Outcome): string {
  const width = Math.max(...measured.map(({ name }) => name.length), ...Object.keys(ratios).map((name) => name.length));
  const rows = measured.map(({ name, unit, samples }) => {
    const spread = samples.length > 1 ? ` (${short(Math.min(...samples))}..${short(Math.max(...samples))})` : "";
    return `  ${name.padEnd(width)}  ${short(median(samples)).padStart(8)} ${unit}${spread}`;
  });
  const lines = Object.entries(ratios).map(([name, ratio]) => `  ${name.padEnd(width)}  ${ratioLine(ratio)}`);
  const versions = Object.entries(machine.versions).map(([name, version]) => `${name} ${version}`);
  return [
    `${bench}: medians (min..max), taken in turns`,
    ...rows,
    "ratios",
    ...lines,
    "machine",
    `  ${machine.cpu}, ${machine.cores} cores, ${machine.memoryGb} GB, ${machine.platform}; ${machine.flags.join(" ")}`,
    `  load average ${machine.loadBefore} before, ${machine.loadAfter} after`,
    `  ${versions.join(", ")}`,
  ].join("\n");
}

function ratioLine(ratio: Ratio): string {
  const { target } = ratio;
  const wanted = "atLeast" in target ? `${target.atLeast} or more` : `${target.atMost} or less`;
  return `${ratio.value.toFixed(2).padStart(8)} target ${wanted}: ${reached(ratio) ? "reached" : "MISSED"}`;
}

function short(value: number): string {
  return value >= 1000 ? value.toFixed(0) : value.toPrecision(3);
}
