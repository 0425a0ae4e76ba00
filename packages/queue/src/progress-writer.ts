/**
 * Writes the progress of one run into its job's record.
 *
 * One write at a time: while one is under way (Redis is slow or away) only the latest progress is kept for the next, so
 * a run that tells a lot holds no memory and no connection. The finished epochs of a training are written once each,
 * all of them at a run's first write: a run that went on from a checkpoint may have lost some of the run before.
 */
import type { Progress } from "@cardinal/contracts";
import type { JobRecords } from "./records.ts";

export class ProgressWriter {
  readonly #records: JobRecords;
  readonly #job: string;
  readonly #fence: number;
  #epochsWritten: number | undefined;
  #writing: Promise<string> | undefined;
  #next: Progress | undefined;

  constructor(records: JobRecords, job: string, fence: number) {
    this.#records = records;
    this.#job = job;
    this.#fence = fence;
  }

  /** Resolves when this progress was written or is left out for a later one; gives what `JobRecords.write` gives. */
  async write(progress: Progress): Promise<string> {
    this.#next = progress;
    while (this.#writing) {
      const outcome = await this.#writing;
      if (outcome !== "ok" || this.#next !== progress) return outcome;
    }
    this.#next = undefined;
    this.#writing = this.#store(progress).finally(() => {
      this.#writing = undefined;
    });
    return this.#writing;
  }

  /** Resolves when the latest progress was written or refused. */
  async flush(): Promise<void> {
    while (this.#writing) await this.#writing.catch(() => {});
  }

  async #store({ epochs, ...progress }: Progress): Promise<string> {
    const written = this.#epochsWritten;
    if (!epochs || (written !== undefined && epochs.length === written)) {
      return this.#records.writeProgress(this.#job, this.#fence, progress);
    }
    const keep = written ?? 0;
    const added = epochs.slice(keep);
    const outcome = await this.#records.writeProgress(this.#job, this.#fence, progress, { keep, added });
    if (outcome === "ok") this.#epochsWritten = epochs.length;
    return outcome;
  }
}
