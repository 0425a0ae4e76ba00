import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { decodeSafetensors, listModels, readAlias, readCheckpoint, readModel } from "@cardinal/checkpoint";
import {
  type CardinalError,
  modelReportSchema,
  type Progress,
  type SweepHead,
  type TrainPayload,
  type TrainResult,
} from "@cardinal/contracts";
import { tf } from "@cardinal/resnext/tfjs";
import { layout } from "@cardinal/storage";
import { guardLeaks } from "@cardinal/testing";
import { runTraining } from "@cardinal/training";
import { sweepOptimizers } from "../src/sweep-recipes.ts";
import {
  atStep,
  attempt,
  coded,
  collect,
  extractFeatures,
  fewDigits,
  payload,
  type TestStore,
  testStore,
  train,
} from "./support.ts";

guardLeaks();

let files: TestStore;
/** Four classes: 40 training images, 16 to validate. */
let few: TrainPayload["request"]["dataset"];
let base: TrainResult;

before(async () => {
  files = await testStore();
  const digits = await files.digits(40, 20);
  few = await files.ingest("few", await fewDigits());
  const crop = { augment: { crop: "center", flip: 0 } };
  base = await train(files.store, payload(digits, { ...crop, imageSize: 32, optimizer: { learningRate: 1e-2 } }));
  for (const request of [{}, { augment: {} }]) await extractFeatures(files.store, job(request));
});
after(() => files[Symbol.asyncDispose]());

type Request = Parameters<typeof payload>[1];

const job = (request: Request = {}) =>
  payload(few, {
    ...{ base: base.model, trainable: "head", epochs: 3, augment: { views: 2 } },
    ...{ optimizer: { name: "sgd", learningRate: 1e-3, momentum: 0.5, weightDecay: 1e-3 } },
    ...request,
  });

const GRID = { optimizer: ["sgd", "adam", "adamw"], learningRate: [1e-4, 1e-2, 0.3], weightDecay: [0, 0.1] };

async function weightsOf(model: string) {
  return decodeSafetensors(await files.store.read(layout.modelFile(model, "weights.safetensors"))).tensors;
}

async function curvesOf(model: string) {
  const bytes = await files.store.read(layout.modelFile(model, "report.json"));
  return modelReportSchema.parse(JSON.parse(bytes.toString())).sweep!;
}

const figures = (curve: TrainResult["epochs"]) =>
  curve.map(({ seconds: _, imagesPerSecond: __, trainSeconds: ___, ...rest }) => rest);
const kill = (): never => {
  throw new Error("killed");
};

test("the heads of a sweep: a grid, or draws that the seed decides", () => {
  const { request } = job({ sweep: { optimizer: ["adam", "sgd", "adamw"], learningRate: [1, 2] } });
  const { momentum, weightDecay, decayNormAndBias } = { momentum: 0.5, weightDecay: 1e-3, decayNormAndBias: true };
  assert.deepEqual(
    sweepOptimizers(request),
    [
      { name: "adam", weightDecay: 0 },
      { name: "sgd", momentum, weightDecay },
      { name: "adamw", weightDecay: 0.01 },
    ].flatMap((own) => [1, 2].map((learningRate) => ({ ...own, learningRate, decayNormAndBias }))),
  );
  const drawn = (more: Request) => {
    const sweep = { learningRate: [1e-1, 1e-5, 1e-2], weightDecay: [0, 0.5], optimizer: ["adam", "sgd"], samples: 200 };
    return sweepOptimizers(job({ sweep, ...more }).request);
  };
  assert.deepEqual(drawn({}), drawn({}));
  assert.notDeepEqual(drawn({}), drawn({ seed: 1 }));
  const rates = drawn({}).map(({ learningRate }) => learningRate);
  assert.ok(rates.every((rate) => rate >= 1e-5 && rate <= 1e-1));
  const below = rates.filter((rate) => rate < 1e-3).length;
  assert.ok(below > 70 && below < 130, `log-uniform: half of them lie in the lower half of the decades, not ${below}`);
  const adams = drawn({}).filter(({ name }) => name === "adam").length;
  assert.ok(adams > 70 && adams < 130);
  const decays = drawn({}).map(({ weightDecay }) => weightDecay);
  assert.ok(decays.every((decay) => decay >= 0 && decay <= 0.5) && decays.some((decay) => decay < 0.1));
});

