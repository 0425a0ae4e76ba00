/**
 * The transitions of a job record as Lua scripts: each is one atomic step in Redis.
 *
 *   waiting ──claim──> active ──finish──> completed | failed
 *      ^                 │ │
 *      ├── requeue ──────┘ └──cancel──> cancelled <──cancel── waiting
 *      └── requeueEnded (somebody asks for a retry) ── failed | cancelled | completed with failed inputs
 *
 * Invariants:
 * - An end state is left by `requeueEnded` only (`completed` when inputs of the job failed), which keeps how the job had ended in
 *   `history` and gives it a new budget: `attemptsBefore` are the attempts that no longer count against it.
 * - `fence` grows with every claim and every `requeueEnded`. A worker whose fence is not the record's has been replaced:
 *   whatever it wants to write is refused, so a job has one writer even when BullMQ hands it out twice.
 * - `sealed` is set by the fence's holder before it publishes its result. A sealed job can no longer be cancelled, so a
 *   cancelled job never has a result. The seal outlives the run: when its holder dies, the result may be out already.
 * - `attempts` counts claims, but for claims after `parked` (waiting for shards, drained on shutdown). Like `fence` it
 *   goes on over a retry.
 * - `rev` grows with every change of a record that its view shows, and the change is published on the channel that is
 *   named as the record's key (`touch`), for whoever watches the job.
 */
import type { Redis, Result } from "ioredis";

const TOUCH = `
local function touch(job) redis.call('PUBLISH', job, redis.call('HINCRBY', job, 'rev', 1)) end
`;

const ENDED = `${TOUCH}
local function ended(s) return s == 'completed' or s == 'failed' or s == 'cancelled' end
local function close(job, open, waiting, id, retention)
  redis.call('ZREM', open, id)
  redis.call('ZREM', waiting, id)
  redis.call('EXPIRE', job, retention)
end
`;

