/** Finds the dict of tensors in what a file holds. */
import { invalid, listed } from "./invalid.ts";
import { HOW_TO_SAVE } from "./pickle-globals.ts";
import { described, isKind, keyName, type PickleDict, type PickleValue, type TensorRef } from "./pickle-values.ts";

export interface StateDict {
  readonly tensors: Map<string, TensorRef>;
  /** What was left aside, for the user. */
  readonly notes: readonly string[];
}

/**
 * The object itself when it is a dict of tensors, else the only entry of it that is one, as in
 * `{"epoch": 3, "state_dict": {...}}`. Throws `invalid_checkpoint` when there is none or a choice.
 */
export function findStateDict(value: PickleValue): StateDict {
  if (!(value instanceof Map)) throw invalid(`the file holds ${described(value)}, not a state_dict; ${HOW_TO_SAVE}`);
  const direct = tensorsOf(value);
  if (direct !== undefined) return { tensors: direct, notes: [] };
  const found = nestedDicts(value);
  if (found.length > 1) {
    const names = found.map(({ name }) => name);
    throw invalid(`the file holds several state_dicts (${listed(names)}): save only the one to import`, {
      candidates: names.slice(0, 10),
    });
  }
  const [only] = found;
  if (only === undefined) throw invalid(`the file holds no state_dict: ${reason(value)}; ${HOW_TO_SAVE}`);
  const { name, tensors } = only;
  const others = [...value.keys()].map(keyName).filter((other) => other !== name);
  const ignored = others.length > 0 ? `; ignored: ${listed(others)}` : "";
  return { tensors, notes: [`the tensors are those of the entry ${name}${ignored}`] };
}

/** The entries that are dicts of tensors. Each dict is looked at once, however many keys point to it. */
function nestedDicts(dict: PickleDict): { name: string; tensors: Map<string, TensorRef> }[] {
  const seen = new Map<PickleDict, Map<string, TensorRef> | undefined>();
  const found = [];
  for (const [key, entry] of dict) {
    if (!(entry instanceof Map)) continue;
    if (!seen.has(entry)) seen.set(entry, tensorsOf(entry));
    const tensors = seen.get(entry);
    if (tensors !== undefined) found.push({ name: keyName(key), tensors });
  }
  return found;
}

/** The dict as named tensors; undefined when it has none or holds anything else. */
function tensorsOf(dict: PickleDict): Map<string, TensorRef> | undefined {
  const tensors = new Map<string, TensorRef>();
  for (const [key, value] of dict) {
    if (typeof key !== "string" || !isKind(value, "tensor")) return undefined;
    tensors.set(key, value);
  }
  return tensors.size > 0 ? tensors : undefined;
}

function reason(dict: PickleDict): string {
  for (const [key, value] of dict) {
    if (!isKind(value, "tensor")) return `${keyName(key)} is ${described(value)}`;
  }
  return dict.size === 0 ? "it is an empty dict" : "its keys are not names";
}
