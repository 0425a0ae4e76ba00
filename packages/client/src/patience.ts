/** How long a client bears with an API that is away, or has lost its Redis: up to a minute, in pauses that grow. */
import { setTimeout as sleep } from "node:timers/promises";
import { CardinalError } from "@cardinal/contracts";

const LONGEST_OUTAGE_MS = 60_000;
const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 2_000;

export class Patience {
  #goodAt = performance.now();
  #pause = FIRST_PAUSE_MS;
  readonly #signal: AbortSignal | undefined;

  constructor(signal?: AbortSignal) {
    this.#signal = signal;
  }

  /** An answer came. */
  good(): void {
    this.#goodAt = performance.now();
    this.#pause = FIRST_PAUSE_MS;
  }

  /** Returns when it is time to try again; throws `error` when that is no use, or the outage lasts too long. */
  async after(error: unknown): Promise<void> {
    const mayHeal = error instanceof CardinalError && error.status === 503;
    if (!mayHeal || performance.now() - this.#goodAt > LONGEST_OUTAGE_MS) throw error;
    await sleep(this.#pause, undefined, { signal: this.#signal });
    this.#pause = Math.min(this.#pause * 2, LONGEST_PAUSE_MS);
  }
}
