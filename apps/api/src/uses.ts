/**
 * What a job uses: models and data sets must be there while it is open. The same list decides whether a job may begin
 * (`requireUsable`, asked when its record is written) and whether something may be deleted (`jobsOf…`); storage's
 * removal.ts says why that is enough.
 */
import { assertUsable, modelIdPrefix } from "@cardinal/checkpoint";
import type { JobKind, Payloads } from "@cardinal/contracts";
import { assertDatasetUsable, assertNameUsable } from "@cardinal/dataset/catalog";
import type { JobQueue, JobRecord } from "@cardinal/queue";
import type { ObjectStore } from "@cardinal/storage";

interface Uses {
  models: string[];
  datasets: { name: string; version: string }[];
  /** An ingest may make any version of the name. */
  ingests?: string;
}

type UsesOf = { [K in JobKind]: (payload: Payloads[K]) => Uses };

const usesOf: UsesOf = {
  train: ({ request: { base, dataset } }) => ({ models: base === undefined ? [] : [base], datasets: [dataset] }),
  predict: ({ model, dataset }) => ({ models: [model], datasets: dataset ? [dataset] : [] }),
  ingest: ({ request }) => ({ models: [], datasets: [], ingests: request.name }),
  import: () => ({ models: [], datasets: [] }),
};

type Job = Pick<JobRecord, "id" | "kind" | "payload">;

const uses = ({ kind, payload }: Job): Uses => usesOf[kind](payload as never);

/** Throws `model_not_found`, `dataset_not_found` or `being_deleted` when something that the job needs is gone or going. */
export async function requireUsable(store: ObjectStore, job: Job): Promise<void> {
  const { models, datasets, ingests } = uses(job);
  for (const model of models) await assertUsable(store, model);
  for (const { name, version } of datasets) await assertDatasetUsable(store, name, version);
  if (ingests !== undefined) await assertNameUsable(store, ingests);
}

/** Ids of the open jobs that use the model, or that make it. */
export async function jobsOfModel(queue: JobQueue, model: string): Promise<string[]> {
  const made = ({ id }: Job) => model.startsWith(modelIdPrefix(id));
  return idsOf(await queue.openJobs(), (job) => made(job) || uses(job).models.includes(model));
}

/** Ids of the open jobs that read the version, or that may be about to make it. */
export async function jobsOfDataset(queue: JobQueue, name: string, version: string): Promise<string[]> {
  return idsOf(await queue.openJobs(), (job) => {
    const { datasets, ingests } = uses(job);
    return ingests === name || datasets.some((one) => one.name === name && one.version === version);
  });
}

const idsOf = (jobs: JobRecord[], isUser: (job: JobRecord) => boolean): string[] =>
  jobs.filter(isUser).map(({ id }) => id);
