/** Imports from an https source: the worker's own compute process against a real TLS server. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import type { ServerResponse } from "node:http";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";
import { encodeSafetensors, readModel } from "@cardinal/checkpoint";
import { importResultSchema, type Progress } from "@cardinal/contracts";
import { ComputeProcess } from "@cardinal/queue";
import { architecture, initParameters } from "@cardinal/resnext";
import { type ObjectStore, openStore } from "@cardinal/storage";
import { tempDir } from "@cardinal/testing";
import { startWeightsServer, type WeightsServer } from "./weights-server.ts";

const ARCHITECTURE = "resnext14_8x4d";
const CLASSES = 3;
const IDLE_MS = 300;
const weights = encodeSafetensors(initParameters(architecture(ARCHITECTURE), CLASSES, 1));
const half = weights.subarray(0, weights.length / 2);

const redirect = (location: string) => (response: ServerResponse) => response.writeHead(302, { location }).end();
const whole = (response: ServerResponse) => response.writeHead(200, { "content-length": weights.length }).end(weights);

const resources = new AsyncDisposableStack();
let folder: string;
let store: ObjectStore;
let server: WeightsServer;
let trusting: ComputeProcess;
let jobs = 0;

function importProcess(env: NodeJS.ProcessEnv): ComputeProcess {
  const child = new ComputeProcess({
    module: fileURLToPath(import.meta.resolve("../src/import-child.ts")),
    env: { ...process.env, STORE_URL: pathToFileURL(join(folder, "store")).href, THREADS: "1", ...env },
    silenceMs: 60_000,
    cancelGraceMs: 5_000,
  });
  resources.defer(() => child.stop());
  return child;
}

before(async () => {
  folder = resources.use(await tempDir("import")).path;
  store = await openStore({ kind: "directory", path: join(folder, "store") });
  resources.defer(() => store.close());
  server = resources.use(
    await startWeightsServer(folder, {
      "/weights": whole,
      "/moved": redirect("/weights"),
      "/moved-away": redirect("https://elsewhere.example/weights"),
      "/moved-to-http": (response) => redirect(`http://${server.host}/weights`)(response),
      "/moved-nowhere": redirect("https://:"),
      "/circle": redirect("/circle"),
      "/cut": (response) => {
        response.writeHead(200, { "content-length": weights.length });
        response.write(half, () => response.destroy());
      },
      "/cut-chunked": (response) => response.write(half, () => response.destroy()),
      "/too-short": (response) => response.end(half),
      "/stalled": (response) => response.writeHead(200, { "content-length": weights.length }).write(half),
      "/silent": () => {},
      "/broken": (response) => response.writeHead(500).end("no"),
    }),
  );
  trusting = importProcess({ NODE_EXTRA_CA_CERTS: server.certificate });
});
after(() => resources.disposeAsync());

interface Source {
  address?: string;
  allowedHosts?: string[];
  child?: ComputeProcess;
  signal?: AbortSignal;
  onProgress?: (progress: Progress) => void;
}

/** Imports what lies under a path of the server, as a job of its own. */
async function importFrom(path: string, source: Source = {}) {
  const { address = `https://${server.host}${path}`, allowedHosts = [server.host], child = trusting } = source;
  const job = `import-01jd00000000000000000000${String(jobs++).padStart(2, "0")}`;
  const request = { architecture: ARCHITECTURE, exif: "ignore" };
  const input = { payload: { v: 1, job, request, url: address }, fence: 1, allowedHosts, idleMs: IDLE_MS };
  const result = await child.run("import", input, {
    signal: source.signal,
    onAsk: async () => true,
    onEvent: (event) => event.type === "progress" && source.onProgress?.(event.progress),
  });
  return importResultSchema.parse(result);
}

test("weights come over TLS and a redirect, become a model, and the job tells how far it is", async () => {
  const told: Progress[] = [];
  const { model, classes } = await importFrom("/moved", { onProgress: (progress) => told.push(progress) });
  assert.equal(classes, CLASSES);
  const { manifest } = await readModel(store, model);
  const sha256 = createHash("sha256").update(weights).digest("hex");
  assert.ok("source" in manifest.lineage);
  assert.deepEqual(manifest.lineage.source, { format: "safetensors", sha256, bytes: weights.length });
  const [reading, ...steps] = told.filter(({ phase }, index) => phase !== "reading" || index === 0);
  assert.deepEqual([reading!.phase, reading!.unit, reading!.total], ["reading", "bytes", weights.length]);
  assert.deepEqual(
    steps.map(({ phase }) => phase),
    ["checking", "exporting", "proving", "publishing"],
  );
});

test("only allowed hosts are asked, wherever a redirect points", async () => {
  const refused = { code: "source_not_allowed" };
  await assert.rejects(importFrom("/moved-away"), { ...refused, message: /https:\/\/elsewhere\.example$/ });
  await assert.rejects(importFrom("/moved-to-http"), { ...refused, message: /from http:\/\/localhost/ });
  await assert.rejects(importFrom("/moved-nowhere"), refused);
  const asked = server.asked.length;
  await assert.rejects(importFrom("/weights", { allowedHosts: [] }), refused);
  // The same machine on the standard port is another host.
  await assert.rejects(importFrom("/weights", { allowedHosts: ["localhost"] }), refused);
  await assert.rejects(importFrom("/weights", { address: `http://${server.host}/weights` }), refused);
  assert.equal(server.asked.length, asked);
});

test("a source that is away, cut, silent or endless ends the import with its host's name, and can be tried again", async () => {
  const fails = async (path: string, message: RegExp) => {
    await assert.rejects(importFrom(path), (error: { code: string; message: string }) => {
      assert.equal(error.code, "source_unavailable", `${path}: ${error.message}`);
      assert.match(error.message, message);
      return error.message.includes(server.host);
    });
  };
  await fails("/nothing", /answered 404/);
  await fails("/broken", /answered 500/);
  await fails("/circle", /redirects more than 3 times/);
  await fails("/cut", /ended before the file was complete/);
  await fails("/cut-chunked", /ended before the file was complete/);
  await fails("/stalled", /sent nothing for 0\.3 s/);
  await fails("/silent", /sent nothing for 0\.3 s/);
  // Whole for HTTP, not for its own header.
  await assert.rejects(importFrom("/too-short"), { code: "invalid_checkpoint" });
  await importFrom("/weights");
});

test("a cancelled import ends while its source stalls", async () => {
  const cancel = new AbortController();
  const importing = importFrom("/stalled", { signal: cancel.signal, onProgress: () => cancel.abort() });
  await assert.rejects(importing, { code: "cancelled" });
});

test("a certificate that nobody vouches for is refused", async () => {
  const child = importProcess({ NODE_EXTRA_CA_CERTS: undefined });
  const asked = server.asked.length;
  await assert.rejects(importFrom("/weights", { child }), { code: "source_unavailable", message: /cannot be reached/ });
  assert.equal(server.asked.length, asked);
});
