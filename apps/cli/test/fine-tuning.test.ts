import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { isErrorRow } from "@cardinal/contracts";
import { digitImages } from "@cardinal/samples";
import { digitsZip, guardLeaks, tempDir, writeZip, type ZipEntry } from "@cardinal/testing";
import { completed, RECIPE, startSystem, trainResult } from "./embedded.ts";

guardLeaks();

/** Images of the digits 0 to 3. */
async function fourDigits(): Promise<ZipEntry[]> {
  const images: ZipEntry[] = [];
  for await (const image of digitImages({ train: 200, val: 60 })) if (/\/[0-3]\//.test(image.name)) images.push(image);
  return images;
}

test("digits, then a head for four of them from that model: frozen backbone, new classes, predictions", async () => {
  await using up = await startSystem({ predictWorkers: 1 });
  const { client } = up;
  await using archive = await digitsZip({ train: 200, val: 50 });
  await completed(client, await client.uploadDataset("digits", archive.path));
  const first = await completed(client, await client.train({ dataset: "digits", ...RECIPE, epochs: 4, alias: "ten" }));
  const ten = trainResult(first);
  assert.equal(ten.base, undefined);

  await using folder = await tempDir("four");
  const zip = join(folder.path, "four.zip");
  await writeZip(zip, await fourDigits());
  await completed(client, await client.uploadDataset("four", zip));
  const body = { dataset: "four", base: "ten", trainable: "head", epochs: 10, alias: "four" } as const;
  const optimizer = { name: "adamw", learningRate: 1e-2 } as const;
  const job = await completed(client, await client.train({ ...body, optimizer, augment: { crop: "center", flip: 0 } }));
  assert.equal(job.request.base, ten.model, "the alias was pinned");
  const four = trainResult(job);
  assert.deepEqual([four.base, four.head, four.classes], [ten.model, "new", ["0", "1", "2", "3"]]);
  assert.equal(four.recipe.optimizer.weightDecay, 0.01);
  assert.ok(four.exportError <= 1e-3);
  assert.ok(four.valAccuracy > 0.5, `accuracy ${four.valAccuracy} of four classes`);
  const { lineage, transform } = await client.model("four");
  assert.ok("recipe" in lineage);
  assert.equal(lineage.base, ten.model);
  assert.deepEqual(transform, ten.recipe.transform);

  const predicted = await completed(client, await client.predict({ model: "four", dataset: "four", split: "val" }));
  const rows = await Array.fromAsync(client.rows(predicted.id));
  const right = rows.filter((row) => !isErrorRow(row) && row.class === row.label).length;
  assert.equal(right / rows.length, four.valAccuracy, "ONNX Runtime finds what the training found");
});
