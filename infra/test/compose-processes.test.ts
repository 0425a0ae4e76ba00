/**
 * The system that docker-compose.yml describes, without Docker: the images' commands with the services' environments as
 * plain processes, on a real Redis with the compose file's options and the tests' S3 server. What only Docker does
 * (building, networks, health checks at start, restarts, jemalloc in the image) is not tested.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { guardLeaks, promtoolCheckMetrics, s3Skip, startRedis, startS3, type TestS3, waitFor } from "@cardinal/testing";
import { type ComposeFile, composeVariables, readCompose } from "./compose-file.ts";
import { type ContainerProcess, startContainerProcess } from "./container-process.ts";

guardLeaks();

const KEY = "an-api-key-of-the-test";
const APPS = ["api", "train-worker", "predict-worker"] as const;

test("the services of the compose file start, find each other and stop", { skip: s3Skip() }, async () => {
  await using s3 = await startS3();
  const compose = readCompose(secrets(s3));
  await using redis = await startRedis({ args: compose.services.redis?.command ?? [] });

  const started = await Promise.allSettled(
    APPS.map((name) => startContainerProcess(compose.services[name]!, environment(compose, name, redis.port, s3))),
  );
  await using stack = new AsyncDisposableStack();
  for (const app of started) if (app.status === "fulfilled") stack.use(app.value);
  const [api, ...workers] = started.map((app) => {
    if (app.status === "rejected") throw app.reason;
    return app.value;
  }) as [ContainerProcess, ...ContainerProcess[]];

  const ready = await fetch(`${api.url}/readyz`);
  assert.equal(ready.status, 200, await ready.text());
  for (const worker of workers) assert.equal((await fetch(`${worker.url}/healthz`)).status, 200);
  for (const app of [api, ...workers]) {
    assert.equal(await app.health(), 0, "the image's health check");
    await promtoolCheckMetrics(await (await fetch(`${app.url}/metrics`)).text());
  }
  const kinds = await waitFor(() => workerKinds(api.url), { what: "both kinds of workers to be listed" });
  assert.deepEqual(kinds, ["predict", "train"]);

  const codes = await Promise.all([api, ...workers].map((app) => app.stop()));
  assert.deepEqual(codes, [0, 0, 0], "SIGTERM ends each in order");
  assert.equal(await api.health(), 1, "the health check of a process that is gone");
});

function secrets(s3: TestS3): Record<string, string> {
  const passwords = Object.fromEntries(composeVariables().required.map((name) => [name, `password${name}`]));
  return { ...passwords, API_KEY: KEY, S3_ACCESS_KEY: s3.accessKey, S3_SECRET_KEY: s3.secretKey };
}

/** The service's environment; only hosts and ports differ, and the bucket on a server that is not this test's own. */
function environment(compose: ComposeFile, name: string, redisPort: number, s3: TestS3): Record<string, string> {
  const given = compose.services[name]?.environment ?? {};
  const replaced = Object.entries(given).map(([variable, value]) => {
    if (variable.endsWith("_PORT")) return [variable, "0"];
    if (variable.endsWith("_HOST")) return [variable, "127.0.0.1"];
    const here = value.replace("@redis:6379", `@127.0.0.1:${redisPort}`).replace("http://s3:9000", s3.endpoint);
    return [variable, s3.pid === undefined ? here.replace("s3://cardinal", `s3://${s3.bucket}`) : here];
  });
  return Object.fromEntries(replaced);
}

async function workerKinds(url: string): Promise<string[] | false> {
  const response = await fetch(`${url}/v1/workers`, { headers: { authorization: `Bearer ${KEY}` } });
  assert.equal(response.status, 200);
  const { workers } = (await response.json()) as { workers: { kind: string }[] };
  return workers.length === 2 && workers.map(({ kind }) => kind).sort();
}
