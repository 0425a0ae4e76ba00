/** A worker process' connection to Redis and what hangs on it. */
import type { LogLevel, WorkerView } from "@cardinal/contracts";
import type { Redis } from "ioredis";
import { type BullQueues, closeBullQueues, openBullQueues } from "./bull.ts";
import { checkRedis, farewell, openConsumer, type RedisFacts, whenReady } from "./connection.ts";
import { type Heartbeat, startHeartbeat } from "./fleet.ts";
import { whenNotHeld } from "./ingest-hold.ts";
import { JobLog } from "./job-log.ts";
import type { QueueConfig } from "./job-queue.ts";
import { type Keys, keysOf } from "./keys.ts";
import { JobRecords } from "./records.ts";
import { SpeedMeter } from "./speed.ts";

export class QueueConsumer {
  readonly redis: Redis;
  readonly keys: Keys;
  readonly records: JobRecords;
  readonly log: JobLog;
  readonly speeds: SpeedMeter;
  readonly bull: BullQueues;
  readonly facts: RedisFacts;
  #heartbeat: Heartbeat | undefined;
  readonly #onError: (error: Error) => void;

  private constructor(redis: Redis, config: QueueConfig, facts: RedisFacts, onError: (error: Error) => void) {
    this.redis = redis;
    this.keys = keysOf(config.namespace);
    this.records = new JobRecords(redis, this.keys, config.retentionSeconds);
    this.log = new JobLog(redis, this.keys, config.retentionSeconds);
    this.speeds = new SpeedMeter(redis, this.keys, onError);
    this.bull = openBullQueues(redis, this.keys, onError);
    this.facts = facts;
    this.#onError = onError;
  }

  /** Waits for Redis (`queue_unavailable` after 30 s); refuses a server that would lose jobs. */
  static async open(config: QueueConfig, onError: (error: Error) => void): Promise<QueueConsumer> {
    const redis = openConsumer(config.redisUrl, onError);
    try {
      await whenReady(redis, 30_000);
      return new QueueConsumer(redis, config, await checkRedis(redis), onError);
    } catch (error) {
      redis.disconnect();
      throw error;
    }
  }

  /** `describe` says what the worker is and does; what it has measured is added here. */
  startHeartbeat(describe: () => Omit<WorkerView, "seenAt" | "speeds">): void {
    const whole = () => ({ ...describe(), speeds: this.speeds.means() });
    this.#heartbeat = startHeartbeat(this.redis, this.keys, whole, this.#onError);
  }

  /** Adds a line to a job's log, in the background: no work fails for want of one. */
  tell(job: string, level: LogLevel, message: string, fields?: Record<string, unknown>): void {
    this.log.add(job, level, message, fields).catch(this.#onError);
  }

  /** An active ingest asks before it writes; waits while unwanted images are being removed. */
  whenIngestsMayWrite(signal: AbortSignal): Promise<void> {
    return whenNotHeld(this.redis, this.keys, signal);
  }

  async close(): Promise<void> {
    const words = async () => {
      await this.#heartbeat?.stop().catch(this.#onError);
      await closeBullQueues(this.bull);
    };
    await farewell(this.redis, words());
    this.redis.disconnect();
  }
}
