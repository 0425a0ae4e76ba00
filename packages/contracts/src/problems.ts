/**
 * The closed catalogue of problem codes, and the one error class that carries them.
 *
 * A code is part of the public contract: it stands in problem+json answers, in failed jobs and in error rows, and it
 * is never renamed. `status` is the HTTP status when an API call ends with the code. `retryable` says whether the very
 * same work may succeed when it is done again (a job that fails with it is tried again with backoff).
 */

interface ProblemEntry {
  status: number;
  retryable: boolean;
  title: string;
}

const entry = (status: number, title: string, retryable = false): ProblemEntry => ({ status, title, retryable });

export const problems = {
  // Requests
  invalid_request: entry(400, "The request does not have the documented shape."),
  invalid_json: entry(400, "The body is not valid JSON."),
  invalid_name: entry(400, "A name is not allowed."),
  unsupported_media_type: entry(415, "The body has a content type that this call does not take."),
  body_too_large: entry(413, "The body is larger than the limit."),
  unauthorized: entry(401, "A valid bearer key is required."),
  forbidden: entry(403, "The key may not do this."),
  rate_limited: entry(429, "The key has used up what it may ask for at a time.", true),
  not_found: entry(404, "There is nothing at this address."),
  idempotency_conflict: entry(409, "The Idempotency-Key was used with another request."),
  upload_failed: entry(400, "The upload ended before it was complete."),
  range_not_satisfiable: entry(416, "The range lies outside of the file."),

  // Things that a request names
  dataset_not_found: entry(404, "No such data set or version."),
  split_not_found: entry(404, "The data set has no such split."),
  model_not_found: entry(404, "No such model or alias."),
  job_not_found: entry(404, "No such job."),
  image_not_found: entry(404, "No such image in the store."),
  key_not_found: entry(404, "No such key."),
  key_exists: entry(409, "There is a key of that name already."),
  alias_not_found: entry(404, "No such alias."),
  alias_changed: entry(412, "The alias is no longer what If-Match says."),
  no_former_model: entry(409, "The alias has no former model to go back to."),
  model_in_use: entry(409, "An alias or an open job uses the model."),
  dataset_in_use: entry(409, "An open job uses the data set."),
  being_deleted: entry(409, "It is being deleted."),
  job_not_finished: entry(409, "The job has not ended yet."),
  results_not_ready: entry(409, "The job has no results yet."),
  job_already_finished: entry(409, "The job has already ended."),
  job_not_retryable: entry(
    409,
    "Only a job that failed, was cancelled or has failed inputs can be retried, while its inputs are there.",
  ),
  prefix_not_allowed: entry(403, "The prefix lies outside of the area whose images may be read."),
  base_required: entry(400, "Training only a part of the network needs a base model."),
  base_mismatch: entry(400, "The base model has another architecture than the request."),
  dataset_not_trainable: entry(400, "The data set has no labelled training images."),
  image_size_too_small: entry(400, "The image size is too small for the architecture."),
  batch_too_small: entry(400, "Batch normalisation cannot train on this batch size at this image size."),

  // Data sets
  unsafe_archive_entry: entry(422, "An archive entry would leave the archive's folder."),
  archive_too_large: entry(422, "The archive has too many entries or unpacks to too many bytes."),
  invalid_archive: entry(422, "The archive cannot be read."),
  no_images: entry(422, "There are no images."),
  empty_class: entry(422, "A class has no images."),
  single_class: entry(422, "A classifier needs two classes or more."),
  dataset_corrupt: entry(500, "A file of a data set version is damaged."),
  unknown_class_in_val: entry(422, "The validation split has a class that the training split lacks."),

  // Images
  empty_file: entry(422, "The image has no bytes."),
  not_an_image: entry(422, "The bytes are not an image."),
  unsupported_format: entry(422, "The image format is not supported."),
  image_truncated: entry(422, "The image ends too early."),
  image_too_large: entry(422, "The image has more pixels than the limit."),
  image_unreadable: entry(422, "The image cannot be decoded."),
  image_kills_process: entry(422, "The process that decodes and predicts the image dies with it."),
  shard_lost: entry(500, "The image's shard failed for good."),
  prediction_not_finite: entry(422, "The model gives no finite answer for the image."),

  // Models
  invalid_checkpoint: entry(422, "A file of tensors cannot be read."),
  state_dict_mismatch: entry(422, "The tensors do not fit the architecture."),
  source_not_allowed: entry(403, "Weights may not be fetched from that source."),
  source_unavailable: entry(502, "The source of the weights cannot be fetched.", true),
  class_index_mismatch: entry(422, "The class index has another size than the head."),
  model_corrupt: entry(500, "The bytes of a model differ from its digest.", true),

  // Jobs
  cancelled: entry(409, "The job was cancelled."),
  loss_not_finite: entry(422, "The loss became infinite or not a number."),
  export_mismatch: entry(500, "The exported model does not give the training side's answers."),
  job_stalled: entry(500, "The job made no progress for too long.", true),
  job_lost: entry(500, "The job's worker died too often."),
  worker_died: entry(500, "The process that ran the job died.", true),
  out_of_memory: entry(500, "The process that ran the job ran out of memory."),
  features_missing: entry(500, "Features that the job needs are not in the cache.", true),
  too_many_features: entry(422, "The features of the data set would not fit into a worker's memory."),
  shards_failed: entry(500, "Some shards failed for good."),
  too_many_failures: entry(422, "More images failed than maxFailureRate allows."),
  fenced: entry(409, "A later attempt has taken over the job."),

  // Store and queue
  object_not_found: entry(404, "There is no object under the key."),
  object_exists: entry(409, "There is an object under the key already."),
  object_changed: entry(409, "The object was changed by somebody else meanwhile."),
  digest_mismatch: entry(502, "The bytes that arrived differ from their digest.", true),
  store_timeout: entry(503, "The object store did not answer in time.", true),
  store_unavailable: entry(503, "The object store cannot be reached.", true),
  store_full: entry(507, "The object store has no space left.", true),
  store_misconfigured: entry(500, "The object store refuses its configuration: keys, bucket or rights."),
  queue_unavailable: entry(503, "Redis cannot be reached or has no memory left.", true),
  redis_misconfigured: entry(500, "Redis would lose jobs with its configuration."),
  too_many_streams: entry(503, "The API process keeps as many watched jobs open as it may.", true),
  model_warming: entry(503, "No worker has answered in time.", true),
  api_unreachable: entry(503, "The API cannot be reached.", true),
  shutting_down: entry(503, "The process is shutting down.", true),
  internal_error: entry(500, "Something unexpected went wrong.", true),
} as const satisfies Record<string, ProblemEntry>;

