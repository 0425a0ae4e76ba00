export { type StoreConfig, type StoreConfigInput, storeConfigFromEnv, storeConfigSchema } from "./config.ts";
export { assertKey, compareKeys, MAX_KEY_BYTES, MAX_SEGMENT_BYTES } from "./keys.ts";
export { layout } from "./layout.ts";
export type { GetOptions, ObjectInfo, ObjectStore, PutOptions, PutResult } from "./object-store.ts";
export { openStore } from "./open-store.ts";
export { orAbsent } from "./or-absent.ts";
export { claimStore } from "./owner.ts";
export { isBeingRemoved, listRemovals, type Removal, removeUnused, resumeRemoval } from "./removal.ts";
