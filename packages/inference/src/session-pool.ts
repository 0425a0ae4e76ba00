/**
 * The networks that this process has in memory: models by id, others by the digest of their file.
 *
 * States of an entry: loading -> ready (used by n callers, n >= 0) -> released. A load that fails leaves no entry; when
 * nobody waited for it, its error is kept for the next who asks.
 *
 * Invariants:
 * - A model is loaded once: callers that come while it loads wait for the same load.
 * - A session is released only when nobody uses it.
 * - The models in memory have at most `maxBytes` together, but those in use stay in any case, and one when none is.
 */
import { stat } from "node:fs/promises";
import { type Emit, type ModelManifest, problem } from "@cardinal/contracts";
import type { CachedModel, ModelCache, NetworkFile } from "./model-cache.ts";
import { loadSession, type OnnxSession } from "./session.ts";

interface Loaded {
  session: OnnxSession;
  /** Size of its file. */
  bytes: number;
}

export interface LoadedModel extends Loaded {
  id: string;
  manifest: ModelManifest;
}

export interface SessionPoolOptions {
  cache: ModelCache;
  /** Threads of each session. */
  threads: number;
  /** Models are kept up to this sum of their files' sizes. A session takes about as much, and what its batches need. */
  maxBytes: number;
}

interface Entry {
  loaded: Promise<Loaded>;
  /** What `loaded` gives, when it has. */
  ready?: Loaded;
  users: number;
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

  /** Ids (digests) of what is in memory, the longest unused first. */
  get loaded(): string[] {
    return [...this.#entries.keys()];
  }

  /**
   * Calls `work` with a model (an id), which stays in memory until `work` has ended. A load is told to `emit`.
   * Throws what `work` throws, and `model_not_found`, `model_corrupt`, `class_index_mismatch` and the store's errors.
   */
  use<T>(id: string, work: (model: LoadedModel) => Promise<T>, emit?: Emit): Promise<T> {
    return this.#use(id, () => this.#load(id, emit), work);
  }

  /** The same with a network that is known by its file alone. Throws what `work` throws and `ModelCache.file` does. */
  useNetwork<T>(file: NetworkFile, work: (session: OnnxSession) => Promise<T>, emit?: Emit): Promise<T> {
    const load = () => this.#loadNetwork(file, emit);
    return this.#use(file.sha256, load, ({ session }) => work(session));
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
    if (known) return known.ready !== undefined;
    this.#entry(id, () => this.#load(id, emit)).loaded.then(
      () => this.#shrink(this.#options.maxBytes),
      (error) => {
        if (this.#failures.size < MAX_FAILURES) this.#failures.set(id, error);
      },
    );
    return false;
  }

  /** Releases every session that is not in use, when what loads has been loaded. */
  async close(): Promise<void> {
    await Promise.allSettled(Array.from(this.#entries.values(), ({ loaded }) => loaded));
    await this.#shrink(-1);
  }

  /** An id always comes with loads of the same kind. */
  async #use<L extends Loaded, T>(id: string, load: () => Promise<L>, work: (loaded: L) => Promise<T>): Promise<T> {
    const entry = this.#entry(id, load);
    entry.users++;
    try {
      return await work((await entry.loaded) as L);
    } finally {
      entry.users--;
      await this.#shrink(this.#options.maxBytes);
    }
  }

  #entry(id: string, load: () => Promise<Loaded>): Entry {
    const entry = this.#entries.get(id) ?? this.#newEntry(id, load);
    this.#entries.delete(id);
    this.#entries.set(id, entry);
    return entry;
  }

  #newEntry(id: string, load: () => Promise<Loaded>): Entry {
    const entry: Entry = { loaded: load(), users: 0 };
    entry.loaded.then(
      (ready) => {
        entry.ready = ready;
        // What an earlier load has failed with says nothing any more.
        this.#failures.delete(id);
      },
      () => this.#entries.delete(id), // who waits for it hears of it
    );
    return entry;
  }

  async #load(id: string, emit?: Emit): Promise<LoadedModel> {
    const start = performance.now();
    const { cache } = this.#options;
    const { found, session } = await this.#open(
      () => cache.get(id),
      ({ onnxPath }) => onnxPath,
    );
    try {
      checkFit(found, session);
    } catch (error) {
      await session.release();
      throw error;
    }
    const seconds = (performance.now() - start) / 1000;
    const { bytes } = found.manifest.files["model.onnx"];
    emit?.({ type: "model_loaded", model: id, seconds, bytes });
    return { id: found.id, manifest: found.manifest, session, bytes };
  }

  async #loadNetwork(file: NetworkFile, emit?: Emit): Promise<Loaded> {
    const start = performance.now();
    const { cache } = this.#options;
    const { found, session } = await this.#open(
      () => cache.file(file),
      (path) => path,
    );
    const { size: bytes } = await stat(found).catch(() => ({ size: 0 })); // evicted since
    emit?.({ type: "model_loaded", model: file.key, seconds: (performance.now() - start) / 1000, bytes });
    return { session, bytes };
  }

  /** A file that another process evicted between the fetch and the load is fetched again. */
  async #open<F>(fetch: () => Promise<F>, pathOf: (found: F) => string): Promise<{ found: F; session: OnnxSession }> {
    for (;;) {
      const found = await fetch();
      try {
        return { found, session: await loadSession(pathOf(found), { threads: this.#options.threads }) };
      } catch (error) {
        if (await stat(pathOf(found)).catch(() => undefined)) throw error;
      }
    }
  }

  /** Releases the longest unused until the rest has at most so many bytes, or is one; below 0 all. */
  async #shrink(maxBytes: number): Promise<void> {
    for (const [id, entry] of this.#entries) {
      const total = Array.from(this.#entries.values()).reduce((sum, { ready }) => sum + (ready?.bytes ?? 0), 0);
      if (maxBytes >= 0 && (total <= maxBytes || this.#entries.size === 1)) return;
      if (entry.users > 0 || !entry.ready) continue;
      this.#entries.delete(id);
      await entry.ready.session.release();
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
