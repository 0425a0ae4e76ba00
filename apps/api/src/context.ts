/** What the routes work with. */
import type { ImageCaller, JobQueue } from "@cardinal/queue";
import type { Metrics } from "@cardinal/service";
import type { ObjectStore } from "@cardinal/storage";

export interface ApiContext {
  store: ObjectStore;
  queue: JobQueue;
  images: ImageCaller;
  metrics: Metrics;
  limits: { uploadBytes: number; imageBytes: number; imageTimeoutMs: number };
  apiKey: string;
  /** Hosts that weights may be fetched from. */
  importHosts: readonly string[];
  isClosing(): boolean;
}
