/**
 * The closed list of what a state_dict's pickle may name. Each is an own function here that makes inert values;
 * any other name ends the reading, before anything is done with it.
 */
import { invalid, listed } from "./invalid.ts";
import {
  described,
  type ElementType,
  isKind,
  keyName,
  type PickleDict,
  type PickleValue,
  type TensorRef,
} from "./pickle-values.ts";

/** torch's classes that stand in persistent ids and give the type of elements. */
const storageTypes: ReadonlyMap<string, ElementType> = new Map([
  ["torch.FloatStorage", "float32"],
  ["torch.DoubleStorage", "float64"],
  ["torch.HalfStorage", "float16"],
  ["torch.BFloat16Storage", "bfloat16"],
  ["torch.LongStorage", "int64"],
  ["torch.IntStorage", "int32"],
  ["torch.ShortStorage", "int16"],
  ["torch.CharStorage", "int8"],
  ["torch.ByteStorage", "uint8"],
  ["torch.BoolStorage", "bool"],
  ["torch.ComplexFloatStorage", "complex64"],
  ["torch.ComplexDoubleStorage", "complex128"],
]);

type Args = readonly PickleValue[];
/** Charges work that grows with the arguments, so that a small file cannot ask for much of it. */
export type Spend = (work: number) => void;

type GlobalFunction = (args: Args, spend: Spend) => PickleValue;

const functions: ReadonlyMap<string, GlobalFunction> = new Map<string, GlobalFunction>([
  ["collections.OrderedDict", dictOf],
  ["collections.Counter", dictOf], // the milestones of MultiStepLR, in checkpoints of trainings
  ["torch.Size", ([sides]) => (sides !== undefined && isKind(sides, "tuple") ? sides : badArgs("torch.Size"))],
  ["torch._utils._rebuild_tensor", (args) => rebuildTensor(args, 4)], // before torch 0.4
  ["torch._utils._rebuild_tensor_v2", (args) => rebuildTensor(args, 6)],
  ["torch._utils._rebuild_parameter", rebuildParameter],
]);

export const HOW_TO_SAVE = 'save the weights alone: torch.save(model.state_dict(), "weights.pth")';

/** Whether the name is in the closed list. */
export function isKnownGlobal(name: string): boolean {
  return functions.has(name) || storageTypes.has(name);
}

/** The element type that a storage class stands for. */
export function storageType(value: PickleValue | undefined): ElementType | undefined {
  return value !== undefined && value !== null && isKind(value, "global") ? storageTypes.get(value.name) : undefined;
}

/** What Python's REDUCE would call. Throws `invalid_checkpoint` for anything but the functions of the list. */
export function callGlobal(callee: PickleValue, args: PickleValue, spend: Spend): PickleValue {
  const call = isKind(callee, "global") ? functions.get(callee.name) : undefined;
  if (call === undefined) throw invalid(`the pickle calls ${described(callee)}, which a state_dict never does`);
  if (!isKind(args, "tuple")) throw invalid(`the pickle calls ${described(callee)} with ${described(args)}`);
  return call(args.items, spend);
}

function badArgs(name: string): never {
  throw invalid(`the pickle calls ${name} with arguments that torch.save never writes`);
}

/** No argument, a dict, or a list of pairs (as Python 2 wrote them). */
function dictOf([content, ...rest]: Args, spend: Spend): PickleDict {
  if (rest.length > 0) return badArgs("a dict");
  if (content === undefined) return new Map();
  if (content instanceof Map) {
    spend(content.size);
    return new Map(content);
  }
  if (!Array.isArray(content)) return badArgs("a dict");
  spend(content.length);
  const dict: PickleDict = new Map();
  for (const pair of content) {
    const items = Array.isArray(pair) ? pair : isKind(pair, "tuple") ? pair.items : [];
    const [key, value] = items;
    if (items.length !== 2 || key === undefined || value === undefined) return badArgs("a dict");
    dict.set(key, value);
  }
  return dict;
}

/** storage, offset, size, stride; then requires_grad, hooks and, rarely, a dict of lazily applied operations. */
function rebuildTensor(args: Args, least: number): TensorRef {
  const [storage = null, offset = null, size = null, stride = null] = args;
  if (args.length < least || args.length > least + 1 || !isKind(storage, "storage")) return badArgs("_rebuild_tensor");
  const lazy = args[6];
  if (lazy instanceof Map && lazy.size > 0) {
    const names = listed([...lazy.keys()].map(keyName));
    throw invalid(`a tensor is saved with lazily applied operations (${names}): save tensor.resolve_neg().clone()`);
  }
  const shape = counts(size);
  const strides = counts(stride);
  if (!isCount(offset) || shape === undefined || strides?.length !== shape.length) return badArgs("_rebuild_tensor");
  return { kind: "tensor", storage, offset, shape, strides };
}

/** A tensor, requires_grad, hooks: the parameter's values are its tensor's. */
function rebuildParameter(args: Args): TensorRef {
  const [tensor = null] = args;
  return args.length === 3 && isKind(tensor, "tensor") ? tensor : badArgs("_rebuild_parameter");
}

export function isCount(value: PickleValue | undefined): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

/** torch's limit of dimensions. */
const MAX_DIMENSIONS = 64;

function counts(value: PickleValue): readonly number[] | undefined {
  const items = isKind(value, "tuple") ? value.items : Array.isArray(value) ? value : undefined;
  return items !== undefined && items.length <= MAX_DIMENSIONS && items.every(isCount) ? items : undefined;
}
