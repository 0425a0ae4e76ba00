/** Strict loading: the tensors of a file against those that an architecture has. */
import { problem } from "@cardinal/contracts";
import type { Tensor } from "./safetensors.ts";
import { shown } from "./torch/invalid.ts";

export interface TensorSpec {
  readonly name: string;
  readonly shape: readonly number[];
}

export interface FitOptions {
  /** The classifier's weight [classes, features] and bias [classes], such as ["fc.weight", "fc.bias"]. */
  readonly headNames?: readonly [string, string];
  /**
   * A freshly initialised head in the shapes of the specs. It is taken when the file has no head or one of another
   * class count, and only then.
   */
  readonly newHead?: ReadonlyMap<string, Tensor>;
}

export interface FitReport {
  /** Classes of the file's head; undefined when it has none. */
  readonly headClasses: number | undefined;
  readonly head: "from the file" | "new" | "none";
  /** What was added, left aside or replaced, one sentence each. */
  readonly notes: string[];
}

export interface FittedStateDict {
  /** Exactly the specs' names and shapes in their order; num_batches_tracked as int64, all others as float32. */
  readonly tensors: Map<string, Tensor>;
  readonly report: FitReport;
}

/** BatchNorm's counter of training steps: not used by inference, missing in files of torch before 0.4.1. */
const COUNTER = "num_batches_tracked";
const LISTED = 5;

interface Mismatches {
  readonly missing: string[];
  readonly unexpected: string[];
  readonly shapes: { name: string; found: string; expected: string }[];
}

/** The class count of a head weight of [classes, features]; undefined where there is no such tensor. */
export function headClasses(tensors: ReadonlyMap<string, Tensor>, headWeight: string): number | undefined {
  const shape = tensors.get(headWeight)?.shape;
  return shape?.length === 2 ? shape[0] : undefined;
}

/** Throws `class_index_mismatch`, with both numbers, for a class index of another size than the head. */
export function checkClassIndex(classes: number, head: number): void {
  if (classes === head) return;
  throw problem("class_index_mismatch", `the class index has ${classes} classes, the model's head has ${head}`, {
    classes,
    headClasses: head,
  });
}

/**
 * The file's tensors in the specs' order, after a strict comparison.
 *
 * Throws `state_dict_mismatch` for names that are missing or unexpected and for other shapes; the message has the first
 * of each and their numbers. num_batches_tracked may be missing (it becomes 0). A head of another class count is
 * `class_index_mismatch` unless `newHead` is given. Without the head among the specs, the file's head is left aside.
 */
export function fitStateDict(
  tensors: ReadonlyMap<string, Tensor>,
  specs: readonly TensorSpec[],
  options: FitOptions = {},
): FittedStateDict {
  const { source, report } = withHead(tensors, specs, options);
  const wrong: Mismatches = { missing: [], unexpected: [], shapes: [] };
  const fitted = new Map<string, Tensor>();
  let counters = 0;
  for (const spec of specs) {
    const tensor = source.get(spec.name);
    if (tensor !== undefined) fitted.set(spec.name, fitTensor(spec, tensor, wrong));
    else if (isCounter(spec.name)) {
      fitted.set(spec.name, { shape: spec.shape, data: new BigInt64Array(1) });
      counters++;
    } else wrong.missing.push(spec.name);
  }
  const known = new Set(specs.map(({ name }) => name));
  for (const name of source.keys()) if (!known.has(name)) wrong.unexpected.push(name);
  refuse(wrong);
  if (counters > 0) report.notes.push(`${counters} ${COUNTER} were missing and are 0`);
  return { tensors: fitted, report };
}

function isCounter(name: string): boolean {
  return name.endsWith(`.${COUNTER}`);
}

