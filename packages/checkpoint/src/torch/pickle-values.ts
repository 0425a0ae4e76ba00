/** What a pickle of a state_dict can hold. Dicts are Maps, so no key of a file ever becomes a property. */
import { shown } from "./invalid.ts";

/** Bytes of an element, by torch's name of the type. */
export const elementBytes = {
  float32: 4,
  float64: 8,
  float16: 2,
  bfloat16: 2,
  int64: 8,
  int32: 4,
  int16: 2,
  int8: 1,
  uint8: 1,
  bool: 1,
  complex64: 8,
  complex128: 16,
} as const;
export type ElementType = keyof typeof elementBytes;

export interface PickleTuple {
  readonly kind: "tuple";
  readonly items: readonly PickleValue[];
}

/** A function or class of the closed list in pickle-globals.ts. Only a name: there is no Python object behind it. */
export interface PickleGlobal {
  readonly kind: "global";
  readonly name: string;
}

/** A row of elements somewhere in the file. */
export interface StorageRef {
  readonly kind: "storage";
  readonly key: string;
  readonly type: ElementType;
  /** Elements of the whole storage. */
  readonly count: number;
  /** First element and number of those that the storage's view covers (files older than torch 0.4); else all. */
  readonly viewStart: number;
  readonly viewCount: number;
}

export interface TensorRef {
  readonly kind: "tensor";
  readonly storage: StorageRef;
  /** Elements from the start of the storage. */
  readonly offset: number;
  readonly shape: readonly number[];
  /** In elements. */
  readonly strides: readonly number[];
}

export type PickleDict = Map<PickleValue, PickleValue>;
export type PickleValue =
  | null
  | boolean
  | number
  | bigint
  | string
  | Uint8Array
  | PickleValue[]
  | PickleDict
  | PickleTuple
  | PickleGlobal
  | StorageRef
  | TensorRef;

export type Kind = "tuple" | "global" | "storage" | "tensor";

export function isKind<K extends Kind>(value: PickleValue, kind: K): value is Extract<PickleValue, { kind: K }> {
  return typeof value === "object" && value !== null && "kind" in value && value.kind === kind;
}

/** A value in the words of a Python user. */
export function described(value: PickleValue): string {
  if (value === null) return "None";
  if (typeof value === "string") return "a string";
  if (typeof value === "number" || typeof value === "bigint") return `the number ${shown(String(value))}`;
  if (typeof value === "boolean") return value ? "True" : "False";
  if (value instanceof Map) return "a dict";
  if (Array.isArray(value)) return "a list";
  if (value instanceof Uint8Array) return "bytes";
  return value.kind === "global" ? value.name : `a ${value.kind}`;
}

/** A dict's key for a message. Never String(): a key can be a list that holds itself. */
export function keyName(key: PickleValue): string {
  return typeof key === "string" ? shown(key) : described(key);
}
