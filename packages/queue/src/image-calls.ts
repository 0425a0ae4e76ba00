/**
 * Single images: a question and its answer. The image's bytes lie in the store; the entry in the queue holds their key;
 * the answer is published to the process that asked and is never kept in Redis. Nobody retries: the caller is waiting
 * and decides itself. When the caller goes away or has waited for long enough, the question is taken back: out of the
 * queue, or by a message to the workers, of which the one that has it stops.
 */
import {
  fromRecord,
  type ImageAnswer,
  type ImagePayload,
  imagePayloadSchema,
  imageReplySchema,
  PAYLOAD_VERSION,
  problem,
  toProblem,
} from "@cardinal/contracts";
import type { Redis } from "ioredis";
import { ulid } from "ulid";
import { openBullWorker, type QueueWorker, type RunStop, refuseNewer, type WorkerEvents } from "./bull-worker.ts";
import { guarded, openConsumer } from "./connection.ts";
import type { QueueConsumer } from "./consumer.ts";
import type { JobQueue, QueueConfig } from "./job-queue.ts";
import { jobOptions } from "./policy.ts";

/** The asking side, one per API process. */
export class ImageCaller {
  readonly #queue: JobQueue;
  readonly #subscriber: Redis;
  readonly #channel: string;
  readonly #open = new Map<string, { resolve(answer: ImageAnswer): void; reject(error: Error): void }>();

  private constructor(queue: JobQueue, subscriber: Redis, channel: string, onError: (error: Error) => void) {
    this.#queue = queue;
    this.#subscriber = subscriber;
    this.#channel = channel;
    subscriber.on("message", (_, text: string) => {
      // A worker of another version may answer what this one cannot read: the caller then runs into its time-out.
      try {
        this.#onReply(text);
      } catch (error) {
        onError(error as Error);
      }
    });
  }

  static async open(config: QueueConfig, queue: JobQueue, onError: (error: Error) => void): Promise<ImageCaller> {
    const channel = queue.internals.keys.reply(ulid());
    const subscriber = openConsumer(config.redisUrl, onError);
    await subscriber.subscribe(channel);
    return new ImageCaller(queue, subscriber, channel, onError);
  }

  /** Throws what the worker answered, or `model_warming` when no worker has answered in `timeoutMs`. */
  async ask(
    question: Pick<ImagePayload, "image" | "model" | "topK" | "wait">,
    timeoutMs: number,
    signal: AbortSignal,
  ): Promise<ImageAnswer> {
    const id = `image-${ulid().toLowerCase()}`;
    const payload = imagePayloadSchema.parse({
      v: PAYLOAD_VERSION,
      id,
      ...question,
      replyTo: this.#channel,
      deadline: Date.now() + timeoutMs,
    });
    const { bull } = this.#queue.internals;
    const { promise, resolve, reject } = Promise.withResolvers<ImageAnswer>();
    const onAbort = () => reject(problem("cancelled", "the client went away"));
    const timer = setTimeout(
      () => reject(problem("model_warming", `no worker has answered within ${timeoutMs / 1000} s`)),
      timeoutMs,
    );
    // It may reject before it is waited for, while the question is still being put.
    promise.catch(() => {});
    this.#open.set(id, { resolve, reject });
    signal.addEventListener("abort", onAbort, { once: true });
    if (signal.aborted) onAbort();
    let answered = false;
    try {
      await guarded(() => bull.image.add("image", payload, jobOptions("image", id, 1)));
      const answer = await promise;
      answered = true;
      return answer;
    } finally {
      clearTimeout(timer);
      signal.removeEventListener("abort", onAbort);
      this.#open.delete(id);
      if (!answered) await this.#takeBack(id);
    }
  }

  async close(): Promise<void> {
    for (const call of this.#open.values()) call.reject(problem("shutting_down", "the API is shutting down"));
    this.#subscriber.disconnect();
  }

  /** Redis may be away: then the worker computes in vain. */
  async #takeBack(id: string): Promise<void> {
    const { bull, redis, keys } = this.#queue.internals;
    const removed = await bull.image.remove(id).catch(() => 0);
    if (removed === 0) await redis.publish(keys.unasked, id).catch(() => 0);
  }

  #onReply(text: string): void {
    const reply = imageReplySchema.parse(JSON.parse(text));
    const call = this.#open.get(reply.id);
    if (!call) return;
    if ("answer" in reply) call.resolve(reply.answer);
    else call.reject(fromRecord(reply.error));
  }
}

export interface ImageWorkerOptions {
  concurrency: number;
  handle(payload: ImagePayload, signal: AbortSignal): Promise<ImageAnswer>;
  events: WorkerEvents;
}

/** The answering side, in predict-workers. The handler's signal aborts when its question is taken back. */
export function createImageWorker(consumer: QueueConsumer, options: ImageWorkerOptions): QueueWorker {
  const open = new Map<string, RunStop>();
  const subscriber = consumer.redis.duplicate();
  subscriber.on("error", options.events.error);
  subscriber.on("message", (_, id: string) => open.get(id)?.stop("cancelled"));
  subscriber.subscribe(consumer.keys.unasked).catch(options.events.error);
  const worker = openBullWorker(consumer, "image", options.concurrency, options.events, async (job, token, stop) => {
    await refuseNewer(job, token);
    const payload = imagePayloadSchema.parse(job.data);
    if (Date.now() > payload.deadline) return;
    open.set(payload.id, stop);
    const reply = (body: object) =>
      consumer.redis.publish(payload.replyTo, JSON.stringify({ id: payload.id, ...body }));
    try {
      const began = performance.now();
      const answer = await options.handle(payload, stop.signal);
      consumer.speeds.worked({ sort: "image", amount: 1 }, (performance.now() - began) / 1000);
      await reply({ answer });
    } catch (error) {
      if (stop.reason !== "cancelled") await reply({ error: toProblem(error).toRecord() });
    } finally {
      open.delete(payload.id);
    }
  });
  return {
    active: () => worker.active(),
    async close() {
      await worker.close();
      subscriber.disconnect();
    },
  };
}
