/** What the routes work with. */
import type { ApiKeys, RateLimits } from "@cardinal/access";
import type { ImageCaller, JobQueue, JobWatcher } from "@cardinal/queue";
import type { Metrics } from "@cardinal/service";
import type { ObjectStore } from "@cardinal/storage";
import type { OpenStreams } from "./open-streams.ts";

export interface ApiContext {
  store: ObjectStore;
  queue: JobQueue;
  images: ImageCaller;
  watcher: JobWatcher;
  streams: OpenStreams;
  metrics: Metrics;
  limits: { uploadBytes: number; imageBytes: number; imageTimeoutMs: number };
  /** The bootstrap key. */
  apiKey: string;
  keys: ApiKeys;
  rates: RateLimits;
  /** Hosts that weights may be fetched from. */
  importHosts: readonly string[];
  /** Folder of the store that the prefix of a predict job must lie in. */
  prefixArea: string;
  isClosing(): boolean;
}
