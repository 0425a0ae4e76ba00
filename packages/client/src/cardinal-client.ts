/** The API of Cardinal as typed calls. Every call throws `CardinalError` with the code of the problem answer. */
import { openAsBlob } from "node:fs";
import {
  type AliasRecord,
  aliasListSchema,
  aliasRecordSchema,
  type DatasetVersion,
  datasetVersionSchema,
  type ImageAnswer,
  type IngestRequest,
  imageAnswerSchema,
  type importRequestSchema,
  type JobEvent,
  type JobKind,
  type JobList,
  type JobState,
  type JobView,
  jobListSchema,
  jobViewSchema,
  type KeyView,
  keyListSchema,
  type keyRequestSchema,
  type ListedModel,
  type LogLine,
  type ModelFile,
  type ModelQuery,
  type ModelView,
  modelListSchema,
  modelViewSchema,
  type NewKey,
  newKeySchema,
  type PredictRequest,
  type predictRequestSchema,
  type Row,
  type trainRequestSchema,
  type WorkerView,
  workerViewSchema,
} from "@cardinal/contracts";
import { z } from "zod";
import { type CallOptions, type Connection, call, callJson } from "./http.ts";
import { chunksOf } from "./lines.ts";
import { readRows } from "./rows.ts";
import { jobEvents, jobLog, type LogOptions, type WaitOptions, waitForEnd } from "./watching.ts";

export type TrainBody = z.input<typeof trainRequestSchema>;
export type ImportBody = z.input<typeof importRequestSchema>;
export type PredictBody = z.input<typeof predictRequestSchema>;

/** `dataset`: a name or `name@version`; `base`: an id or an alias. */
export interface ModelFilter extends Pick<ModelQuery, "architecture" | "base" | "alias"> {
  dataset?: string;
}

export interface UploadOptions extends Partial<Omit<IngestRequest, "name">> {
  idempotencyKey?: string;
  signal?: AbortSignal;
  /** Hears how many bytes were handed to the connection. */
  onProgress?(sentBytes: number, totalBytes: number): void;
}

/** An archive that is written while it is sent. */
export interface ArchiveSource {
  stream: ReadableStream<Uint8Array>;
  bytes: number;
}

async function fileSource(path: string): Promise<ArchiveSource> {
  const blob = await openAsBlob(path);
  return { stream: blob.stream() as ReadableStream<Uint8Array>, bytes: blob.size };
}

/** `names`, `safetensors` and `npy` are of jobs with `output: "features"`. */
export type ResultFormat = "jsonl" | "csv" | "names" | "safetensors" | "npy";

export class CardinalClient {
  readonly #connection: Connection;

  constructor(connection: Connection) {
    this.#connection = connection;
  }

