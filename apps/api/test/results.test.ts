/** Downloads of what a predict job has answered: formats, ranges, compression, resuming. */
import assert from "node:assert/strict";
import { get as httpGet, type IncomingMessage } from "node:http";
import { buffer } from "node:stream/consumers";
import { test } from "node:test";
import { gunzipSync } from "node:zlib";
import { npyMatrixHeader, safetensorsMatrixHeader } from "@cardinal/checkpoint";
import { guardLeaks } from "@cardinal/testing";
import { KEY, putModel, startApi } from "./api-under-test.ts";
import { endedJob } from "./ended-job.ts";

const api = await startApi();
guardLeaks();
await putModel(api.store, "mdl-test-1");

/** A request as curl makes it: without Accept-Encoding unless said. */
async function plain(path: string, headers: Record<string, string> = {}) {
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    httpGet(api.url + path, { headers: { authorization: `Bearer ${KEY}`, ...headers } }, resolve).on("error", reject);
  });
  return { status: response.statusCode, headers: response.headers, body: await buffer(response) };
}

const rows = Buffer.from(
  Array.from({ length: 2000 }, (_, i) => `${JSON.stringify({ image: `é/中 ${i}%+#?.png`, n: i })}\n`).join(""),
);
const csv = Buffer.from("image,class\r\na,b\r\n");
const job = await endedJob(api, "classes", { rows, rowsCsv: csv });
const results = `/v1/jobs/${job}/results`;

test("whole, with length and ETag; not again when it is known", async () => {
  const whole = await plain(results);
  assert.equal(whole.status, 200);
  assert.deepEqual(whole.body, rows);
  assert.equal(whole.headers["content-length"], String(rows.length));
  assert.equal(whole.headers["content-encoding"], undefined);
  assert.equal(whole.headers["accept-ranges"], "bytes");
  assert.equal(whole.headers.vary, "Accept-Encoding");
  const known = await plain(results, { "if-none-match": whole.headers.etag! });
  assert.deepEqual([known.status, known.body.length], [304, 0]);
});

test("a download that was cut is resumed where it stopped, unless the file has changed", async () => {
  const begun = await plain(results, { range: "bytes=0-999" });
  assert.deepEqual([begun.status, begun.headers["content-range"]], [206, `bytes 0-999/${rows.length}`]);
  const rest = await plain(results, { range: "bytes=1000-", "if-range": begun.headers.etag! });
  assert.equal(rest.status, 206);
  assert.deepEqual(Buffer.concat([begun.body, rest.body]), rows);
  const changed = await plain(results, { range: "bytes=1000-", "if-range": '"another"' });
  assert.deepEqual([changed.status, changed.body.length], [200, rows.length]);
  const outside = await plain(results, { range: `bytes=${rows.length}-` });
  assert.deepEqual([outside.status, outside.headers["content-range"]], [416, `bytes */${rows.length}`]);
});

test("gzip for who accepts it, with an ETag of its own; a range is never compressed", async () => {
  const packed = await plain(results, { "accept-encoding": "gzip, br" });
  assert.equal(packed.headers["content-encoding"], "gzip");
  assert.equal(packed.headers["accept-ranges"], "none");
  assert.ok(packed.body.length < rows.length / 4);
  assert.deepEqual(gunzipSync(packed.body), rows);
  const whole = await plain(results);
  assert.notEqual(packed.headers.etag, whole.headers.etag);
  for (const none of ["identity", "gzip;q=0", "br"]) {
    const { headers, body } = await plain(results, { "accept-encoding": none });
    assert.deepEqual([headers["content-encoding"], body.length], [undefined, rows.length], none);
  }
  const range = await plain(results, { "accept-encoding": "gzip", range: "bytes=10-19" });
  assert.deepEqual([range.status, range.headers["content-encoding"]], [206, undefined]);
  assert.deepEqual(range.body, rows.subarray(10, 20));
  const stale = await plain(results, {
    "accept-encoding": "gzip",
    range: "bytes=10-19",
    "if-range": packed.headers.etag!,
  });
  assert.deepEqual([stale.status, stale.body.length], [200, rows.length], "bytes of the gzip are not the file's");
});

test("CSV is a file, with ranges, too", async () => {
  const { headers, body } = await plain(`${results}?format=csv`);
  assert.deepEqual(body, csv);
  assert.equal(headers["content-type"], "text/csv; charset=utf-8");
  assert.match(headers["content-disposition"]!, new RegExp(`filename="?${job}.csv`));
  assert.deepEqual((await plain(`${results}?format=csv`, { range: "bytes=-4" })).body, csv.subarray(-4));
});

test("features as safetensors and .npy: one matrix behind two headers, any range of either", async () => {
  const values = Buffer.from(Float32Array.from({ length: 24 }, (_, i) => i / 3).buffer);
  const stored = Buffer.concat([safetensorsMatrixHeader(6, 4), values]);
  const names = Buffer.from('{"image":"a","sha256":"x","row":0}\n');
  const files = { featureMatrix: stored, featureNames: names };
  const id = await endedJob(api, "features", files, { succeeded: 6, featureWidth: 4, failed: 0 });
  const path = `/v1/jobs/${id}/results`;
  const npy = Buffer.concat([npyMatrixHeader(6, 4), values]);
  assert.deepEqual((await plain(`${path}?format=names`)).body, names);
  const etags = new Set<string>();
  for (const [format, bytes] of [
    ["safetensors", stored],
    ["npy", npy],
  ] as const) {
    const whole = await plain(`${path}?format=${format}`, { "accept-encoding": "gzip" });
    assert.deepEqual(whole.body, bytes);
    assert.equal(whole.headers["content-length"], String(bytes.length));
    assert.match(whole.headers["content-disposition"]!, new RegExp(`filename="?${id}.${format}`));
    etags.add(whole.headers.etag!);
    for (const [first, last] of [
      [0, 0],
      [0, 9],
      [100, 127],
      [100, 140],
      [127, 128],
      [128, 128],
      [bytes.length - 5, bytes.length - 1],
    ] as const) {
      const { status, body } = await plain(`${path}?format=${format}`, { range: `bytes=${first}-${last}` });
      assert.deepEqual([status, body], [206, bytes.subarray(first, last + 1)], `${format} ${first}-${last}`);
    }
  }
  assert.equal(etags.size, 2);
});

test("features of a job that has none, and an unknown format, are refused", async () => {
  for (const format of ["npy", "safetensors", "names", "xml"]) {
    const { status, body } = await plain(`${results}?format=${format}`);
    assert.deepEqual([status, JSON.parse(body.toString()).code], [400, "invalid_request"], format);
  }
});

test("a prefix: confined to its area, refused by name when it could leave it, and when nothing is there", async () => {
  const post = async (prefix: unknown, more = {}) => {
    const response = await api.json("POST", "/v1/predict", { model: "mdl-test-1", prefix, ...more });
    return [response.status, ((await response.json()) as { code?: string }).code];
  };
  for (const bad of ["inbox/../models/", "inbox/%2e%2e/models/", "inbox/%2E%2e%2Fmodels", "inbox/..", "/inbox/", ""]) {
    assert.deepEqual(await post(bad), [400, bad === "" ? "invalid_request" : "invalid_name"], bad);
  }
  for (const bad of ["inbox//a", "inbox/./a", "inbox/a\\b", "inbox/a\0b", `inbox/${"x".repeat(300)}`]) {
    assert.deepEqual(await post(bad), [400, "invalid_name"], bad);
  }
  for (const outside of ["models/", "checkpoints/", "datasets/digits/", "blobs/", "inbox", "inbox2/", "Inbox/"]) {
    assert.deepEqual(await post(outside), [403, "prefix_not_allowed"], outside);
  }
  assert.deepEqual(await post("inbox/none/"), [422, "no_images"]);
  await api.store.put("inbox/a b%+#?/中.png", Buffer.from("x"));
  assert.deepEqual(await post("inbox/a b%+#?/", { images: ["a".repeat(64)] }), [400, "invalid_request"]);
  assert.deepEqual(await post("inbox/a b%+#?/"), [202, undefined]);
});
