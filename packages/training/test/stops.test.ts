import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import {
  claimCheckpoint,
  decodeSafetensors,
  listModels,
  modelId,
  readAlias,
  readCheckpoint,
  sweepJob,
} from "@cardinal/checkpoint";
import { CardinalError, type TrainPayload } from "@cardinal/contracts";
import { layout, type ObjectStore } from "@cardinal/storage";
import { guardLeaks } from "@cardinal/testing";
import { runTraining } from "@cardinal/training";
import { atStep, attempt, coded, collect, payload, type TestStore, testStore, train } from "./support.ts";

guardLeaks();

let files: TestStore;
let dataset: TrainPayload["request"]["dataset"];

before(async () => {
  files = await testStore();
  dataset = await files.digits(40, 20);
});
after(() => files[Symbol.asyncDispose]());

const stepsOf = ({ events }: ReturnType<typeof attempt>) =>
  events.filter((event) => event.type === "stage" && event.stage === "train_step").length;

/** Models of the job that the registry knows. */
async function modelsOf({ job }: TrainPayload): Promise<string[]> {
  const models = await collect(listModels(files.store));
  return models.filter(({ manifest }) => manifest.lineage.job === job).map(({ id }) => id);
}

/** The store, but a put of such a key fails as if the process had died just before it. */
function dyingAt(suffix: string): ObjectStore {
  return new Proxy(files.store, {
    get(store, name) {
      const value = Reflect.get(store, name);
      if (typeof value !== "function") return value;
      if (name !== "put" && name !== "swapPointer") return value.bind(store);
      return async (key: string, ...rest: unknown[]) => {
        if (key.endsWith(suffix)) throw new Error("killed");
        return value.call(store, key, ...rest);
      };
    },
  });
}

test("a cancelled job ends at the next step and leaves no model", async () => {
  const job = payload(dataset);
  const run = attempt(
    files.store,
    job,
    1,
    atStep(2, ({ stop }) => stop("cancelled")),
  );
  await assert.rejects(runTraining(run.options), coded("cancelled"));
  assert.equal(stepsOf(run), 2);
  assert.deepEqual(await modelsOf(job), []);
  assert.equal((await readCheckpoint(files.store, job.job))?.checkpoint, undefined);
});

test("messages that arrive while it computes are seen between two steps, also when nothing is read any more", async () => {
  const request = { augment: { crop: "center" }, epochs: 4 };
  const late = atStep(8, ({ stop }) => setImmediate(() => stop("cancelled")));
  const run = attempt(files.store, payload(dataset, request), 1, late);
  await assert.rejects(runTraining(run.options), coded("cancelled"));
  assert.equal(stepsOf(run), 8);
});

test("a drain saves the very step, and the next attempt goes on from it", async () => {
  const job = payload(dataset);
  const first = attempt(
    files.store,
    job,
    1,
    atStep(2, ({ stop }) => stop("drain")),
  );
  await assert.rejects(runTraining(first.options), coded("shutting_down"));
  assert.equal((await readCheckpoint(files.store, job.job))?.checkpoint?.last.step, 2);
  const second = attempt(files.store, job, 2);
  const result = await runTraining(second.options);
  assert.equal(result.resumedFromStep, 2);
  assert.equal(stepsOf(second), 4);
});

test("a drain during validation and one during the export lose nothing", async () => {
  const job = payload(dataset, { epochs: 1 });
  const phase = (wanted: string) =>
    attempt(files.store, job, wanted === "validating" ? 1 : 2, (event, { stop }) => {
      if (event.type === "progress" && event.progress.phase === wanted) stop("drain");
    });
  await assert.rejects(runTraining(phase("validating").options), coded("shutting_down"));
  const exporting = phase("exporting");
  await assert.rejects(runTraining(exporting.options), coded("shutting_down"));
  assert.equal(stepsOf(exporting), 0, "all steps were done by the first attempt");
  const last = attempt(files.store, job, 3);
  await runTraining(last.options);
  assert.equal(stepsOf(last), 0);
  assert.deepEqual(await modelsOf(job), [modelId(job.job, 3)]);
});

