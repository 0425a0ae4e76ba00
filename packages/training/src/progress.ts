/** Tells of a training in events, at most four times a second from within an epoch. */
import type { Emit, Epoch, Progress } from "@cardinal/contracts";
import type { StepFigures, TrainingState } from "./training-state.ts";

const INTERVAL_MS = 250;

export type Phase = "reading" | "training" | "validating" | "exporting";

export class ProgressReporter {
  readonly #emit: Emit;
  readonly #steps: number;
  readonly #epochs: number;
  readonly #more: () => Partial<Progress>;
  /** Step and time at which this attempt began: the remaining time is judged by its own pace. */
  readonly #from: { step: number; at: number };
  /** What has happened since the last event. */
  #images = 0;
  #lastAt = performance.now();
  #imagesPerSecond: number | undefined;
  #loss: number | undefined;

  /** `steps` are those of all `epochs`; `more` gives what else belongs into every progress. */
  constructor(
    emit: Emit,
    state: Pick<TrainingState, "step">,
    { steps, epochs }: { steps: number; epochs: number },
    more: () => Partial<Progress> = () => ({}),
  ) {
    this.#emit = emit;
    this.#steps = steps;
    this.#epochs = epochs;
    this.#more = more;
    this.#from = { step: state.step, at: performance.now() };
  }

  step(state: TrainingState, { loss, images, seconds }: StepFigures): void {
    this.#emit({ type: "stage", stage: "train_step", seconds });
    this.#images += images;
    this.#loss = loss;
    if (performance.now() - this.#lastAt >= INTERVAL_MS) this.#flush(state);
  }

  /** The images since the last event too, so that their sum is exact. */
  phase(state: TrainingState, phase: Phase): void {
    if (this.#images > 0) this.#flush(state);
    this.#progress(state, phase);
  }

  validated(images: number, seconds: number): void {
    this.#emit({ type: "stage", stage: "validate", seconds });
    this.#emit({ type: "images", stage: "validate", outcome: "ok", count: images });
    this.#lastAt = performance.now();
  }

  epoch(state: TrainingState, epoch: Epoch): void {
    this.#emit({ type: "epoch", epoch });
    this.#progress(state, "training");
  }

  #flush(state: TrainingState): void {
    const now = performance.now();
    this.#imagesPerSecond = (1000 * this.#images) / (now - this.#lastAt);
    const images = this.#images;
    this.#images = 0;
    this.#lastAt = now;
    this.#emit({ type: "images", stage: "train", outcome: "ok", count: images });
    const { step, epoch } = state;
    this.#emit({ type: "train_step", epoch: epoch + 1, step, steps: this.#steps, loss: this.#loss!, images });
    this.#progress(state, "training");
  }

  #progress({ step, epoch, epochs, position, right }: TrainingState, phase: Phase): void {
    const done = step - this.#from.step;
    const seconds = (performance.now() - this.#from.at) / 1000;
    this.#emit({
      type: "progress",
      progress: {
        ...{ done: step, total: this.#steps, unit: "steps", percent: (100 * step) / this.#steps, phase },
        ...(done > 0 && { etaSeconds: (seconds / done) * (this.#steps - step) }),
        ...{ epoch: Math.min(epoch + 1, this.#epochs), totalEpochs: this.#epochs },
        ...(position > 0 && { accuracy: right / position }),
        ...{ epochs: [...epochs], loss: this.#loss, imagesPerSecond: this.#imagesPerSecond },
        ...this.#more(),
      },
    });
  }
}
