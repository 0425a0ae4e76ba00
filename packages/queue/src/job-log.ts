/**
 * The log of a job: what happened to it, in lines that outlive the worker that wrote them.
 *
 * Bounded: the latest `LOG_LINES` lines of at most `LINE_BYTES` each, gone `retentionSeconds` after the last one. A line
 * is told to whoever watches the job on its channel (transitions.ts). Lines are for people: no code reads them.
 */
import { type LogLevel, type LogLine, logLineSchema } from "@cardinal/contracts";
import type { Redis } from "ioredis";
import type { Keys } from "./keys.ts";
import { defineTransitions } from "./transitions.ts";

export const LOG_LINES = 1_000;
export const LINE_BYTES = 2_048;
const MESSAGE_CHARACTERS = 500;
/** Lines that wait for a Redis that is away; what comes on top is dropped. */
const MAX_PENDING = 1_000;

export class JobLog {
  readonly #redis: Redis;
  readonly #keys: Keys;
  readonly #retentionSeconds: number;
  #pending = 0;

  constructor(redis: Redis, keys: Keys, retentionSeconds: number) {
    this.#redis = redis;
    this.#keys = keys;
    this.#retentionSeconds = retentionSeconds;
    defineTransitions(redis);
  }

  /** Adds a line; `false` when it was dropped, because Redis is away or the job is no longer kept. */
  async add(id: string, level: LogLevel, message: string, fields?: Record<string, unknown>): Promise<boolean> {
    if (this.#pending >= MAX_PENDING) return false;
    this.#pending++;
    try {
      const line = boundedLine(level, message, fields);
      const values = ["time", Date.now(), "line", line];
      const args = [this.#keys.job(id), this.#keys.log(id), LOG_LINES, this.#retentionSeconds, ...values];
      return (await this.#redis.cardinalLog(...args)) === 1;
    } finally {
      this.#pending--;
    }
  }

  /** Lines in the order in which they came, those after the line `after`, at most `limit`. */
  async read(id: string, { after, limit }: { after?: string; limit: number }): Promise<LogLine[]> {
    const start = after === undefined ? "-" : `(${after}`;
    const entries = await this.#redis.xrange(this.#keys.log(id), start, "+", "COUNT", limit);
    return entries.map(([entry, [, time, , line]]) =>
      logLineSchema.parse({ id: entry, time: new Date(Number(time)).toISOString(), ...JSON.parse(line!) }),
    );
  }
}

/** As JSON of at most `LINE_BYTES`: a long message is cut, fields that do not fit are left out by name. */
function boundedLine(level: LogLevel, message: string, fields: Record<string, unknown> = {}): string {
  const cut = withoutSecrets(message).slice(0, MESSAGE_CHARACTERS);
  const safe = Object.fromEntries(
    Object.entries(fields).flatMap(([name, value]) => (value === undefined ? [] : [[name, safeField(name, value)]])),
  );
  const lineOf = (shown: Record<string, unknown>) =>
    JSON.stringify({ level, message: cut, ...(Object.keys(shown).length > 0 && { fields: shown }) });
  const whole = lineOf(safe);
  if (Buffer.byteLength(whole) <= LINE_BYTES) return whole;
  const fitting: Record<string, unknown> = { omitted: "fields that are too long" };
  for (const [name, value] of Object.entries(safe)) {
    if (Buffer.byteLength(lineOf({ ...fitting, [name]: value })) <= LINE_BYTES) fitting[name] = value;
  }
  return lineOf(fitting);
}

const SECRET_NAME = /key$|secret|token|password|authorization|credential/i;

function safeField(name: string, value: unknown): unknown {
  if (SECRET_NAME.test(name)) return "(not shown)";
  if (typeof value === "string") return withoutSecrets(value);
  if (Array.isArray(value)) return value.map((item) => safeField("", item));
  if (typeof value === "object" && value !== null) {
    return Object.fromEntries(Object.entries(value).map(([inner, content]) => [inner, safeField(inner, content)]));
  }
  return value;
}

/** Without the credentials and the query (signatures, tokens) of addresses. */
function withoutSecrets(text: string): string {
  return text
    .replaceAll(/\b([a-z][a-z0-9+.-]*:\/\/)[^\s/@]*@/gi, "$1")
    .replaceAll(/(https?:\/\/[^\s?"']*)\?[^\s"']*/gi, "$1");
}
