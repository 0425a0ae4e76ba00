import assert from "node:assert/strict";
import { it } from "node:test";
import { storeConfigFromEnv } from "../src/index.ts";

const S3 = { STORE_URL: "s3://bucket", S3_ENDPOINT: "http://127.0.0.1:9000", S3_ACCESS_KEY: "a", S3_SECRET_KEY: "b" };

it("reads a directory", () => {
  assert.deepEqual(storeConfigFromEnv({ STORE_URL: "file:///var/lib/my%20store" }), {
    kind: "directory",
    path: "/var/lib/my store",
  });
});

it("reads an S3 bucket, with defaults", () => {
  const defaults = { kind: "s3", endpoint: S3.S3_ENDPOINT, bucket: "bucket", accessKey: "a", secretKey: "b" };
  const config = { ...defaults, region: "us-east-1", idleTimeoutMs: 20_000, createBucket: false };
  assert.deepEqual(storeConfigFromEnv(S3), config);
  const more = { S3_REGION: "eu-1", S3_IDLE_TIMEOUT_MS: "500", S3_CREATE_BUCKET: "true" };
  assert.deepEqual(storeConfigFromEnv({ ...S3, ...more }), {
    ...config,
    region: "eu-1",
    idleTimeoutMs: 500,
    createBucket: true,
  });
});

const WRONG: [string, Record<string, string>, RegExp][] = [
  ["nothing", {}, /STORE_URL is not set/],
  ["another scheme", { STORE_URL: "ftp://x" }, /^STORE_URL: "ftp:\/\/x" is neither/],
  ["a path", { STORE_URL: "/var/lib/store" }, /^STORE_URL: /],
  ["a bad bucket", { ...S3, STORE_URL: "s3://NO" }, /^STORE_URL: is not a bucket name/],
  ["a bad endpoint", { ...S3, S3_ENDPOINT: "127.0.0.1:9000" }, /^S3_ENDPOINT: /],
  ["no keys", { STORE_URL: "s3://bucket", S3_ENDPOINT: S3.S3_ENDPOINT }, /S3_ACCESS_KEY: .*; S3_SECRET_KEY: /],
  ["a bad flag", { ...S3, S3_CREATE_BUCKET: "yes" }, /^S3_CREATE_BUCKET: /],
  ["a bad number", { ...S3, S3_IDLE_TIMEOUT_MS: "soon" }, /^S3_IDLE_TIMEOUT_MS: /],
];
for (const [what, env, message] of WRONG) {
  it(`names the variable: ${what}`, () => {
    assert.throws(() => storeConfigFromEnv(env), { code: "store_misconfigured", message });
  });
}
