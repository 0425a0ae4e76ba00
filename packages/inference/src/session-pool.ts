/**
 * The models that this process has in memory, by id.
 *
 * States of an entry: loading -> ready (used by n callers, n >= 0) -> released. A load that fails leaves no entry; when
 * nobody waited for it, its error is kept for the next who asks.
 *
 * Invariants:
 * - A model is loaded once: callers that come while it loads wait for the same load.
 * - A session is released only when nobody uses it.
 * - At most `maxModels` sessions are in memory, unless more than that are in use at the same time.
 */
import { stat } from "node:fs/promises";
import { type Emit, type ModelManifest, problem } from "@cardinal/contracts";
import type { CachedModel, ModelCache } from "./model-cache.ts";
import { loadSession, type OnnxSession } from "./session.ts";

export interface LoadedModel {
  id: string;
  manifest: ModelManifest;
  session: OnnxSession;
}

export interface SessionPoolOptions {
  cache: ModelCache;
  /** Threads of each session. */
  threads: number;
  /** Sessions to keep in memory. */
  maxModels: number;
}

interface Entry {
  model: Promise<LoadedModel>;
  users: number;
  isReady: boolean;
}

/** Errors of loads that nobody waited for. */
const MAX_FAILURES = 100;

export class SessionPool {
  readonly #options: SessionPoolOptions;
  /** In order of use, the longest unused first. */
  readonly #entries = new Map<string, Entry>();

  readonly #failures = new Map<string, unknown>();

  constructor(options: SessionPoolOptions) {
    this.#options = options;
  }

  /** Ids of the models in memory, the longest unused first. */
  get loaded(): string[] {
    return [...this.#entries.keys()];
  }

  /**
   * Calls `work` with a model (an id), which stays in memory until `work` has ended. A load is told to `emit`.
   * Throws what `work` throws, and `model_not_found`, `model_corrupt`, `class_index_mismatch` and the store's errors.
   */
  async use<T>(id: string, work: (model: LoadedModel) => Promise<T>, emit?: Emit): Promise<T> {
    const entry = this.#entry(id, emit);
    entry.users++;
    try {
      return await work(await entry.model);
    } finally {
      entry.users--;
      await this.#shrink(this.#options.maxModels);
    }
  }

  /**
   * Whether `use` of the model would not have to wait for a load. If not, one begins. Throws, once, what such a load
   * has failed with.
   */
  isReady(id: string, emit?: Emit): boolean {
    const failure = this.#failures.get(id);
    if (failure !== undefined) {
      this.#failures.delete(id);
      throw failure;
    }
    const known = this.#entries.get(id);
    if (known) return known.isReady;
    this.#entry(id, emit).model.then(
      () => this.#shrink(this.#options.maxModels),
      (error) => {
        if (this.#failures.size < MAX_FAILURES) this.#failures.set(id, error);
      },
    );
    return false;
  }

  /** Releases every session that is not in use, when what loads has been loaded. */
  async close(): Promise<void> {
    await Promise.allSettled(Array.from(this.#entries.values(), ({ model }) => model));
    await this.#shrink(0);
  }

  #entry(id: string, emit?: Emit): Entry {
    const entry = this.#entries.get(id) ?? this.#newEntry(id, emit);
    this.#entries.delete(id);
    this.#entries.set(id, entry);
    return entry;
  }

  #newEntry(id: string, emit?: Emit): Entry {
    const entry = { model: this.#load(id, emit), users: 0, isReady: false };
    entry.model.then(
      () => {
        entry.isReady = true;
      },
      () => {}, // who waits for it hears of it
    );
    return entry;
  }

  async #load(id: string, emit?: Emit): Promise<LoadedModel> {
    try {
      const start = performance.now();
      const { cached, session } = await this.#loadCached(id);
      try {
        checkFit(cached, session);
      } catch (error) {
        await session.release();
        throw error;
      }
      const seconds = (performance.now() - start) / 1000;
      emit?.({ type: "model_loaded", model: id, seconds, bytes: cached.manifest.files["model.onnx"].bytes });
      return { id: cached.id, manifest: cached.manifest, session };
    } catch (error) {
      this.#entries.delete(id);
      throw error;
    }
  }

  /** A file that another process evicted between the fetch and the load is fetched again. */
  async #loadCached(id: string): Promise<{ cached: CachedModel; session: OnnxSession }> {
    for (;;) {
      const cached = await this.#options.cache.get(id);
      try {
        return { cached, session: await loadSession(cached.onnxPath, { threads: this.#options.threads }) };
      } catch (error) {
        if (await stat(cached.onnxPath).catch(() => undefined)) throw error;
      }
    }
  }

  async #shrink(size: number): Promise<void> {
    for (const [id, entry] of this.#entries) {
      if (this.#entries.size <= size) return;
      if (entry.users > 0 || !entry.isReady) continue;
      this.#entries.delete(id);
      await (await entry.model).session.release();
    }
  }
}

/** A network that does not fit its manifest would give wrong names to its answers: nothing is answered then. */
function checkFit({ id, manifest }: CachedModel, session: OnnxSession): void {
  if (session.classes !== manifest.classes.length) {
    throw problem(
      "class_index_mismatch",
      `the network of ${id} has ${session.classes} classes and its class index ${manifest.classes.length} names`,
    );
  }
  if (session.side !== manifest.transform.crop) {
    throw problem(
      "model_corrupt",
      `the network of ${id} takes ${session.side} pixels and its transform gives ${manifest.transform.crop}`,
    );
  }
}
