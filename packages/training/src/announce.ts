/** Log lines at the begin and the end of a training. */
import type { Emit, TrainingEnd } from "@cardinal/contracts";
import { convolutionEngine } from "@cardinal/resnext/tfjs";
import type { Start } from "./start.ts";
import type { TrainingSet } from "./training-set.ts";
import type { TrainingState } from "./training-state.ts";

/** `more` is put beside the numbers of images. */
export function announceStart(
  emit: Emit,
  set: TrainingSet,
  { base }: Start,
  resumedFromStep: number | undefined,
  more: Record<string, unknown> = {},
): void {
  const images = { train: set.train.length, validation: set.validation.length, classes: set.classes.length };
  const how = resumedFromStep === undefined ? "begins" : `goes on after step ${resumedFromStep}`;
  const from = base && { base: base.id, head: base.head };
  emit({
    type: "log",
    level: "info",
    message: `training ${how}`,
    details: { ...images, ...from, ...more, engine: convolutionEngine() },
  });
  if (base?.head === "from base" && base.classes.some((name, index) => name !== set.classes[index])) {
    const message = "the base's head is kept, but was trained on classes of other names: it starts with their weights";
    emit({ type: "log", level: "warn", message, details: { base: base.id, baseClasses: base.classes.slice(0, 10) } });
  }
  if (set.evaluatedOn === "val") return;
  const message = "the data set has no validation images: the figures are of the training images themselves";
  emit({ type: "log", level: "warn", message, details: { dataset: set.name } });
}

export function announceEnd(emit: Emit, endedBy: TrainingEnd, { epoch, best, trainSeconds }: TrainingState): void {
  if (endedBy === "epochs") return;
  const why = endedBy === "early-stopping" ? "the accuracy has not risen for long enough" : "its time is up";
  const details = { endedBy, epochs: epoch, bestEpoch: best?.epoch, trainSeconds };
  emit({ type: "log", level: "info", message: `training ends early: ${why}`, details });
}