test("every head of a sweep ends where its recipe ends alone; the best becomes the model", async () => {
  const common = { schedule: { name: "cosine", warmupEpochs: 1 }, labelSmoothing: 0.1, classWeights: "balanced" };
  const request = { ...common, accumulate: 2, batchSize: 7, alias: "swept" };
  const swept = job({ ...request, sweep: GRID });
  const run = attempt(files.store, swept);
  const result = await runTraining(run.options);
  const ranking = result.sweep!;
  assert.equal(ranking.length, 18);
  assert.deepEqual(
    ranking.map(({ head }) => head).toSorted((a, b) => a - b),
    [...Array(18).keys()],
  );
  const key = ({ valAccuracy, valLoss }: SweepHead) => [-valAccuracy!, valLoss!] as const;
  const sorted = ranking.toSorted((a, b) => key(a)[0] - key(b)[0] || key(a)[1] - key(b)[1]);
  assert.deepEqual(ranking, sorted);
  assert.ok(ranking[0]!.valAccuracy! > ranking.at(-1)!.valAccuracy!, "there is something to choose from");

  const [best] = ranking;
  assert.deepEqual(result.recipe.optimizer, best!.optimizer);
  assert.deepEqual([result.bestEpoch, result.valAccuracy], [best!.bestEpoch, best!.valAccuracy]);
  const { manifest } = await readModel(files.store, result.model);
  assert.ok("recipe" in manifest.lineage);
  assert.deepEqual(manifest.lineage.recipe, result.recipe);
  assert.equal((await readAlias(files.store, "swept"))?.model, result.model);
  const models = await collect(listModels(files.store));
  assert.deepEqual(
    models.filter((model) => model.manifest.lineage.job === swept.job).map(({ id }) => id),
    [result.model],
  );

  const curves = await curvesOf(result.model);
  assert.deepEqual(figures(curves[0]!.curve), figures(result.epochs));
  for (const at of [0, 4, 9, 14, 17]) {
    const { optimizer, curve } = curves[at]!;
    const alone = await train(files.store, job({ ...request, alias: undefined, optimizer }));
    for (const [epoch, expected] of figures(alone.epochs).entries()) {
      const found = figures(curve)[epoch]!;
      for (const [name, value] of Object.entries(expected)) {
        const got = found[name as keyof typeof found]!;
        assert.ok(Math.abs(got - value) <= 2e-4 * Math.max(1, Math.abs(value)), `${name} ${got}, alone ${value}`);
      }
    }
    if (at > 0) continue;
    const [got, wanted] = [await weightsOf(result.model), await weightsOf(alone.model)];
    for (const [name, { data }] of wanted) {
      if (!name.startsWith("fc.")) assert.deepEqual(got.get(name)!.data, data, name);
      else
        for (const [i, value] of data.entries())
          assert.ok(Math.abs(Number(got.get(name)!.data[i]) - Number(value)) < 1e-4);
    }
  }
});

test("progress tells of the heads, and of every epoch the best", async () => {
  const run = attempt(files.store, job({ sweep: { learningRate: [1e-6, 1e-2] } }));
  const result = await runTraining(run.options);
  const all = run.events.flatMap((event): Progress[] => (event.type === "progress" ? [event.progress] : []));
  assert.deepEqual(all[0]!.sweep, { heads: 2, running: 2, failed: 0 });
  const last = all.at(-1)!;
  const { bestEpoch, valAccuracy } = result;
  const leader = { head: result.sweep![0]!.head, bestEpoch, valAccuracy };
  assert.deepEqual(last.sweep, { heads: 2, running: 0, failed: 0, leader });
  assert.deepEqual([last.totalEpochs, last.done], [3, last.total]);
  const curves = await curvesOf(result.model);
  for (const [at, epoch] of last.epochs!.entries()) {
    assert.equal(epoch.valAccuracy, Math.max(...curves.map(({ curve }) => curve[at]!.valAccuracy)));
  }
  const told = run.events.flatMap((event) => (event.type === "epoch" ? [event.epoch] : []));
  assert.deepEqual(told, last.epochs);
});

