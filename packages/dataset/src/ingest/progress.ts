/**
 * What an ingest tells about its work: progress and counts a few times a second, and the time of each image.
 */
import type { Emit } from "@cardinal/contracts";

/** Share of the time that reading, decoding and hashing takes; the rest is writing. Measured on the directory store. */
const SHARES = { reading: 0.6, writing: 0.4 } as const;
type Phase = keyof typeof SHARES;

const INTERVAL_MS = 250;

export class IngestProgress {
  readonly #emit: Emit;
  readonly #total: number;
  readonly #started = performance.now();
  #phase: Phase = "reading";
  #done = 0;
  #lastReport = 0;
  #ok = 0;
  #failed = 0;

  constructor(emit: Emit, total: number) {
    this.#emit = emit;
    this.#total = total;
    this.#report();
  }

  /** One image has been read and decoded, or could not be. */
  read(ok: boolean, seconds: number): void {
    if (ok) this.#ok++;
    else this.#failed++;
    this.#emit({ type: "stage", stage: "ingest", seconds });
    this.#step();
  }

  /** All images have been read; `wanted` of them are to be written. */
  beginWriting(wanted: number): void {
    this.#report();
    this.#phase = "writing";
    this.#done = this.#total - wanted;
    this.#report();
  }

  wrote(seconds: number): void {
    this.#emit({ type: "stage", stage: "write", seconds });
    this.#step();
  }

  /** Reports what has not been reported yet; also to be called when the ingest fails. */
  end(): void {
    this.#report();
  }

  #step(): void {
    this.#done++;
    if (performance.now() - this.#lastReport >= INTERVAL_MS) this.#report();
  }

  #report(): void {
    this.#lastReport = performance.now();
    if (this.#ok > 0) this.#emit({ type: "images", stage: "ingest", outcome: "ok", count: this.#ok });
    if (this.#failed > 0) this.#emit({ type: "images", stage: "ingest", outcome: "error", count: this.#failed });
    this.#ok = 0;
    this.#failed = 0;
    const share = this.#total === 0 ? 1 : this.#done / this.#total;
    const part = this.#phase === "reading" ? SHARES.reading * share : SHARES.reading + SHARES.writing * share;
    const elapsed = (performance.now() - this.#started) / 1000;
    this.#emit({
      type: "progress",
      progress: {
        done: this.#done,
        total: this.#total,
        unit: "images",
        percent: Math.round(part * 1000) / 10,
        ...(part > 0 && { etaSeconds: Math.round((elapsed / part) * (1 - part)) }),
        phase: this.#phase,
      },
    });
  }
}
