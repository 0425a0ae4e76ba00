/**
 * Configuration from the environment, read once at start. A bad value stops the process and names the variable.
 *
 * Every variable is declared here with a description, so that the README's table can be compared with the source.
 */
import { availableParallelism } from "node:os";
import { keyPrefixSchema, OWN_FOLDERS } from "@cardinal/contracts";
import { z } from "zod";

export interface Variable<T> {
  schema: z.ZodType<T, string | undefined>;
  description: string;
  /** The default as the README shows it. */
  shown: string;
  secret?: boolean;
}

/** An empty variable is one that is not set: compose files pass on what they do not have as "". */
const text = <F extends string | undefined>(fallback: F) =>
  z
    .string()
    .optional()
    .transform((value): string | F => (value === undefined || value === "" ? fallback : value));

const required = z
  .string()
  .optional()
  .transform((value, context) => {
    if (value !== undefined && value !== "") return value;
    context.addIssue({ code: "custom", message: "must be set" });
    return z.NEVER;
  });

/** What templates and tutorials put where a key belongs, and what somebody types who wants to be through with it. */
const PLACEHOLDER = /change.?me|replace.?me|your.?(own.?)?(api.?)?key|placeholder|example|^(.{1,8})\3+$/i;

const key = required
  .refine((value) => value.length >= 16, "must have 16 characters or more")
  .refine((value) => !PLACEHOLDER.test(value) && new Set(value).size >= 8, "is a placeholder: make one at random");

const whole = (fallback: number, min: number, max: number) =>
  z
    .string()
    .optional()
    .transform((value, context) => {
      if (value === undefined || value === "") return fallback;
      const parsed = /^\d+$/.test(value) ? Number(value) : Number.NaN;
      if (parsed >= min && parsed <= max) return parsed;
      context.addIssue({ code: "custom", message: `must be a whole number from ${min} to ${max}, not "${value}"` });
      return z.NEVER;
    });

const oneOf = <const T extends string>(fallback: T, choices: readonly T[]) =>
  z
    .string()
    .optional()
    .transform((value, context) => {
      if (value === undefined || value === "") return fallback;
      const found = choices.find((choice) => choice === value);
      if (found !== undefined) return found;
      context.addIssue({ code: "custom", message: `must be one of ${choices.join(", ")}, not "${value}"` });
      return z.NEVER;
    });

/** A folder of the store that is not one of Cardinal's own. */
const folder = (fallback: string) =>
  z
    .string()
    .optional()
    .transform((value, context) => {
      if (value === undefined || value === "") return fallback;
      const isOwn = OWN_FOLDERS.includes(value.split("/", 1)[0]!);
      if (keyPrefixSchema.safeParse(value).success && value.endsWith("/") && !isOwn) return value;
      const why = isOwn ? "must not be one of Cardinal's own folders" : "must be a folder of the store such as inbox/";
      context.addIssue({ code: "custom", message: `${why}, not "${value}"` });
      return z.NEVER;
    });

const variable = <T>(
  schema: z.ZodType<T, string | undefined>,
  shown: string,
  description: string,
  secret = false,
): Variable<T> => ({ schema, shown, description, secret });

const cores = availableParallelism();

/** What every process reads. */
export const commonVariables = {
  REDIS_URL: variable(required, "(required)", "Redis or Valkey, 6.2 or newer: `redis://host:6379`", true),
  CARDINAL_NAMESPACE: variable(text("cardinal"), "cardinal", "Prefix of every Redis key"),
  STORE_URL: variable(required, "(required)", "Object store: `file:///path` or `s3://bucket`"),
  S3_ENDPOINT: variable(text(undefined), "", "S3 endpoint, `http(s)://host:port`; needed for `s3://`"),
  S3_REGION: variable(text("us-east-1"), "us-east-1", "S3 region"),
  S3_ACCESS_KEY: variable(text(undefined), "", "S3 access key", true),
  S3_SECRET_KEY: variable(text(undefined), "", "S3 secret key", true),
  S3_CREATE_BUCKET: variable(oneOf("false", ["true", "false"]), "false", "Make the bucket when there is none"),
  S3_IDLE_TIMEOUT_MS: variable(
    whole(20_000, 10, 3_600_000),
    "20000",
    "Longest time without a byte from or to the S3 server, in milliseconds",
  ),
  PREDICT_PREFIX_AREA: variable(
    folder("inbox/"),
    "inbox/",
    "Folder of the store below which the `prefix` of a predict job must lie; none of Cardinal's own",
  ),
  IMPORT_ALLOWED_HOSTS: variable(
    text(""),
    "(none)",
    "Hosts that `POST /v1/models/import` may fetch weights from by https, separated by commas",
  ),
  LOG_LEVEL: variable(
    oneOf("info", ["trace", "debug", "info", "warn", "error", "silent"]),
    "info",
    "Least level of log lines: trace, debug, info, warn, error or silent",
  ),
  JOB_RETENTION_DAYS: variable(whole(30, 1, 3650), "30", "How long ended jobs can be asked for, in days"),
  SHUTDOWN_GRACE_SECONDS: variable(
    whole(30, 1, 3600),
    "30",
    "How long a process may take to end after SIGTERM; a training job writes a checkpoint in this time",
  ),
} as const;

