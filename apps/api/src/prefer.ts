/** `Prefer: wait` and `Prefer: wait=10` (RFC 7240): the caller would rather wait than be sent away. */
import type { Request } from "express";

/** The longest wait in seconds; a longer one is cut to it. */
const MAX_WAIT_SECONDS = 300;

export interface WaitPreference {
  /** Absent: as long as the server sees fit. */
  ms?: number;
  /** For the header `Preference-Applied`. */
  applied: string;
}

/** Undefined without such a preference, or with `wait=0`. What cannot be understood is ignored, as the RFC wants it. */
export function waitPreference(request: Request): WaitPreference | undefined {
  for (const preference of (request.get("Prefer") ?? "").split(",")) {
    const found = /^\s*wait\s*(?:=\s*"?(\d{1,9})"?\s*)?(?:;.*)?$/i.exec(preference);
    if (!found) continue;
    if (found[1] === undefined) return { applied: "wait" };
    const wait = Math.min(Number(found[1]), MAX_WAIT_SECONDS);
    return wait === 0 ? undefined : { ms: wait * 1000, applied: `wait=${wait}` };
  }
}
