import type { Emit } from "@cardinal/contracts";

/** Tells how many images passed a stage, and how many did not. */
export function tellImages(emit: Emit, stage: "predict" | "extract", count: { ok: number; error: number }): void {
  for (const outcome of ["ok", "error"] as const) {
    if (count[outcome] > 0) emit({ type: "images", stage, outcome, count: count[outcome] });
  }
}
