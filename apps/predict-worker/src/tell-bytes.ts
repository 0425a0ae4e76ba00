/** Signs of life of a transfer: a process that tells nothing for long is taken for dead (STALL_SECONDS). */
import type { Emit } from "@cardinal/contracts";

const TELL_MS = 1_000;

/** Gives a function that takes the size of each chunk and tells a progress event now and then; `total` is 0 when unknown. */
export function tellBytes(emit: Emit, total = 0): (bytes: number) => void {
  let done = 0;
  let toldAt = Number.NEGATIVE_INFINITY;
  return (bytes) => {
    done += bytes;
    if (performance.now() - toldAt < TELL_MS) return;
    toldAt = performance.now();
    const percent = total ? Math.min(100, Math.round((1000 * done) / total) / 10) : 0;
    emit({ type: "progress", progress: { done, total, unit: "bytes", percent, phase: "reading" } });
  };
}
