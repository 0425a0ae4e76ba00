/**
 * A `text/event-stream` answer (WHATWG HTML, server-sent events). Writing waits for the reader: what one event takes is
 * all that is ever held for a slow one.
 */
import { once } from "node:events";
import type { Response } from "express";

/** Pause before a reader that lost its connection comes back, in milliseconds. */
const RETRY_MS = 2_000;

export class EventStream {
  readonly #response: Response;
  readonly signal: AbortSignal;

  /** Sends the head. `signal`: the reader has gone. */
  constructor(response: Response, signal: AbortSignal) {
    this.#response = response;
    this.signal = signal;
    response.status(200).set({
      "Content-Type": "text/event-stream; charset=utf-8",
      "Cache-Control": "no-cache, no-transform",
      // nginx would keep events back until its buffer is full.
      "X-Accel-Buffering": "no",
    });
    response.flushHeaders();
    response.write(`retry: ${RETRY_MS}\n\n`);
  }

  /** JSON has no line feeds of its own, so an event's data is one line. Throws what `signal` aborts with. */
  send(event: string, data: unknown, id?: string): Promise<void> {
    return this.#write(`event: ${event}\n${id === undefined ? "" : `id: ${id}\n`}data: ${JSON.stringify(data)}\n\n`);
  }

  /** A comment, which readers skip: it shows proxies and both ends that the connection lives. */
  heartbeat(): Promise<void> {
    return this.#write(": heartbeat\n\n");
  }

  async #write(text: string): Promise<void> {
    this.signal.throwIfAborted();
    if (!this.#response.write(text)) await once(this.#response, "drain", { signal: this.signal });
  }
}
