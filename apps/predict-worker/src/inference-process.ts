/** How the compute process for shards and images is started. */

/** Its main file. */
export const inferenceModule = new URL("./inference-child.ts", import.meta.url);

export interface InferenceSettings {
  /** Threads that one operator of the network may use. */
  threads: number;
  /** Folder of the machine's models. */
  cacheDir: string;
  /** Images in one run of the network. */
  batchSize: number;
  /** Models kept in memory, in MB of their files. */
  modelMemoryMb: number;
}

/**
 * Its environment beside the worker's own.
 *
 * Loading a network frees about twice its size in pieces of 1 to 8 MB. glibc keeps such pieces (it raises its threshold
 * for mmap to the largest one freed), with which the process peaks at 530 MB for ResNeXt-50. With a fixed threshold
 * they go back to the system: 410 MB, at the same speed. Smaller pieces, such as decoded photographs, stay on the
 * heap, where they are quicker. Weights lie in large pages where the kernel gives some to those who ask (`madvise`).
 * Other C libraries do not know these variables.
 */
export function inferenceEnvironment(settings: InferenceSettings): Record<string, string> {
  return {
    THREADS: String(settings.threads),
    CACHE_DIR: settings.cacheDir,
    BATCH_SIZE: String(settings.batchSize),
    MODEL_MEMORY_MB: String(settings.modelMemoryMb),
    MALLOC_MMAP_THRESHOLD_: process.env.MALLOC_MMAP_THRESHOLD_ ?? "1000000",
    GLIBC_TUNABLES: process.env.GLIBC_TUNABLES ?? "glibc.malloc.hugetlb=1",
  };
}
