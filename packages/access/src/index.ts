/** Who may do what: API keys, their scopes and limits, in Redis. */
export { ApiKeys, type Caller, digest } from "./api-keys.ts";
export { RateLimits } from "./rate-limits.ts";
