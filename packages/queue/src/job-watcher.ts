/**
 * Hears of the changes of jobs, for one API process: one connection, one subscription for each job that somebody
 * watches, however many do.
 *
 * A message only says that there is something to look at. So a watcher that is slow looks less often and misses
 * nothing, and nothing is held for it. Messages that are lost with the connection are made up for: whoever watches is
 * woken when a subscription stands again, and looks now and then by itself (`changed`'s time limit).
 */
import type { Redis } from "ioredis";
import { openConsumer } from "./connection.ts";
import type { QueueConfig } from "./job-queue.ts";
import { type Keys, keysOf } from "./keys.ts";

export interface JobWatch extends Disposable {
  /** Resolves when something has changed since the last call's end (at once, at first), after `ms`, or on abort. */
  changed(ms: number, signal: AbortSignal): Promise<void>;
}

export class JobWatcher {
  readonly #subscriber: Redis;
  readonly #keys: Keys;
  readonly #onError: (error: Error) => void;
  /** By channel. */
  readonly #watches = new Map<string, Set<Watch>>();

  constructor(config: QueueConfig, onError: (error: Error) => void) {
    this.#keys = keysOf(config.namespace);
    this.#onError = onError;
    this.#subscriber = openConsumer(config.redisUrl, onError);
    this.#subscriber.on("message", (channel: string) => this.#wake(this.#watches.get(channel)));
    // Also when the connection is lost: who watches may say so at once.
    for (const event of ["ready", "close"]) {
      this.#subscriber.on(event, () => {
        for (const watches of this.#watches.values()) this.#wake(watches);
      });
    }
  }

  /** To be disposed of. Works while Redis is away, too: the subscription stands as soon as it is back. */
  watch(id: string): JobWatch {
    const channel = this.#keys.job(id);
    const watch = new Watch(() => this.#forget(channel, watch));
    const others = this.#watches.get(channel);
    if (others) {
      others.add(watch);
    } else {
      const watches = new Set([watch]);
      this.#watches.set(channel, watches);
      // What changed before the subscription stood was not told.
      this.#subscriber.subscribe(channel).then(() => this.#wake(watches), this.#onError);
    }
    return watch;
  }

  close(): void {
    this.#subscriber.disconnect();
  }

  #wake(watches: Set<Watch> | undefined): void {
    for (const watch of watches ?? []) watch.wake();
  }

  #forget(channel: string, watch: Watch): void {
    const watches = this.#watches.get(channel);
    if (!watches?.delete(watch) || watches.size > 0) return;
    this.#watches.delete(channel);
    this.#subscriber.unsubscribe(channel).catch(this.#onError);
  }
}

class Watch implements JobWatch {
  readonly #dispose: () => void;
  #isDirty = true;
  #resume: (() => void) | undefined;

  constructor(dispose: () => void) {
    this.#dispose = dispose;
  }

  [Symbol.dispose](): void {
    this.#dispose();
  }

  wake(): void {
    this.#isDirty = true;
    this.#resume?.();
  }

  async changed(ms: number, signal: AbortSignal): Promise<void> {
    if (!this.#isDirty && !signal.aborted) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#resume = resolve;
      const timer = setTimeout(resolve, ms);
      signal.addEventListener("abort", resolve as () => void, { once: true });
      await promise;
      clearTimeout(timer);
      signal.removeEventListener("abort", resolve as () => void);
      this.#resume = undefined;
    }
    this.#isDirty = false;
  }
}