const scripts = {
  /** KEYS job jobs open waiting idem; ARGV id now digest idemSeconds field value… */
  cardinalCreate: {
    numberOfKeys: 5,
    lua: `
if ARGV[3] ~= '' then
  local known = redis.call('HMGET', KEYS[5], 'id', 'digest')
  if known[1] then
    if known[2] ~= ARGV[3] then return {'conflict', known[1]} end
    return {'known', known[1]}
  end
  redis.call('HSET', KEYS[5], 'id', ARGV[1], 'digest', ARGV[3])
  redis.call('EXPIRE', KEYS[5], ARGV[4])
end
redis.call('HSET', KEYS[1], unpack(ARGV, 5))
if ARGV[3] ~= '' then redis.call('HSET', KEYS[1], 'idempotency', KEYS[5]) end
redis.call('ZADD', KEYS[2], ARGV[2], ARGV[1])
redis.call('ZADD', KEYS[3], ARGV[2], ARGV[1])
redis.call('ZADD', KEYS[4], ARGV[2], ARGV[1])
return {'created', ARGV[1]}`,
  },
  /** KEYS job waiting; ARGV id now. Gives {outcome, fence, attempts, planned, waitingSince, startedAt, state, parked, work}; state and parked as before. */
  cardinalClaim: {
    numberOfKeys: 2,
    lua: `${ENDED}
local r = redis.call('HMGET', KEYS[1], 'state', 'parked', 'planned', 'waitingSince')
if not r[1] then return {'missing'} end
if ended(r[1]) then return {'ended', r[1]} end
local fence = redis.call('HINCRBY', KEYS[1], 'fence', 1)
local attempts
if r[2] == '1' then attempts = tonumber(redis.call('HGET', KEYS[1], 'attempts'))
else attempts = redis.call('HINCRBY', KEYS[1], 'attempts', 1) end
redis.call('HDEL', KEYS[1], 'parked', 'retryAt')
redis.call('HSET', KEYS[1], 'state', 'active', 'claimedAt', ARGV[2])
redis.call('HSETNX', KEYS[1], 'startedAt', ARGV[2])
redis.call('ZREM', KEYS[2], ARGV[1])
touch(KEYS[1])
return {'claimed', fence, attempts, r[3] or '', r[4] or ARGV[2], redis.call('HGET', KEYS[1], 'startedAt'), r[1], r[2] or '', redis.call('HGET', KEYS[1], 'work') or ''}`,
  },
  /** KEYS job; ARGV fence field value… Writes fields of an active job. Gives 'ok' or why not. */
  cardinalWrite: {
    numberOfKeys: 1,
    lua: `${TOUCH}
local r = redis.call('HMGET', KEYS[1], 'state', 'fence')
if not r[1] then return 'missing' end
if r[2] ~= ARGV[1] then return 'fenced' end
if r[1] ~= 'active' then return r[1] end
if #ARGV > 1 then
  redis.call('HSET', KEYS[1], unpack(ARGV, 2))
  touch(KEYS[1])
end
return 'ok'`,
  },
  /** KEYS job epochs; ARGV fence progress retention keep epoch… As cardinalWrite; epochs from number `keep` on anew. */
  cardinalProgress: {
    numberOfKeys: 2,
    lua: `${TOUCH}
local r = redis.call('HMGET', KEYS[1], 'state', 'fence')
if not r[1] then return 'missing' end
if r[2] ~= ARGV[1] then return 'fenced' end
if r[1] ~= 'active' then return r[1] end
redis.call('HSET', KEYS[1], 'progress', ARGV[2])
if ARGV[4] ~= '' then
  if ARGV[4] == '0' then redis.call('DEL', KEYS[2]) else redis.call('LTRIM', KEYS[2], 0, ARGV[4] - 1) end
  if #ARGV > 4 then redis.call('RPUSH', KEYS[2], unpack(ARGV, 5)) end
  redis.call('EXPIRE', KEYS[2], ARGV[3])
end
touch(KEYS[1])
return 'ok'`,
  },
  /** KEYS job log; ARGV lines retention field value… Nothing is kept of a job that has no record any more. */
  cardinalLog: {
    numberOfKeys: 2,
    lua: `
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
redis.call('XADD', KEYS[2], 'MAXLEN', ARGV[1], '*', unpack(ARGV, 3))
redis.call('EXPIRE', KEYS[2], ARGV[2])
redis.call('PUBLISH', KEYS[1], 'log')
return 1`,
  },
  /** KEYS job open waiting; ARGV id fence retention field value… (with the new state among the fields). */
  cardinalFinish: {
    numberOfKeys: 3,
    lua: `${ENDED}
local r = redis.call('HMGET', KEYS[1], 'state', 'fence')
if not r[1] then return 'missing' end
if ended(r[1]) then return r[1] end
if ARGV[2] ~= '' and r[2] ~= ARGV[2] then return 'fenced' end
redis.call('HSET', KEYS[1], unpack(ARGV, 4))
redis.call('HDEL', KEYS[1], 'sealed')
touch(KEYS[1])
close(KEYS[1], KEYS[2], KEYS[3], ARGV[1], ARGV[3])
return 'ok'`,
  },
  /**
   * KEYS job waiting; ARGV id fence now parked retryAt replan. Back to waiting, for a retry or (parked) without using an
   * attempt; with replan as a job that has no plan.
   */
  cardinalRequeue: {
    numberOfKeys: 2,
    lua: `${TOUCH}
local r = redis.call('HMGET', KEYS[1], 'state', 'fence')
if r[1] ~= 'active' or r[2] ~= ARGV[2] then return 'fenced' end
redis.call('HSET', KEYS[1], 'state', 'waiting', 'waitingSince', ARGV[3], 'parked', ARGV[4])
if ARGV[5] ~= '' then redis.call('HSET', KEYS[1], 'retryAt', ARGV[5]) end
if ARGV[6] == '1' then redis.call('HDEL', KEYS[1], 'planned') end
redis.call('ZADD', KEYS[2], ARGV[3], ARGV[1])
touch(KEYS[1])
return 'ok'`,
  },
  /** KEYS job open waiting; ARGV id now retention. Gives the state before, or 'missing' or 'sealed'. */
  cardinalCancel: {
    numberOfKeys: 3,
    lua: `${ENDED}
local r = redis.call('HMGET', KEYS[1], 'state', 'sealed')
if not r[1] then return 'missing' end
if ended(r[1]) then return r[1] end
if r[2] == '1' then return 'sealed' end
redis.call('HSET', KEYS[1], 'state', 'cancelled', 'finishedAt', ARGV[2])
touch(KEYS[1])
close(KEYS[1], KEYS[2], KEYS[3], ARGV[1], ARGV[3])
return r[1]`,
  },
  /**
   * KEYS job jobs open waiting; ARGV id now completed. A failed or cancelled job (or, `completed` being 1, a completed
   * one) waits again, as one that has not begun: nothing of it is planned, sealed or parked. Its progress and its finished
   * shards stay. Gives the state before, or 'missing'.
   */
  cardinalRequeueEnded: {
    numberOfKeys: 4,
    lua: `${TOUCH}
local r = redis.call('HMGET', KEYS[1], 'state', 'finishedAt', 'attempts', 'error', 'history', 'createdAt')
if not r[1] then return 'missing' end
if r[1] ~= 'failed' and r[1] ~= 'cancelled' and not (r[1] == 'completed' and ARGV[3] == '1') then return r[1] end
local past = '{"state":"' .. r[1] .. '","finishedAt":' .. r[2] .. ',"attempts":' .. r[3]
if r[4] then past = past .. ',"error":' .. r[4] end
past = past .. '}'
if r[5] then past = r[5] .. ',' .. past end
redis.call('HSET', KEYS[1], 'state', 'waiting', 'waitingSince', ARGV[2], 'attemptsBefore', r[3], 'history', past)
redis.call('HDEL', KEYS[1], 'startedAt', 'finishedAt', 'result', 'error', 'planned', 'parked', 'sealed', 'retryAt')
redis.call('HINCRBY', KEYS[1], 'fence', 1)
redis.call('PERSIST', KEYS[1])
redis.call('ZADD', KEYS[2], r[6], ARGV[1])
redis.call('ZADD', KEYS[3], ARGV[2], ARGV[1])
redis.call('ZADD', KEYS[4], ARGV[2], ARGV[1])
touch(KEYS[1])
return r[1]`,
  },
  /**
   * KEYS job jobs open waiting shards epochs log; ARGV id mustHaveEnded. Removes the record and what belongs to it, the
   * Idempotency-Key too: a repeated request makes a new job. Gives 'ok', 'missing' or the state of a job that is open.
   */
  cardinalForget: {
    numberOfKeys: 7,
    lua: `${ENDED}
local r = redis.call('HMGET', KEYS[1], 'state', 'idempotency')
if not r[1] then return 'missing' end
if ARGV[2] == '1' and not ended(r[1]) then return r[1] end
if r[2] and redis.call('HGET', r[2], 'id') == ARGV[1] then redis.call('DEL', r[2]) end
redis.call('DEL', KEYS[1], KEYS[5], KEYS[6], KEYS[7])
redis.call('PUBLISH', KEYS[1], 'forgotten')
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('ZREM', KEYS[3], ARGV[1])
redis.call('ZREM', KEYS[4], ARGV[1])
return 'ok'`,
  },
  /** KEYS job shards; ARGV shard images seconds. Counts a shard once, however often it is done. */
  cardinalShardDone: {
    numberOfKeys: 2,
    lua: `${TOUCH}
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
if redis.call('HSETNX', KEYS[2], ARGV[1], ARGV[2]) == 1 then
  redis.call('EXPIRE', KEYS[2], ARGV[3])
  touch(KEYS[1])
  return redis.call('HINCRBY', KEYS[1], 'done', ARGV[2])
end
return 0`,
  },
  /** KEYS speeds; ARGV sort value now weight. Moves the mean of a sort of work towards a new measurement. */
  cardinalSpeed: {
    numberOfKeys: 1,
    lua: `
local old = redis.call('HGET', KEYS[1], ARGV[1])
local mean = tonumber(ARGV[2])
if old then
  local known = tonumber(string.match(old, '^[^ ]+'))
  mean = known + (mean - known) * tonumber(ARGV[4])
end
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.9g', mean) .. ' ' .. ARGV[3])
return 'ok'`,
  },
} as const;

declare module "ioredis" {
  interface RedisCommander<Context> {
    cardinalCreate(...args: (string | number)[]): Result<["created" | "known" | "conflict", string], Context>;
    cardinalClaim(...args: (string | number)[]): Result<(string | number)[], Context>;
    cardinalWrite(...args: (string | number)[]): Result<string, Context>;
    cardinalProgress(...args: (string | number)[]): Result<string, Context>;
    cardinalLog(...args: (string | number)[]): Result<number, Context>;
    cardinalSpeed(...args: (string | number)[]): Result<string, Context>;
    cardinalFinish(...args: (string | number)[]): Result<string, Context>;
    cardinalRequeue(...args: (string | number)[]): Result<string, Context>;
    cardinalCancel(...args: (string | number)[]): Result<string, Context>;
    cardinalRequeueEnded(...args: (string | number)[]): Result<string, Context>;
    cardinalForget(...args: (string | number)[]): Result<string, Context>;
    cardinalShardDone(...args: (string | number)[]): Result<number, Context>;
  }
}

/** Makes the scripts callable on a connection. */
export function defineTransitions(redis: Redis): void {
  for (const [name, script] of Object.entries(scripts)) redis.defineCommand(name, script);
}
