/** A job and its shards as a BullMQ flow: the parent waits, a shard that fails for good does not end it. */
import type { AnyShardPayload } from "@cardinal/contracts";
import type { Job } from "bullmq";
import type { QueueConsumer } from "./consumer.ts";
import { jobOptions, shardPriority } from "./policy.ts";

export interface ShardFailure {
  shard: number;
  reason: string;
}

/** Shards are added in bulks of so many, so that one command stays small. */
const BULK = 500;

const shardJobId = (job: string, shard: number): string => `${job}.${shard}`;

/** Adding again what was added before changes nothing; a shard that was done already is done again. */
export async function addShards(
  consumer: QueueConsumer,
  parent: Job,
  shards: AnyShardPayload[],
  priority: number,
): Promise<void> {
  for (let first = 0; first < shards.length; first += BULK) {
    await consumer.bull.shard.addBulk(
      shards.slice(first, first + BULK).map((data) => ({
        name: "shard",
        data,
        opts: {
          ...jobOptions("shard", shardJobId(data.job, data.shard), shardPriority(priority, data.shard)),
          parent: { id: parent.id!, queue: parent.queueQualifiedName },
          ignoreDependencyOnFailure: true,
        },
      })),
    );
  }
}

/** The shards of a parent that failed for good, by number. */
export async function shardFailures(parent: Job): Promise<ShardFailure[]> {
  const failures = await parent.getIgnoredChildrenFailures();
  return Object.entries(failures)
    .map(([key, reason]) => ({ shard: Number(key.slice(key.lastIndexOf(".") + 1)), reason }))
    .sort((a, b) => a.shard - b.shard);
}