test("an attempt that a later one has overtaken is fenced off", async () => {
  const job = payload(dataset);
  let taken: Promise<unknown> | undefined;
  const run = attempt(
    files.store,
    job,
    1,
    atStep(1, () => {
      taken = claimCheckpoint(files.store, job.job, 2);
    }),
  );
  await assert.rejects(runTraining(run.options), coded("fenced"));
  await taken;
  await assert.rejects(train(files.store, job, 1), coded("fenced"));
  assert.deepEqual(await modelsOf(job), []);
});

test("a learning rate of 1000 fails, not to be tried again, and says why", async () => {
  const job = payload(dataset, { optimizer: { learningRate: 1000 } });
  await assert.rejects(train(files.store, job), (error: unknown) => {
    assert.ok(error instanceof CardinalError);
    assert.equal(error.code, "loss_not_finite");
    assert.equal(error.retryable, false);
    assert.match(error.message, /learningRate 1000/);
    return true;
  });
});

test("a training that diverges keeps the last good checkpoint", async () => {
  const job = payload(dataset);
  const good = attempt(
    files.store,
    job,
    1,
    atStep(2, ({ stop }) => stop("drain")),
  );
  await assert.rejects(runTraining(good.options), coded("shutting_down"));
  const before = (await readCheckpoint(files.store, job.job))?.checkpoint;

  const request = { ...job.request, optimizer: { ...job.request.optimizer, learningRate: 1000 } };
  await assert.rejects(train(files.store, { ...job, request }, 2), coded("loss_not_finite"));
  const kept = (await readCheckpoint(files.store, job.job))?.checkpoint;
  assert.deepEqual(kept, before);
  const { tensors } = decodeSafetensors(await files.store.read(kept!.last.key, { sha256: kept!.last.sha256 }));
  for (const [name, { data }] of tensors) {
    assert.ok(data instanceof BigInt64Array || data.every(Number.isFinite), name);
  }
});

test("a job whose publication is not wanted any more is cancelled with nothing published", async () => {
  const job = payload(dataset, { epochs: 1, alias: "unwanted" });
  const { options } = attempt(files.store, job);
  await assert.rejects(runTraining({ ...options, mayPublish: async () => false }), coded("cancelled"));
  assert.deepEqual(await modelsOf(job), []);
  assert.equal(await readAlias(files.store, "unwanted"), undefined);
  await sweepJob(files.store, job.job, { keepCheckpoints: false });
  assert.deepEqual(await collect(files.store.list(layout.model(modelId(job.job, 1)))), []);
});

for (const [where, suffix] of [
  ["before the weights were written", "weights.safetensors"],
  ["between the announcement and the manifest", "/manifest.json"],
  ["before the alias was moved", "aliases/moved.json"],
]) {
  test(`a job killed ${where} ends with one model`, async () => {
    const job = payload(dataset, { epochs: 1, alias: "moved" });
    const first = attempt(dyingAt(suffix!), job);
    await assert.rejects(runTraining(first.options), /killed/);
    const announced = (await readCheckpoint(files.store, job.job))?.publish;
    const second = attempt(files.store, job, 2);
    const result = await runTraining(second.options);
    assert.equal(stepsOf(second), 0, "nothing is trained again");
    assert.equal(result.model, announced?.id ?? modelId(job.job, 2));
    assert.deepEqual(await modelsOf(job), [result.model]);
    assert.equal((await readAlias(files.store, "moved"))?.model, result.model);
    assert.equal(result.epochs.length, 1);
    assert.ok(result.exportError > 0 && result.trainSeconds > 0);
    assert.deepEqual(await train(files.store, job, 3), result, "done again it gives the same");
  });
}
