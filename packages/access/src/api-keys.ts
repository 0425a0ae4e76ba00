/**
 * API keys in Redis: one hash of name to record, so that a key is made, and ends, in one atomic step.
 *
 * A key reads `cardinal.<name>.<secret>`; the secret is 256 random bits, of which only the SHA-256 is kept. A slow hash
 * is for secrets that people choose, which can be guessed; these bits cannot, at any speed, and every request has to be
 * checked. Nothing is cached: a key that was revoked is refused by the next look, on every API process.
 */
import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import {
  type KeyRequest,
  type KeyView,
  keyViewSchema,
  type NewKey,
  nameSchema,
  problem,
  type Scope,
  sha256Schema,
} from "@cardinal/contracts";
import { guarded, type RedisConnection } from "@cardinal/queue";

const SECRET_BYTES = 32;
const PREFIX = "cardinal.";
const USED_EVERY_MS = 60_000;

const recordSchema = keyViewSchema.omit({ lastUsedAt: true }).extend({ sha256: sha256Schema });

/** Who calls. */
export interface Caller {
  name: string;
  scope: Scope;
  limits: KeyView["limits"];
}

export class ApiKeys {
  readonly #redis: RedisConnection;
  readonly #records: string;
  readonly #used: string;
  /** When this process has last written down that a key was used. */
  readonly #usedAt = new Map<string, number>();

  /** On a connection of a producer, below the namespace of its queue. */
  constructor({ redis, keys: { namespace } }: { redis: RedisConnection; keys: { namespace: string } }) {
    this.#redis = redis;
    this.#records = `${namespace}:api-keys`;
    this.#used = `${namespace}:api-keys-used`;
  }

  /** Makes a key; the secret is given this once. Throws `key_exists`. */
  async create(request: KeyRequest, by: string): Promise<NewKey> {
    const secret = randomBytes(SECRET_BYTES).toString("base64url");
    const view: KeyView = { ...request, createdAt: new Date().toISOString(), createdBy: by };
    const record = JSON.stringify({ ...view, sha256: digest(secret).toString("hex") });
    const isNew = await guarded(() => this.#redis.hsetnx(this.#records, request.name, record));
    if (isNew === 0) throw problem("key_exists", `there is a key ${request.name} already`, { name: request.name });
    return { ...view, key: `${PREFIX}${request.name}.${secret}` };
  }

  /** All keys by name. */
  async list(): Promise<KeyView[]> {
    const [records, used] = await guarded(() =>
      Promise.all([this.#redis.hgetall(this.#records), this.#redis.hgetall(this.#used)]),
    );
    return Object.entries(records)
      .map(([name, text]) => {
        const { sha256: _, ...view } = recordSchema.parse(JSON.parse(text));
        return { ...view, ...(used[name] && { lastUsedAt: new Date(Number(used[name])).toISOString() }) };
      })
      .sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** Ends a key. Throws `key_not_found`. */
  async revoke(name: string): Promise<void> {
    const count = await guarded(() => this.#redis.hdel(this.#records, name));
    if (count === 0) throw problem("key_not_found", `there is no key ${name}`, { name });
    await guarded(() => this.#redis.hdel(this.#used, name));
    this.#usedAt.delete(name);
  }

  /** Whose key it is; undefined when it is nobody's. */
  async find(key: string): Promise<Caller | undefined> {
    const dot = key.lastIndexOf(".");
    const name = key.slice(PREFIX.length, dot);
    if (!key.startsWith(PREFIX) || !nameSchema.safeParse(name).success) return undefined;
    const text = await guarded(() => this.#redis.hget(this.#records, name));
    if (text === null) return undefined;
    const record = recordSchema.parse(JSON.parse(text));
    if (!timingSafeEqual(digest(key.slice(dot + 1)), Buffer.from(record.sha256, "hex"))) return undefined;
    await this.#noteUse(name);
    return { name, scope: record.scope, limits: record.limits };
  }

  async #noteUse(name: string): Promise<void> {
    const now = Date.now();
    if (now - (this.#usedAt.get(name) ?? 0) < USED_EVERY_MS) return;
    this.#usedAt.set(name, now);
    await guarded(() => this.#redis.hset(this.#used, name, now));
  }
}

/** SHA-256 of a key. */
export const digest = (text: string): Buffer => createHash("sha256").update(text).digest();