test("heads stop early each for itself, and a diverging one drops out with its code", async () => {
  const sweep = { learningRate: [1e-12, 0.03, 1e6], optimizer: ["adam"] };
  const run = attempt(files.store, job({ sweep, augment: {}, epochs: 6, earlyStopping: { patience: 2 } }));
  const result = await runTraining(run.options);
  const by = (head: number) => result.sweep!.find((each) => each.head === head)!;
  assert.deepEqual([by(0).state, by(0).endedBy, by(0).epochs], ["completed", "early-stopping", 3]);
  assert.ok(by(1).epochs > 3, "the learning one went on");
  assert.deepEqual([by(2).state, by(2).error?.code, by(2).endedBy], ["failed", "loss_not_finite", undefined]);
  assert.match(by(2).error!.message, /learningRate 1000000/);
  assert.equal(result.sweep!.at(-1)!.head, 2);
  assert.ok(run.events.some((event) => event.type === "log" && /^head 2 fails/.test(event.message)));

  const alone = await train(
    files.store,
    job({ augment: {}, epochs: 6, earlyStopping: { patience: 2 }, optimizer: by(1).optimizer }),
  );
  assert.deepEqual([alone.epochs.length, alone.endedBy], [by(1).epochs, by(1).endedBy]);
});

test("a sweep whose heads all diverge fails with loss_not_finite and publishes nothing", async () => {
  const swept = job({ sweep: { learningRate: [1e5, 1e6] } });
  await assert.rejects(train(files.store, swept), (error: CardinalError) => {
    assert.deepEqual([error.code, error.details, error.retryable], ["loss_not_finite", { heads: 2 }, false]);
    return true;
  });
  assert.equal((await readCheckpoint(files.store, swept.job))?.publish, undefined);
});

test("a sweep killed twice and drained once ends as an undisturbed one, bit for bit", async () => {
  // One head fails, one stops early: the stack gets narrower on the way.
  const sweep = { learningRate: [1e-12, 1e-3, 1e-2, 1e6], optimizer: ["sgd", "adam"] };
  const request = { sweep, epochs: 4, earlyStopping: { patience: 2 } };
  const undisturbed = await train(files.store, job(request));
  const disturbed = job(request);
  for (const number of [1, 2]) {
    const run = attempt(files.store, disturbed, number, atStep(number === 1 ? 4 : 5, kill));
    await assert.rejects(runTraining({ ...run.options, checkpointSeconds: 0 }), /killed/);
  }
  const drained = attempt(
    files.store,
    disturbed,
    3,
    atStep(2, ({ stop }) => stop("drain")),
  );
  await assert.rejects(runTraining(drained.options), coded("shutting_down"));
  const result = await train(files.store, disturbed, 4);
  assert.equal(result.resumedFromStep, 9);
  assert.deepEqual(await weightsOf(result.model), await weightsOf(undisturbed.model));
  assert.deepEqual(result.sweep, undisturbed.sweep);
  const curves = async ({ model }: TrainResult) => (await curvesOf(model)).map(({ curve }) => figures(curve));
  assert.deepEqual(await curves(result), await curves(undisturbed));
  assert.deepEqual(await train(files.store, disturbed, 5), result, "what was announced is completed");
});

test("a cancelled sweep ends at the next step; a whole one leaves no tensors, and a head alone learns the same", async () => {
  const sweep = { learningRate: [1e-3, 1e-2] };
  const cancelled = attempt(
    files.store,
    job({ sweep }),
    1,
    atStep(2, ({ stop }) => stop("cancelled")),
  );
  await assert.rejects(runTraining(cancelled.options), coded("cancelled"));
  const short = { augment: { views: 3 }, epochs: 2 };
  const counts: number[] = [];
  for (let round = 0; round < 2; round++) {
    const result = await train(files.store, job({ ...short, sweep }));
    assert.equal(result.sweep!.length, 2);
    counts.push(tf.memory().numTensors);
  }
  assert.equal(counts[1], counts[0]);
  const [head] = (await train(files.store, job({ ...short, sweep: { learningRate: [1e-2] } }))).sweep!;
  const alone = await train(files.store, job({ ...short, optimizer: head!.optimizer }));
  assert.ok(Math.abs(alone.epochs.at(-1)!.valLoss - head!.valLoss!) < 1e-3 || alone.bestEpoch !== head!.epochs);
});

test("a sweep ends when its time is up, with what it has", async () => {
  const result = await train(files.store, job({ sweep: { learningRate: [1e-3, 1e-2] }, maxRuntimeSeconds: 1e-6 }));
  assert.deepEqual(
    result.sweep!.map(({ epochs, endedBy }) => [epochs, endedBy]),
    [
      [1, "max-runtime"],
      [1, "max-runtime"],
    ],
  );
});
