/** Keys over HTTP: scopes, limits, revocation on every API process, and what the log says of it. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:http";
import { connect } from "node:net";
import path from "node:path";
import { after, test } from "node:test";
import { ApiKeys, RateLimits } from "@cardinal/access";
import type { JobView, KeyRequest, NewKey, Scope } from "@cardinal/contracts";
import { JobQueue } from "@cardinal/queue";
import { closeServer, createLogger, listen } from "@cardinal/service";
import { guardLeaks, tempDir, waitFor } from "@cardinal/testing";
import { createApp } from "../src/app.ts";
import { putDataset, putModel, startApi } from "./api-under-test.ts";

const api = await startApi();
guardLeaks();
await putDataset(api.store, "digits");
await putModel(api.store, "mdl-test-1");

let count = 0;
async function newKey(scope: Scope, limits: KeyRequest["limits"] = {}): Promise<NewKey> {
  const response = await api.json("POST", "/v1/keys", { name: `key-${++count}`, scope, limits });
  assert.equal(response.status, 201);
  assert.equal(response.headers.get("cache-control"), "no-store");
  return (await response.json()) as NewKey;
}

const send = (key: string | null, method: string, url: string, body?: object) =>
  api.call(url, {
    key,
    method,
    ...(body && { body: JSON.stringify(body), headers: { "content-type": "application/json" } }),
  });
const codeOf = async (response: Response) => ((await response.json()) as { code: string }).code;

test("no key and a wrong key are 401, whatever they look like", async () => {
  const { key } = await newKey("admin");
  const wrong = [null, "x", key.slice(0, -1), `${key}x`, "cardinal.key-1.", "cardinal.bootstrap.x", `${key} ${key}x`];
  for (const one of wrong.slice(0, 6)) {
    const response = await send(one, "GET", "/v1/jobs");
    assert.deepEqual([response.status, response.headers.get("www-authenticate")], [401, "Bearer"], String(one));
    assert.equal(await codeOf(response), "unauthorized");
  }
  assert.equal((await send(key, "GET", "/v1/jobs")).status, 200);
});

test("what each scope may: every route, by method", async () => {
  const keys = { read: await newKey("read"), submit: await newKey("submit"), admin: await newKey("admin") };
  const version = "0".repeat(64);
  const calls: [Scope, string, string][] = [
    ["read", "GET", "/v1/jobs"],
    ["read", "HEAD", "/v1/models"],
    ["read", "GET", "/v1/workers"],
    ["submit", "POST", "/v1/datasets"],
    ["submit", "POST", "/v1/models/import"],
    ["submit", "POST", "/v1/train"],
    ["submit", "POST", "/v1/predict"],
    ["submit", "POST", "/v1/predict/image"],
    ["submit", "POST", "/v1/jobs/x/retry"],
    ["submit", "DELETE", "/v1/jobs/x"],
    ["submit", "PUT", "/v1/aliases/a"],
    ["submit", "POST", "/v1/aliases/a/rollback"],
    ["admin", "DELETE", "/v1/jobs/x?purge=true"],
    ["admin", "DELETE", "/v1/aliases/a"],
    ["admin", "DELETE", "/v1/models/mdl-x"],
    ["admin", "DELETE", "/v1/datasets/none"],
    ["admin", "DELETE", `/v1/datasets/none/versions/${version}`],
    ["admin", "GET", "/v1/keys"],
    ["admin", "GET", "/V1/KEYS"],
    ["admin", "POST", "/v1/keys"],
    ["admin", "DELETE", "/v1/keys/none"],
  ];
  const order: Scope[] = ["read", "submit", "admin"];
  for (const [needed, method, url] of calls) {
    for (const scope of order) {
      const response = await send(keys[scope].key, method, url);
      const isAllowed = order.indexOf(scope) >= order.indexOf(needed);
      assert.equal(response.status === 403, !isAllowed, `${scope} key, ${method} ${url}: ${response.status}`);
      if (!isAllowed) assert.equal(await codeOf(response), "forbidden");
    }
  }
});

test("keys: names are unique and none is the bootstrap's; a list shows no secret", async () => {
  const { key, name } = await newKey("read");
  const again = await api.json("POST", "/v1/keys", { name, scope: "read" });
  assert.deepEqual([again.status, await codeOf(again)], [409, "key_exists"]);
  for (const [body, code] of [
    [{ name: "bootstrap", scope: "read" }, "invalid_name"],
    [{ name: "../x", scope: "read" }, "invalid_name"],
    [{ name: "x", scope: "root" }, "invalid_request"],
    [{ name: "x", scope: "read", limits: { openJobs: 0 } }, "invalid_request"],
  ] as const) {
    const response = await api.json("POST", "/v1/keys", body);
    assert.deepEqual([response.status, await codeOf(response)], [400, code]);
  }
  const list = await (await api.call("/v1/keys")).text();
  assert.ok(list.includes(name));
  assert.ok(!list.includes(key.split(".").at(-1)!));
  assert.equal((await api.call("/v1/keys/none", { method: "DELETE" })).status, 404);
});

test("requests a minute, open jobs, images a day: 429 with Retry-After", async () => {
  const refused = async (response: Response, limit: string) => {
    const problem = (await response.json()) as { code: string; limit: string };
    assert.deepEqual([response.status, problem.code, problem.limit], [429, "rate_limited", limit]);
    assert.ok(Number(response.headers.get("retry-after")) >= 1);
  };
  const slow = await newKey("read", { requestsPerMinute: 3 });
  for (let n = 0; n < 3; n++) assert.equal((await send(slow.key, "GET", "/v1/jobs")).status, 200);
  await refused(await send(slow.key, "GET", "/v1/jobs"), "requestsPerMinute");

  const few = await newKey("submit", { openJobs: 2 });
  const train = () => send(few.key, "POST", "/v1/train", { dataset: "digits" });
  const answers = await Promise.all([train(), train(), train(), train(), train()]);
  const accepted = answers.filter(({ status }) => status === 202);
  assert.equal(accepted.length, 2);
  await refused(answers.find(({ status }) => status === 429)!, "openJobs");
  assert.equal((await api.queue.openJobs()).length, 2);
  const zip = { key: few.key, method: "POST", body: "x", headers: { "content-type": "application/zip" } };
  await refused(await api.call("/v1/datasets?name=more", zip), "openJobs");
  const [first] = await Promise.all(accepted.map(async (answer) => ((await answer.json()) as JobView).id));
  await send(few.key, "DELETE", `/v1/jobs/${first}`);
  assert.equal((await train()).status, 202);
  await refused(await send(few.key, "POST", `/v1/jobs/${first}/retry`), "openJobs");

  // The data set's val split has 2 images.
  const images = await newKey("submit", { imagesPerDay: 3 });
  const predict = (body: object) => send(images.key, "POST", "/v1/predict", { model: "mdl-test-1", ...body });
  assert.equal((await predict({ dataset: "digits" })).status, 202);
  await refused(await predict({ dataset: "digits" }), "imagesPerDay");
  assert.equal((await predict({ images: ["a".repeat(64)] })).status, 202);
  const single = { key: images.key, method: "POST", body: "x" };
  await refused(await api.call("/v1/predict/image?model=mdl-test-1", single), "imagesPerDay");
});

test("a job says who submitted it; an Idempotency-Key is each key's own", async () => {
  const [one, two] = [await newKey("submit"), await newKey("submit")];
  const post = async (key: string) => {
    const headers = { "content-type": "application/json", "idempotency-key": "same" };
    const body = JSON.stringify({ dataset: "digits" });
    return (await (await api.call("/v1/train", { key, method: "POST", body, headers })).json()) as JobView;
  };
  const [first, again, other] = [await post(one.key), await post(one.key), await post(two.key)];
  assert.deepEqual([first.createdBy, again.id, other.createdBy], [one.name, first.id, two.name]);
  assert.notEqual(other.id, first.id);
  assert.equal((await api.queue.get(first.id)).payload.createdBy, one.name);
});

test("a revoked key ends on every API process, also a call that lasts", async () => {
  const { namespace } = api.queue.internals.keys;
  const queue = await JobQueue.open({ redisUrl: api.redis.url, namespace, retentionSeconds: 60 }, () => {});
  const context = {
    ...api.context,
    queue,
    keys: new ApiKeys(queue.internals),
    rates: new RateLimits(queue.internals),
  };
  const server = createServer(createApp(context, createLogger("api", "silent")));
  const port = await listen(server, 0, "127.0.0.1");
  after(async () => {
    server.closeAllConnections();
    await closeServer(server, 1_000);
    await queue.close();
  });
  const { key, name } = await newKey("submit");
  const ask = () => fetch(`http://127.0.0.1:${port}/v1/jobs`, { headers: { authorization: `Bearer ${key}` } });
  assert.equal((await ask()).status, 200);
  // An upload that never ends.
  const arrived = once(server, "request");
  const upload = connect(port, "127.0.0.1");
  const head = `POST /v1/datasets?name=x HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${key}\r\n`;
  upload.write(`${head}Content-Type: application/zip\r\nContent-Length: 1000000\r\n\r\nPK`);
  upload.on("error", () => {});
  const ended = once(upload.resume(), "close");
  await arrived;
  await api.call(`/v1/keys/${name}`, { method: "DELETE" });
  const revokedAt = performance.now();
  assert.equal((await ask()).status, 401);
  await ended;
  assert.ok(performance.now() - revokedAt < 2_000, "the upload was cut");
});

const MAIN = path.join(import.meta.dirname, "../src/main.ts");

function runApi(env: Record<string, string>): { child: ChildProcess; output(): string } {
  const child = spawn(process.execPath, [MAIN], { env: { ...process.env, API_PORT: "0", ...env }, stdio: "pipe" });
  let text = "";
  for (const stream of [child.stdout!, child.stderr!]) stream.on("data", (chunk) => (text += chunk));
  return { child, output: () => text };
}

test("no start with a placeholder for a key; the log has a line for each change, and never a key", async () => {
  await using folder = await tempDir("api-process");
  const environment = { REDIS_URL: api.redis.url, STORE_URL: `file://${folder.path}`, CARDINAL_NAMESPACE: "process" };
  for (const bad of ["", "short", "change-me-change-me-now", "aaaaaaaaaaaaaaaaaaaaaaaa", "abcdabcdabcdabcdabcd"]) {
    const { child, output } = runApi({ ...environment, API_HOST: "0.0.0.0", API_KEY: bad });
    const [code] = await once(child, "exit");
    assert.equal(code, 1);
    assert.match(output(), /^cannot start: API_KEY /);
    assert.ok(bad === "" || !output().includes(bad));
  }
  const bootstrap = "s3cr3t-of-the-environment";
  const { child, output } = runApi({ ...environment, API_KEY: bootstrap, LOG_LEVEL: "trace" });
  const [, base] = await waitFor(() => /"url":"(http:[^"]+)"/.exec(output()), { what: "the API", timeoutMs: 20_000 });
  const ask = (key: string, method: string, url: string, body?: object) =>
    fetch(base + url, {
      method,
      headers: { authorization: `Bearer ${key}`, "content-type": "application/json" },
      body: body && JSON.stringify(body),
    });
  const made = (await (await ask(bootstrap, "POST", "/v1/keys", { name: "ci", scope: "admin" })).json()) as NewKey;
  await ask("w-r-o-n-g-k-e-y", "GET", "/v1/jobs");
  await ask(made.key, "DELETE", "/v1/models/mdl-none-1");
  await ask(made.key, "DELETE", "/v1/keys/ci");
  await ask(made.key, "GET", "/v1/jobs");
  child.kill("SIGTERM");
  await once(child, "exit");
  const lines = output()
    .split("\n")
    .filter((line) => line.includes('"audit":true'))
    .map((line) => JSON.parse(line));
  assert.deepEqual(
    lines.map(({ by, method, path, status, location }) => [by, method, path, status, location]),
    [
      ["bootstrap", "POST", "/v1/keys", 201, "/v1/keys/ci"],
      ["ci", "DELETE", "/v1/keys/ci", 204, undefined],
    ],
  );
  for (const secret of [bootstrap, made.key, made.key.split(".").at(-1)!, "w-r-o-n-g-k-e-y"]) {
    assert.ok(!output().includes(secret), secret);
  }
});
