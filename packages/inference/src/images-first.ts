/**
 * Who may use the network next, in a process that does shards and single images: people wait for single images, so a
 * shard waits before each of its batches while there are some. An image therefore waits for one batch at most.
 *
 * Invariant: a shard waits `LONGEST_WAIT_MS` for one batch at most, so a stream of images slows shards down and never
 * stops them (a shard that tells nothing for long would be taken for dead).
 */
const LONGEST_WAIT_MS = 2_000;

export class ImagesFirst {
  #open = 0;
  readonly #waiting = new Set<() => void>();

  /** Does a single image's work. */
  async image<T>(work: () => Promise<T>): Promise<T> {
    this.#open++;
    try {
      return await work();
    } finally {
      this.#open--;
      if (this.#open === 0) for (const go of this.#waiting) go();
    }
  }

  /** Resolves when a shard may run its next batch. */
  async shardTurn(): Promise<void> {
    if (this.#open === 0) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, LONGEST_WAIT_MS);
    this.#waiting.add(resolve);
    await promise;
    clearTimeout(timer);
    this.#waiting.delete(resolve);
  }
}
