/** What of a job's work is worth a line in its log: what a person would want to know who looks at it a week later. */
import type { LogLevel, WorkEvent } from "@cardinal/contracts";

/** Undefined for what comes with every step or batch. */
export function logLineOf(event: WorkEvent): [LogLevel, string, Record<string, unknown>?] | undefined {
  switch (event.type) {
    case "log":
      return [event.level, event.message, event.details];
    case "epoch": {
      const { epoch, ...figures } = event.epoch;
      return ["info", `epoch ${epoch} ended`, rounded(figures)];
    }
    case "checkpoint":
      return ["info", `checkpoint at step ${event.step}`, rounded({ bytes: event.bytes, seconds: event.seconds })];
    default:
      return undefined;
  }
}

/** Of fractions five digits say enough. */
function rounded(figures: Record<string, number>): Record<string, number> {
  const short = (value: number) => (Number.isInteger(value) ? value : Number(value.toPrecision(5)));
  return Object.fromEntries(Object.entries(figures).map(([name, value]) => [name, short(value)]));
}
