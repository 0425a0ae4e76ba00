/** BullMQ's queues, opened with Cardinal's prefix. With bullmq's workers in worker.ts the only use of the library. */
import type { QueueName } from "@cardinal/contracts";
import { Queue } from "bullmq";
import type { Redis } from "ioredis";
import type { Keys } from "./keys.ts";

export type BullQueues = Record<QueueName, Queue>;

export function openBullQueues(redis: Redis, keys: Keys, onError: (error: Error) => void): BullQueues {
  const open = (name: QueueName) => {
    const queue = new Queue(name, { connection: redis, prefix: keys.bull, skipWaitingForReady: true });
    queue.on("error", onError);
    return queue;
  };
  return {
    train: open("train"),
    ingest: open("ingest"),
    import: open("import"),
    predict: open("predict"),
    shard: open("shard"),
    image: open("image"),
  };
}

export async function closeBullQueues(queues: BullQueues): Promise<void> {
  await Promise.all(Object.values(queues).map((queue) => queue.close()));
}
