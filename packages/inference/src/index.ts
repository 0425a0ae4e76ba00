/** Running networks: sessions, shards and single images. Planning and stitching have their own door, `./batch`. */
export { type ExtractResult, type ExtractShardOptions, extractShard } from "./extract-shard.ts";
export { ImagesFirst } from "./images-first.ts";
export { type CachedModel, ModelCache, type ModelCacheOptions, type NetworkFile } from "./model-cache.ts";
export { type PredictImageOptions, predictImage } from "./predict-image.ts";
export { type PredictShardOptions, predictShard, type ShardResult } from "./predict-shard.ts";
export { loadSession, type OnnxSession, type SessionOptions } from "./session.ts";
export { type LoadedModel, SessionPool, type SessionPoolOptions } from "./session-pool.ts";
export { softmax, topK } from "./top-k.ts";
