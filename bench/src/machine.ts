/** What a benchmark ran on: figures mean little without it. */
import { readFileSync } from "node:fs";
import os from "node:os";

export interface Machine {
  cpu: string;
  /** Cores that this process may use. */
  cores: number;
  /** Vector and matrix extensions, as Linux names them; empty elsewhere. */
  flags: string[];
  memoryGb: number;
  platform: string;
  /** Load average over a minute, before the run and after it: above 0 before it, others were at work. */
  loadBefore: number;
  loadAfter: number;
  /** Of Node and of everything measured. */
  versions: Record<string, string>;
}

/** Begins to describe the machine; the function that it gives completes the description when the run is over. */
export function describeMachine(): (versions: Record<string, string>) => Machine {
  const loadBefore = load();
  return (versions) => ({
    cpu: os.cpus()[0]?.model ?? "unknown",
    cores: os.availableParallelism(),
    flags: vectorFlags(),
    memoryGb: Math.round(os.totalmem() / 1e9),
    platform: `${process.platform}-${process.arch}`,
    loadBefore,
    loadAfter: load(),
    versions: { node: process.versions.node, ...versions },
  });
}

function load(): number {
  return Math.round(os.loadavg()[0]! * 100) / 100;
}

function vectorFlags(): string[] {
  if (process.platform !== "linux") return [];
  const flags = /^flags\s*:(.*)$/m.exec(readFileSync("/proc/cpuinfo", "utf8"))?.[1] ?? "";
  return flags.split(" ").filter((flag) => /^(avx|amx|fma)/.test(flag));
}