export type ProblemCode = keyof typeof problems;

/** What is kept of an error in jobs and rows. */
export interface ProblemRecord {
  code: ProblemCode;
  message: string;
  details?: Record<string, unknown>;
}

export class CardinalError extends Error {
  override readonly name = "CardinalError";
  readonly code: ProblemCode;
  readonly details: Record<string, unknown> | undefined;

  constructor(code: ProblemCode, message: string, details?: Record<string, unknown>, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
    this.details = details;
  }

  get status(): number {
    return problems[this.code].status;
  }

  get retryable(): boolean {
    return problems[this.code].retryable;
  }

  toRecord(): ProblemRecord {
    return { code: this.code, message: this.message, ...(this.details && { details: this.details }) };
  }
}

/** Makes the error to throw: `throw problem("empty_class", "class c has no images", { classes: ["c"] })`. */
export function problem(
  code: ProblemCode,
  message: string,
  details?: Record<string, unknown>,
  cause?: unknown,
): CardinalError {
  return new CardinalError(code, message, details, cause);
}

export function isProblemCode(value: unknown): value is ProblemCode {
  return typeof value === "string" && Object.hasOwn(problems, value);
}

/** Any thrown value as a `CardinalError`; what is not one already becomes `internal_error` and keeps its cause. */
export function toProblem(error: unknown): CardinalError {
  if (error instanceof CardinalError) return error;
  const message = error instanceof Error ? error.message : String(error);
  return new CardinalError("internal_error", message, undefined, error);
}

/** The reverse of `toRecord`, for errors that crossed a process. */
export function fromRecord(record: ProblemRecord): CardinalError {
  return new CardinalError(record.code, record.message, record.details);
}