export const apiVariables = {
  API_HOST: variable(text("127.0.0.1"), "127.0.0.1", "Address that the API listens on"),
  API_PORT: variable(whole(8080, 0, 65535), "8080", "Port of the API; 0 lets the system choose"),
  API_KEY: variable(key, "(required)", "Bearer key that callers of `/v1` present; 16 characters or more", true),
  STORE_ADOPT: variable(
    oneOf("false", ["true", "false"]),
    "false",
    "Take over a store that belongs to another Redis, because that one is lost for good",
  ),
  FEATURE_DAYS: variable(whole(30, 1, 3650), "30", "How long features of images stay in the cache, in days"),
  MAX_UPLOAD_MB: variable(
    whole(20_480, 1, 10_000_000),
    "20480",
    "Largest archive or file of weights that may be uploaded, in MB",
  ),
  MAX_IMAGE_MB: variable(whole(32, 1, 1024), "32", "Largest single image for `POST /v1/predict/image`, in MB"),
  MAX_STREAMS: variable(
    whole(1_000, 1, 100_000),
    "1000",
    "Event streams, followed logs and long polls that an API process keeps open at most; more are answered 503",
  ),
  IMAGE_TIMEOUT_SECONDS: variable(
    whole(15, 1, 300),
    "15",
    "How long `POST /v1/predict/image` waits for a worker before it answers 503",
  ),
} as const;

export const workerVariables = {
  METRICS_HOST: variable(text("127.0.0.1"), "127.0.0.1", "Address of a worker's /healthz and /metrics"),
  METRICS_PORT: variable(whole(9100, 0, 65535), "9100", "Port of a worker's /healthz and /metrics; 0: any free one"),
  THREADS: variable(whole(cores, 1, 1024), "cores", "Threads that a worker's compute process uses"),
  STALL_SECONDS: variable(
    whole(300, 5, 86_400),
    "300",
    "A compute process that tells nothing for so long is killed; its job uses an attempt",
  ),
} as const;

export const trainWorkerVariables = {
  CHECKPOINT_SECONDS: variable(whole(120, 1, 86_400), "120", "Longest time between two checkpoints of a training job"),
} as const;

export const predictWorkerVariables = {
  CACHE_DIR: variable(
    text(undefined),
    "a folder below the system's temp folder",
    "Where workers of a machine keep models that they fetched",
  ),
  IMPORT_IDLE_TIMEOUT_MS: variable(
    whole(20_000, 10, 3_600_000),
    "20000",
    "Longest time without a byte from a host that weights are fetched from, in milliseconds",
  ),
  SHARD_IMAGES: variable(whole(256, 1, 100_000), "256", "Images in a shard, at most"),
  BATCH_SIZE: variable(whole(4, 1, 1024), "4", "Images in one call of the network in batch inference"),
  MODEL_MEMORY_MB: variable(
    whole(500, 0, 1_000_000),
    "500",
    "Models that a compute process keeps in memory, in MB of their files; those in use stay, and one when none is",
  ),
  CONTACT_SHEET_IMAGES: variable(
    whole(100, 0, 500),
    "100",
    "Rows of a predict job, from the first on, that its contact sheet has; 0: jobs get none",
  ),
} as const;

export type Values<V extends Record<string, Variable<unknown>>> = {
  [K in keyof V]: V[K] extends Variable<infer T> ? T : never;
};

/** A bad environment; the message has a line for each variable. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
}

/** Reads the given variables; throws `ConfigError` that names every bad one. */
export function readEnvironment<V extends Record<string, Variable<unknown>>>(
  variables: V,
  env: NodeJS.ProcessEnv,
): Values<V> {
  const values: Record<string, unknown> = {};
  const problems: string[] = [];
  for (const [name, declared] of Object.entries(variables)) {
    const parsed = declared.schema.safeParse(env[name]);
    if (parsed.success) values[name] = parsed.data;
    else problems.push(`${name} ${parsed.error.issues.map((issue) => issue.message).join("; ")}`);
  }
  if (problems.length > 0) throw new ConfigError(problems.join("\n"));
  return values as Values<V>;
}

/** The hosts of a list that is separated by commas. */
export function hostList(text: string): string[] {
  return text
    .split(",")
    .map((host) => host.trim())
    .filter((host) => host !== "");
}