  /** Uploads an archive, a file or what makes one, as a stream; gives the ingest job. */
  async uploadDataset(name: string, archive: string | ArchiveSource, options: UploadOptions = {}): Promise<JobView> {
    const { stream, bytes } = typeof archive === "string" ? await fileSource(archive) : archive;
    const { idempotencyKey, signal, onProgress, ...query } = options;
    let sent = 0;
    const counted = new TransformStream<Uint8Array, Uint8Array>({
      transform(chunk, controller) {
        sent += chunk.length;
        onProgress?.(sent, bytes);
        controller.enqueue(chunk);
      },
    });
    return callJson(this.#connection, jobViewSchema, "/v1/datasets", {
      method: "POST",
      query: { name, ...query },
      body: stream.pipeThrough(counted),
      headers: { "content-type": "application/octet-stream", ...idempotency(idempotencyKey) },
      signal,
    });
  }

  /** The latest version of every data set. */
  async datasets(): Promise<DatasetVersion[]> {
    const schema = z.object({ datasets: z.array(datasetVersionSchema) });
    return (await callJson(this.#connection, schema, "/v1/datasets")).datasets;
  }

  dataset(name: string, version?: string): Promise<DatasetVersion> {
    const path = version === undefined ? "" : `/versions/${encodeURIComponent(version)}`;
    return callJson(this.#connection, datasetVersionSchema, `/v1/datasets/${encodeURIComponent(name)}${path}`);
  }

  train(request: TrainBody, options: { idempotencyKey?: string } = {}): Promise<JobView> {
    return this.#submit("/v1/train", request, options.idempotencyKey);
  }

  predict(request: PredictBody, options: { idempotencyKey?: string } = {}): Promise<JobView> {
    return this.#submit("/v1/predict", request, options.idempotencyKey);
  }

  /**
   * Classifies one image (encoded bytes). With `wait`, a model that no worker has in memory yet is waited for: so many
   * seconds, or with `true` as long as the API waits by itself. Otherwise that is `model_warming`.
   */
  predictImage(
    image: Uint8Array<ArrayBuffer>,
    options: { model: string; topK?: PredictRequest["topK"]; wait?: true | number; signal?: AbortSignal },
  ): Promise<ImageAnswer> {
    const { signal, wait, ...query } = options;
    const prefer = wait && { prefer: wait === true ? "wait" : `wait=${wait}` };
    return callJson(this.#connection, imageAnswerSchema, "/v1/predict/image", {
      method: "POST",
      query,
      body: image,
      headers: { "content-type": "application/octet-stream", ...prefer },
      signal,
    });
  }

  /** Imports a state_dict (.pth or .safetensors) from a local file. */
  async importModel(path: string, options: Omit<ImportBody, "source">): Promise<JobView> {
    const { classes, ...query } = options;
    const form = new FormData();
    if (classes) form.append("classes", JSON.stringify(classes));
    form.append("file", await openAsBlob(path), "weights");
    return callJson(this.#connection, jobViewSchema, "/v1/models/import", { method: "POST", query, body: form });
  }

  /** Imports from a store key below `imports/` or an https address of an allowed host. */
  importModelFrom(source: string, options: Omit<ImportBody, "source">): Promise<JobView> {
    return this.#submit("/v1/models/import", { source, ...options }, undefined);
  }

  job(id: string, signal?: AbortSignal): Promise<JobView> {
    return callJson(this.#connection, jobViewSchema, `/v1/jobs/${encodeURIComponent(id)}`, { signal });
  }

  jobs(filter: { kind?: JobKind; state?: JobState; cursor?: string; limit?: number } = {}): Promise<JobList> {
    return callJson(this.#connection, jobListSchema, "/v1/jobs", { query: filter });
  }

  cancel(id: string): Promise<JobView> {
    return callJson(this.#connection, jobViewSchema, `/v1/jobs/${encodeURIComponent(id)}`, { method: "DELETE" });
  }

  /** Runs a failed or cancelled job again, under its id. */
  retry(id: string): Promise<JobView> {
    return callJson(this.#connection, jobViewSchema, `/v1/jobs/${encodeURIComponent(id)}/retry`, { method: "POST" });
  }

  /** The job when it has ended, whatever its end. Outages of up to a minute are waited for, here and below. */
  wait(id: string, options: WaitOptions = {}): Promise<JobView> {
    return waitForEnd(this.#connection, id, options);
  }

  /** What becomes of the job: a snapshot, changes, finished epochs, the end. */
  events(id: string, options: { signal?: AbortSignal } = {}): AsyncGenerator<JobEvent> {
    return jobEvents(this.#connection, id, options.signal);
  }

  /** The lines of the job's log; with `follow` until it has ended. */
  logs(id: string, options: LogOptions = {}): AsyncGenerator<LogLine> {
    return jobLog(this.#connection, id, options);
  }

  /** The rows of an ended predict job, in input order; error rows are among them. */
  rows(id: string): AsyncGenerator<Row> {
    return readRows(this.#connection, `/v1/jobs/${encodeURIComponent(id)}/results`);
  }

  /** Its error rows only. */
  errors(id: string): AsyncGenerator<Row> {
    return readRows(this.#connection, `/v1/jobs/${encodeURIComponent(id)}/errors`);
  }

  /** Its rows as bytes: JSON lines or CSV. */
  results(id: string, format: ResultFormat): Promise<ReadableStream<Uint8Array>> {
    return this.#stream(`/v1/jobs/${encodeURIComponent(id)}/results`, { query: { format } });
  }

  /** Pictures of its first rows as one HTML page: as many as its worker has kept, 100 a page unless told. */
  contactSheet(id: string, part: { offset?: number; limit?: number } = {}): Promise<ReadableStream<Uint8Array>> {
    return this.#stream(`/v1/jobs/${encodeURIComponent(id)}/contact-sheet`, { query: part });
  }

  /** All models for which the filters hold, newest first, however many pages they fill. */
  async models(filter: ModelFilter = {}): Promise<ListedModel[]> {
    const models: ListedModel[] = [];
    let cursor: string | undefined;
    do {
      const query = { ...filter, cursor, limit: 200 };
      const page = await callJson(this.#connection, modelListSchema, "/v1/models", { query });
      models.push(...page.models);
      cursor = page.nextCursor;
    } while (cursor !== undefined);
    return models;
  }

  /** By id or alias, with its aliases and the models that it comes from. */
  model(reference: string): Promise<ModelView> {
    return callJson(this.#connection, modelViewSchema, `/v1/models/${encodeURIComponent(reference)}`);
  }

  /** By id; refused while an alias or an open job uses it. */
  async deleteModel(id: string): Promise<void> {
    await this.#delete(`/v1/models/${encodeURIComponent(id)}`);
  }

  async modelFile(reference: string, file: ModelFile): Promise<ReadableStream<Uint8Array>> {
    return this.#stream(`/v1/models/${encodeURIComponent(reference)}/files/${file}`);
  }

  /** With `revision`, only an alias that is still at it is moved. */
  setAlias(alias: string, model: string, revision?: number): Promise<AliasRecord> {
    return this.#alias(alias, "PUT", "", revision, { model });
  }

  /** Back to the model that the alias had before. */
  rollBackAlias(alias: string, revision?: number): Promise<AliasRecord> {
    return this.#alias(alias, "POST", "/rollback", revision);
  }

  alias(alias: string): Promise<AliasRecord> {
    return this.#alias(alias, "GET", "", undefined);
  }

  async deleteAlias(alias: string): Promise<void> {
    await this.#delete(`/v1/aliases/${encodeURIComponent(alias)}`);
  }

  async aliases(): Promise<AliasRecord[]> {
    return (await callJson(this.#connection, aliasListSchema, "/v1/aliases")).aliases;
  }

  /** All versions of a data set, newest first. */
  async datasetVersions(name: string): Promise<DatasetVersion[]> {
    const schema = z.object({ versions: z.array(datasetVersionSchema) });
    return (await callJson(this.#connection, schema, `/v1/datasets/${encodeURIComponent(name)}/versions`)).versions;
  }

  /** A version, or all of the name; refused while an open job uses one. */
  async deleteDataset(name: string, version?: string): Promise<void> {
    const path = version === undefined ? "" : `/versions/${encodeURIComponent(version)}`;
    await this.#delete(`/v1/datasets/${encodeURIComponent(name)}${path}`);
  }

  /** Removes an ended job and its results; what it made stays. */
  async purge(id: string): Promise<void> {
    await this.#delete(`/v1/jobs/${encodeURIComponent(id)}`, { purge: "true" });
  }

  /** Makes a key; its secret is in this answer and nowhere else. Keys are for callers of scope `admin`. */
  createKey(request: z.input<typeof keyRequestSchema>): Promise<NewKey> {
    return callJson(this.#connection, newKeySchema, "/v1/keys", { method: "POST", json: request });
  }

  async keys(): Promise<KeyView[]> {
    return (await callJson(this.#connection, keyListSchema, "/v1/keys")).keys;
  }

  async revokeKey(name: string): Promise<void> {
    await this.#delete(`/v1/keys/${encodeURIComponent(name)}`);
  }

  async workers(): Promise<WorkerView[]> {
    const schema = z.object({ workers: z.array(workerViewSchema) });
    return (await callJson(this.#connection, schema, "/v1/workers")).workers;
  }

  #submit(path: string, json: unknown, idempotencyKey: string | undefined): Promise<JobView> {
    return callJson(this.#connection, jobViewSchema, path, {
      method: "POST",
      json,
      headers: idempotency(idempotencyKey),
    });
  }

  #alias(alias: string, method: "GET" | "PUT" | "POST", path: string, revision: number | undefined, json?: object) {
    return callJson(this.#connection, aliasRecordSchema, `/v1/aliases/${encodeURIComponent(alias)}${path}`, {
      method,
      json,
      headers: revision === undefined ? {} : { "if-match": `"${revision}"` },
    });
  }

  async #delete(path: string, query: Record<string, string> = {}): Promise<void> {
    await (await call(this.#connection, path, { method: "DELETE", query })).arrayBuffer();
  }

  /** A body that breaks off is an error of it, `api_unreachable`. */
  async #stream(path: string, options?: CallOptions): Promise<ReadableStream<Uint8Array>> {
    return ReadableStream.from(chunksOf(await call(this.#connection, path, options)));
  }
}

const idempotency = (key: string | undefined): Record<string, string> => (key ? { "idempotency-key": key } : {});
