/** The contact sheet, made by the real compute process; whatever goes wrong, its job goes on. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import type { Row } from "@cardinal/contracts";
import { ComputeProcess } from "@cardinal/queue";
import { parseContactSheet } from "@cardinal/report/contact-sheet";
import { createLogger } from "@cardinal/service";
import { layout } from "@cardinal/storage";
import { guardLeaks } from "@cardinal/testing";
import { testBench } from "../../../packages/inference/test/fixture.ts";
import { contactSheets } from "../src/contact-sheet.ts";
import { inferenceEnvironment, inferenceModule } from "../src/inference-process.ts";

guardLeaks();

const JOB = "predict-01jd0000000000000000000000";

test("pictures of the first rows; a job without rows, and an end of the process, only cost the sheet", async () => {
  await using bench = await testBench();
  const { store } = bench;
  const settings = inferenceEnvironment({ threads: 1, cacheDir: bench.cacheDir, batchSize: 1, modelMemoryMb: 500 });
  const compute = new ComputeProcess({
    module: fileURLToPath(inferenceModule),
    env: { ...process.env, ...settings, STORE_URL: `file://${join(bench.cacheDir, "../store")}` },
    silenceMs: 60_000,
    cancelGraceMs: 1_000,
  });
  try {
    const logger = createLogger("predict-worker", "silent");
    const warnings: unknown[] = [];
    logger.warn = (details: unknown) => void warnings.push(details);
    const { signal } = new AbortController();
    const make = contactSheets(compute, logger, 3);
    const task = { job: JOB, exif: "ignore" } as const;
    const inputs = await bench.putDigits(5);
    const top = [{ class: "a", index: 0, probability: 0.5 }];
    const rows: Row[] = inputs.map(({ image, sha256 }) => ({ image, sha256, ...top[0]!, top }));

    await make(task, signal);
    assert.equal(warnings.length, 1, "no rows: a warning");
    await store.put(layout.rows(JOB), Buffer.from(rows.map((row) => `${JSON.stringify(row)}\n`).join("")));
    await contactSheets(compute, logger, 0)(task, signal);
    assert.equal(await store.stat(layout.contactSheet(JOB)), undefined, "0: none is made");
    await make(task, signal);
    const cells = parseContactSheet(await store.read(layout.contactSheet(JOB)));
    assert.deepEqual(
      cells.map(({ row, thumbnail }) => [row.image, thumbnail?.width]),
      inputs.slice(0, 3).map(({ image }) => [image, 28]),
    );

    const making = make(task, signal);
    process.kill(compute.pid!, "SIGKILL");
    await making;
    assert.equal(warnings.length, 2, "the process has died: a warning");
    await assert.rejects(make(task, AbortSignal.abort(new Error("cancelled"))), /cancelled/);
  } finally {
    await compute.stop();
  }
});
