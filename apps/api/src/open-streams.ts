/**
 * The answers that stay open: streams of events, followed logs, long polls. A process keeps a limited number, each is
 * let go when its client goes away, and all are when the process ends, so that clients go on with another one.
 */
import { problem } from "@cardinal/contracts";
import type { Metrics } from "@cardinal/service";
import type { Response } from "express";

export interface OpenStream extends Disposable {
  /** Aborts when the client has gone or the process ends. */
  readonly signal: AbortSignal;
}

export class OpenStreams {
  readonly #max: number;
  readonly #metrics: Metrics;
  readonly #open = new Set<AbortController>();
  #isClosed = false;

  constructor(max: number, metrics: Metrics) {
    this.#max = max;
    this.#metrics = metrics;
    metrics.openStreams.set(0);
  }

  /** To be disposed of when the answer is out. Throws `too_many_streams`, `shutting_down`. */
  open(response: Response): OpenStream {
    if (this.#isClosed) throw problem("shutting_down", "this API process is shutting down");
    if (this.#open.size >= this.#max) {
      throw problem("too_many_streams", `this API process keeps ${this.#max} watched jobs open already (MAX_STREAMS)`);
    }
    const controller = new AbortController();
    const onClose = () => controller.abort();
    response.once("close", onClose);
    // The client may have left before: then its close has been told already.
    if (response.destroyed) controller.abort();
    // How long somebody watches says nothing about how fast requests are answered.
    response.locals.isStream = true;
    this.#open.add(controller);
    this.#count();
    return {
      signal: controller.signal,
      [Symbol.dispose]: () => {
        response.off("close", onClose);
        this.#open.delete(controller);
        this.#count();
      },
    };
  }

  /** Ends all of them; what comes later is refused. */
  close(): void {
    this.#isClosed = true;
    for (const controller of this.#open) controller.abort();
  }

  #count(): void {
    this.#metrics.openStreams.set(this.#open.size);
  }
}