/** The tensors with the head that the options ask for. */
function withHead(
  tensors: ReadonlyMap<string, Tensor>,
  specs: readonly TensorSpec[],
  { headNames, newHead }: FitOptions,
): { source: ReadonlyMap<string, Tensor>; report: FitReport } {
  if (headNames === undefined) return { source: tensors, report: { headClasses: undefined, head: "none", notes: [] } };
  const found = headClasses(tensors, headNames[0]);
  const present = headNames.filter((name) => tensors.has(name));
  const body = new Map([...tensors].filter(([name]) => !headNames.includes(name)));
  const spec = specs.find(({ name }) => name === headNames[0]);
  if (spec === undefined) {
    const notes = present.length > 0 ? [`the head (${present.join(", ")}) was left aside`] : [];
    return { source: body, report: { headClasses: found, head: "none", notes } };
  }
  const resized = found !== undefined && isResized(tensors, headNames, spec, found);
  if (resized && newHead === undefined) checkClassIndex(spec.shape[0]!, found);
  if (newHead !== undefined && (resized || present.length === 0)) {
    const why = resized ? `the file's head has ${found} classes` : "the file has no head";
    const notes = [`${why}: a new one with ${spec.shape[0]} classes takes its place`];
    return { source: new Map([...body, ...newHead]), report: { headClasses: found, head: "new", notes } };
  }
  return { source: tensors, report: { headClasses: found, head: "from the file", notes: [] } };
}

/** Whether the head is that of the spec but for the number of classes. */
function isResized(
  tensors: ReadonlyMap<string, Tensor>,
  [weight, bias]: readonly [string, string],
  spec: TensorSpec,
  found: number,
): boolean {
  const biasShape = tensors.get(bias)?.shape ?? [];
  const whole = biasShape.length === 1 && biasShape[0] === found;
  return whole && tensors.get(weight)!.shape[1] === spec.shape[1] && found !== spec.shape[0];
}

/** Notes what does not fit; the tensor in the type that its name asks for. */
function fitTensor({ name, shape }: TensorSpec, tensor: Tensor, wrong: Mismatches): Tensor {
  const same = tensor.shape.length === shape.length && tensor.shape.every((side, axis) => side === shape[axis]);
  if (!same) wrong.shapes.push({ name: shown(name), found: shown(`[${tensor.shape}]`), expected: `[${shape}]` });
  else if (isCounter(name)) return counter(name, tensor, wrong);
  else if (!(tensor.data instanceof Float32Array)) {
    wrong.shapes.push({
      name: shown(name),
      found: `int64 ${shown(`[${tensor.shape}]`)}`,
      expected: `float32 [${shape}]`,
    });
  }
  return tensor;
}

/** Some tools save every tensor as floats. */
function counter(name: string, tensor: Tensor, wrong: Mismatches): Tensor {
  if (tensor.data instanceof BigInt64Array) return tensor;
  const [value] = tensor.data;
  if (Number.isInteger(value)) return { shape: tensor.shape, data: BigInt64Array.of(BigInt(value!)) };
  wrong.shapes.push({ name: shown(name), found: `the value ${value}`, expected: "an integer" });
  return tensor;
}

function refuse({ missing, unexpected, shapes }: Mismatches): void {
  const parts: string[] = [];
  if (missing.length > 0) parts.push(`${missing.length} missing (${some(missing)})`);
  if (unexpected.length > 0) parts.push(`${unexpected.length} unexpected (${some(unexpected.map(shown))})`);
  const sentences = shapes.map(({ name, found, expected }) => `${name} is ${found}, must be ${expected}`);
  if (shapes.length > 0) parts.push(`${shapes.length} of another shape or type (${some(sentences)})`);
  if (parts.length === 0) return;
  throw problem("state_dict_mismatch", `the tensors do not fit the architecture: ${parts.join("; ")}`, {
    missing: missing.slice(0, LISTED),
    missingCount: missing.length,
    unexpected: unexpected.slice(0, LISTED).map(shown),
    unexpectedCount: unexpected.length,
    shapes: shapes.slice(0, LISTED),
    shapeCount: shapes.length,
  });
}

function some(items: readonly string[]): string {
  const first = items.slice(0, LISTED).join(", ");
  return items.length > LISTED ? `${first}, …` : first;
}
