/** Every Redis key of Cardinal's own, below one namespace; BullMQ's lie below `<namespace>:q`. */
import type { QueueName } from "@cardinal/contracts";

export interface Keys {
  readonly namespace: string;
  readonly bull: string;
  /** Hash: the record of a job; also the channel on which its changes are told. */
  job(id: string): string;
  /** List: the finished epochs of a training job. */
  epochs(id: string): string;
  /** Stream: the log lines of a job. */
  log(id: string): string;
  /** Hash: shard number to image count, of the finished shards of a predict job. */
  shards(id: string): string;
  /** Sorted set of all jobs by the time they were made. */
  readonly jobs: string;
  /** Sorted set of the jobs that have not ended, by the time they were made or last retried. */
  readonly open: string;
  /** Sorted set of the waiting jobs of a queue, by the time since when they wait. */
  waiting(queue: QueueName): string;
  /** Hash: job id and request digest of an Idempotency-Key. */
  idempotency(digest: string): string;
  /** Sorted set of worker ids by when they were last seen, and their descriptions. */
  readonly workers: string;
  readonly workerViews: string;
  /** Random id of what lives in this Redis and namespace. */
  readonly installation: string;
  /** Hash: measured speeds of work by its sort (speed.ts). */
  readonly speeds: string;
  /** Lock of the one process that does the housekeeping. */
  readonly housekeeper: string;
  /** While it is there no ingest writes: images that nobody refers to are being removed. */
  readonly ingestHold: string;
  /** Is there while unwanted images need not be looked for. */
  readonly imagesCollected: string;
  /** Channel on which one API process hears answers to single images. */
  reply(api: string): string;
  /** Channel on which workers hear of single images that nobody waits for any more. */
  readonly unasked: string;
}

export function keysOf(namespace: string): Keys {
  return {
    namespace,
    bull: `${namespace}:q`,
    job: (id) => `${namespace}:job:${id}`,
    epochs: (id) => `${namespace}:epochs:${id}`,
    log: (id) => `${namespace}:log:${id}`,
    shards: (id) => `${namespace}:shards:${id}`,
    jobs: `${namespace}:jobs`,
    open: `${namespace}:open`,
    waiting: (queue) => `${namespace}:waiting:${queue}`,
    idempotency: (digest) => `${namespace}:idem:${digest}`,
    workers: `${namespace}:workers`,
    workerViews: `${namespace}:worker-views`,
    installation: `${namespace}:installation`,
    speeds: `${namespace}:speeds`,
    housekeeper: `${namespace}:housekeeper`,
    ingestHold: `${namespace}:ingest-hold`,
    imagesCollected: `${namespace}:images-collected`,
    unasked: `${namespace}:unasked`,
    reply: (api) => `${namespace}:reply:${api}`,
  };
}
