/** Which store, as the environment tells it. */
import { fileURLToPath } from "node:url";
import { problem } from "@cardinal/contracts";
import { z } from "zod";

const directorySchema = z.strictObject({ kind: z.literal("directory"), path: z.string().min(1) });

const s3Schema = z.strictObject({
  kind: z.literal("s3"),
  /** Such as `http://127.0.0.1:9000` or `https://s3.eu-central-1.amazonaws.com`. */
  endpoint: z.url({ protocol: /^https?$/ }),
  region: z.string().min(1).default("us-east-1"),
  bucket: z.string().regex(/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/, "is not a bucket name"),
  accessKey: z.string().min(1),
  secretKey: z.string().min(1),
  /** Longest time in milliseconds without a byte sent or received. */
  idleTimeoutMs: z.int().min(10).default(20_000),
  /** Make the bucket when there is none. */
  createBucket: z.boolean().default(false),
  /** Folder for uploads larger than 8 MiB on their way; the system's by default. */
  tempDir: z.string().min(1).optional(),
});

export const storeConfigSchema = z.discriminatedUnion("kind", [directorySchema, s3Schema]);
export type StoreConfig = z.infer<typeof storeConfigSchema>;
export type StoreConfigInput = z.input<typeof storeConfigSchema>;
export type S3Config = z.infer<typeof s3Schema>;

/** Which variable gives which setting, to name it in errors. */
const VARIABLES: Record<string, string> = {
  path: "STORE_URL",
  bucket: "STORE_URL",
  endpoint: "S3_ENDPOINT",
  region: "S3_REGION",
  accessKey: "S3_ACCESS_KEY",
  secretKey: "S3_SECRET_KEY",
  idleTimeoutMs: "S3_IDLE_TIMEOUT_MS",
  createBucket: "S3_CREATE_BUCKET",
};

/**
 * Reads `STORE_URL` (`file:///path` or `s3://bucket`) and, for S3, `S3_ENDPOINT`, `S3_ACCESS_KEY`, `S3_SECRET_KEY`,
 * `S3_REGION` (us-east-1), `S3_IDLE_TIMEOUT_MS` (20000) and `S3_CREATE_BUCKET` (`true` or `false`, the default).
 * Throws `store_misconfigured` with the names of all variables that are wrong.
 */
export function storeConfigFromEnv(env: Record<string, string | undefined>): StoreConfig {
  const url = env.STORE_URL;
  if (!url) throw problem("store_misconfigured", "STORE_URL is not set; give file:///path or s3://bucket");
  const parsed = storeConfigSchema.safeParse(url.startsWith("s3://") ? s3Settings(url, env) : directorySettings(url));
  if (parsed.success) return parsed.data;
  const complaints = parsed.error.issues.map(({ path: [field], message }) => {
    return `${VARIABLES[String(field)] ?? String(field)}: ${message}`;
  });
  throw problem("store_misconfigured", complaints.join("; "));
}

function directorySettings(url: string): unknown {
  try {
    return { kind: "directory", path: fileURLToPath(url) };
  } catch {
    throw problem("store_misconfigured", `STORE_URL: ${JSON.stringify(url)} is neither file:///path nor s3://bucket`);
  }
}

function s3Settings(url: string, env: Record<string, string | undefined>): unknown {
  const set = (name: string) => (env[name] === "" ? undefined : env[name]);
  const idle = set("S3_IDLE_TIMEOUT_MS");
  const create = set("S3_CREATE_BUCKET");
  return {
    kind: "s3",
    bucket: url.slice("s3://".length).replace(/\/$/, ""),
    endpoint: set("S3_ENDPOINT"),
    region: set("S3_REGION"),
    accessKey: set("S3_ACCESS_KEY"),
    secretKey: set("S3_SECRET_KEY"),
    idleTimeoutMs: idle === undefined ? undefined : Number(idle),
    createBucket: create === "true" || create === "false" ? create === "true" : create,
  };
}
