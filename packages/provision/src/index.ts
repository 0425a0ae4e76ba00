export { cacheRoot, ensureEntry } from "./cache.ts";
export type { Part } from "./part.ts";
export { ensurePromtool, findPrometheus } from "./prometheus.ts";
export { ensureRedis, ensureRedisForTests, findRedis, findRedisBinary, type Redis } from "./redis.ts";
export type { RedisBinary } from "./redis-sources.ts";
export { ProvisionError, run } from "./run.ts";
export { ensureS3Server, findS3Server, isS3Skipped, type S3Server } from "./s3-server.ts";
export { ensureTensorflow } from "./tensorflow.ts";
export { findPython } from "./wheel.ts";
