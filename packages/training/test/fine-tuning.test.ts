import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { decodeSafetensors, readCheckpoint, readModel } from "@cardinal/checkpoint";
import type { TrainPayload, TrainResult } from "@cardinal/contracts";
import { architecture, initHead } from "@cardinal/resnext";
import { tf } from "@cardinal/resnext/tfjs";
import { layout } from "@cardinal/storage";
import { digitImages, guardLeaks } from "@cardinal/testing";
import { runTraining } from "@cardinal/training";
import {
  atStep,
  attempt,
  coded,
  collect,
  extractFeatures,
  fewDigits,
  payload,
  SMALL,
  type TestStore,
  testStore,
  train,
} from "./support.ts";

guardLeaks();

let files: TestStore;
/** Ten classes. */
let digits: TrainPayload["request"]["dataset"];
/** Four of them. */
let few: TrainPayload["request"]["dataset"];
let base: TrainResult;

before(async () => {
  files = await testStore();
  digits = await files.digits(40, 20);
  few = await files.ingest("few", await fewDigits());
  const crop = { augment: { crop: "center", flip: 0 } };
  base = await train(files.store, payload(digits, { ...crop, imageSize: 32, optimizer: { learningRate: 1e-2 } }));
});
after(() => files[Symbol.asyncDispose]());

async function weightsOf(model: string) {
  return decodeSafetensors(await files.store.read(layout.modelFile(model, "weights.safetensors"))).tensors;
}

const kill = (): never => {
  throw new Error("killed");
};

const MIRRORED = { crop: "center", flip: 0.5 };
const figures = ({ epochs }: TrainResult) =>
  epochs.map(({ seconds: _, imagesPerSecond: __, trainSeconds: ___, ...rest }) => rest);

for (const [trainable, augment] of [
  ["head", {}],
  ["head", { views: 3 }],
  ["layer2", MIRRORED],
] as const) {
  test(`trainable ${trainable}, ${JSON.stringify(augment)}: every frozen tensor keeps every bit, the rest learns`, async () => {
    const job = payload(few, { base: base.model, trainable, augment });
    await extractFeatures(files.store, job);
    const run = attempt(files.store, job);
    const result = await runTraining(run.options);
    assert.equal(result.recipe.trainable, trainable);
    assert.deepEqual([result.base, result.head], [base.model, "new"]);
    const { manifest } = await readModel(files.store, result.model);
    assert.ok("recipe" in manifest.lineage);
    assert.equal(manifest.lineage.base, base.model);
    assert.deepEqual(manifest.transform, base.recipe.transform, "the base's, not the architecture's");
    const [before, after] = [await weightsOf(base.model), await weightsOf(result.model)];
    const learns = (name: string) => name.startsWith("fc.") || (trainable === "layer2" && /^layer[23]\./.test(name));
    assert.ok([...after.keys()].some((name) => name.includes("running_var") && !learns(name)));
    for (const [name, { data }] of after) {
      if (!learns(name)) assert.deepEqual(data, before.get(name)!.data, name);
      else if (!name.startsWith("fc.")) assert.notDeepEqual(data, before.get(name)!.data, name);
    }
    assert.deepEqual(after.get("fc.weight")!.shape, [4, before.get("fc.weight")!.shape[1]]);
    const begun = run.events.find((event) => event.type === "log");
    assert.ok(begun?.type === "log" && begun.details?.head === "new" && begun.details.base === base.model);
    const last = (await readCheckpoint(files.store, job.job))!.checkpoint!.last;
    const saved = decodeSafetensors(await files.store.read(last.key)).tensors;
    const names = [...saved.keys()].filter((name) => name.startsWith("model."));
    assert.ok(
      names.length > 0 && names.every((name) => learns(name.slice("model.".length))),
      "frozen: not saved again",
    );
  });
}

test("the same classes keep the base's head; other ones start a new one that the seed decides", async () => {
  const tiny = { base: base.model, trainable: "head", epochs: 1, optimizer: { learningRate: 1e-30 } };
  const same = await train(files.store, payload(digits, tiny));
  assert.equal(same.head, "from base");
  const [before, after] = [await weightsOf(base.model), await weightsOf(same.model)];
  assert.deepEqual(after.get("fc.weight"), before.get("fc.weight"));
  const other = await train(files.store, payload(few, { ...tiny, seed: 5 }));
  assert.deepEqual(
    (await weightsOf(other.model)).get("fc.weight"),
    initHead(architecture(SMALL), 4, 5).get("fc.weight"),
  );
});

test("as many classes of other names keep the base's head, with a warning", async () => {
  const request = { base: base.model, trainable: "head", epochs: 1 };
  const { model } = await train(files.store, payload(few, request));
  const others = (await collect(digitImages({ train: 100, val: 40 }))).filter(({ name }) => /\/[4-7]\//.test(name));
  const job = payload(await files.ingest("others", others), { ...request, base: model });
  await extractFeatures(files.store, job);
  const run = attempt(files.store, job);
  assert.equal((await runTraining(run.options)).head, "from base");
  const warning = run.events.find((event) => event.type === "log" && event.level === "warn");
  assert.ok(warning?.type === "log");
  assert.deepEqual(warning.details, { base: model, baseClasses: ["0", "1", "2", "3"] });
});

test("a head's and a stage's training killed twice ends as an undisturbed one, bit for bit", async () => {
  const colorJitter = { brightness: 0.4, contrast: 0.4, saturation: 0.4, hue: 0.1 };
  for (const [trainable, augment] of [
    ["head", {}],
    ["head", { views: 2, colorJitter }],
    ["layer3", { ...MIRRORED, colorJitter }],
    ["layer3", { crop: "random-resized", flip: 0.5, colorJitter }],
  ] as const) {
    const request = { base: base.model, trainable, augment, optimizer: { name: "sgd", learningRate: 1e-2 } };
    const undisturbed = await train(files.store, payload(few, request));
    const job = payload(few, request);
    await extractFeatures(files.store, job);
    for (const number of [1, 2]) {
      const run = attempt(files.store, job, number, atStep(3, kill));
      await assert.rejects(runTraining({ ...run.options, checkpointSeconds: 0 }), /killed/);
    }
    const result = await train(files.store, job, 3);
    assert.equal(result.resumedFromStep, 4);
    assert.deepEqual(await weightsOf(result.model), await weightsOf(undisturbed.model));
    assert.deepEqual(figures(result), figures(undisturbed));
    assert.equal(result.head, "new");
  }
});

test("a base is refused when it is another architecture's, and when its weights are damaged", async () => {
  const other = payload(few, { base: base.model, architecture: "resnet18" });
  await assert.rejects(train(files.store, other), coded("base_mismatch"));
  await assert.rejects(train(files.store, payload(few, { base: base.model, trainable: "layer4" })), /no stage layer4/);
  const key = layout.modelFile(base.model, "weights.safetensors");
  const bytes = await files.store.read(key);
  await files.store.put(key, Buffer.concat([bytes.subarray(0, -1), Buffer.of(bytes.at(-1)! ^ 1)]));
  try {
    await assert.rejects(train(files.store, payload(few, { base: base.model })), coded("model_corrupt"));
  } finally {
    await files.store.put(key, bytes);
  }
});

test("a head learns from batches of one, and leaves no tensors behind", async () => {
  const request = { base: base.model, trainable: "head", batchSize: 1, epochs: 1, imageSize: 4 };
  const counts: number[] = [];
  for (let job = 0; job < 3; job++) {
    await train(files.store, payload(few, request));
    counts.push(tf.memory().numTensors);
  }
  assert.equal(counts[2], counts[1]);
});
