/** The opcodes of pickle protocols 2 to 5 that torch.save needs for dicts of tensors (Python's pickletools.py). */
import { invalid } from "./invalid.ts";
import { callGlobal } from "./pickle-globals.ts";
import { CONTAINER_WORK, type PickleMachine } from "./pickle-machine.ts";
import { pushGlobal, pushStorage } from "./pickle-references.ts";
import { described, type PickleDict, type PickleValue } from "./pickle-values.ts";

type Opcode = (machine: PickleMachine) => void;

const MIN_PROTOCOL = 2;
const MAX_PROTOCOL = 5;

/** An opcode that pushes one value without memory of its own to speak of. */
const pushes = (value: (machine: PickleMachine) => PickleValue): Opcode => {
  return (machine) => machine.push(value(machine));
};
/** An opcode that makes a tuple, list, dict or what a function gives. */
const makes = (value: (machine: PickleMachine) => PickleValue): Opcode => {
  return (machine) => {
    machine.spend(CONTAINER_WORK);
    machine.push(value(machine));
  };
};
const tuple = (items: PickleValue[]): PickleValue => ({ kind: "tuple", items });

/** Opcodes that make Python objects, which a dict of tensors never has. */
const refused = (name: string): Opcode => {
  return () => {
    throw invalid(`the pickle makes a Python object (opcode ${name}), which a state_dict never has`);
  };
};

export const opcodes: ReadonlyMap<number, Opcode> = new Map([
  [0x80, protocol],
  [0x95, ({ cursor }) => void cursor.u64()], // FRAME, a hint for buffering
  [0x28, (machine) => machine.mark()],

  [0x4e, pushes(() => null)],
  [0x88, pushes(() => true)],
  [0x89, pushes(() => false)],
  [0x4b, pushes(({ cursor }) => cursor.u8())], // BININT1
  [0x4d, pushes(({ cursor }) => cursor.u16())], // BININT2
  [0x4a, pushes(({ cursor }) => cursor.i32())], // BININT
  [0x8a, pushes(({ cursor }) => integer(cursor.take(cursor.u8())))], // LONG1
  [0x47, pushes(({ cursor }) => cursor.f64())], // BINFLOAT
  [0x8c, pushes(({ cursor }) => cursor.utf8(cursor.u8()))], // SHORT_BINUNICODE
  [0x58, pushes(({ cursor }) => cursor.utf8(cursor.u32()))], // BINUNICODE
  [0x8d, pushes(({ cursor }) => cursor.utf8(cursor.u64()))], // BINUNICODE8
  [0x55, pushes(({ cursor }) => cursor.utf8(cursor.u8()))], // SHORT_BINSTRING: Python 2's str
  [0x54, pushes(({ cursor }) => cursor.utf8(cursor.u32()))], // BINSTRING
  [0x43, pushes(({ cursor }) => cursor.take(cursor.u8()))], // SHORT_BINBYTES
  [0x42, pushes(({ cursor }) => cursor.take(cursor.u32()))], // BINBYTES

  [0x29, makes(() => tuple([]))],
  [0x85, makes((machine) => tuple(machine.popMany(1)))],
  [0x86, makes((machine) => tuple(machine.popMany(2)))],
  [0x87, makes((machine) => tuple(machine.popMany(3)))],
  [0x74, makes((machine) => tuple(machine.popToMark()))],
  [0x5d, makes(() => [])],
  [0x7d, makes(() => new Map())],
  [0x61, (machine) => append(machine, machine.popMany(1))], // APPEND
  [0x65, (machine) => append(machine, machine.popToMark())], // APPENDS
  [0x73, (machine) => setItems(machine, machine.popMany(2))], // SETITEM
  [0x75, (machine) => setItems(machine, machine.popToMark())], // SETITEMS

  [0x68, (machine) => recall(machine, machine.cursor.u8())], // BINGET
  [0x6a, (machine) => recall(machine, machine.cursor.u32())], // LONG_BINGET
  [0x71, (machine) => void machine.memo.set(machine.cursor.u8(), machine.top())], // BINPUT
  [0x72, (machine) => void machine.memo.set(machine.cursor.u32(), machine.top())], // LONG_BINPUT
  [0x94, (machine) => void machine.memo.set(machine.memo.size, machine.top())], // MEMOIZE

  [0x63, (machine) => pushGlobal(machine, machine.cursor.line(), machine.cursor.line())], // GLOBAL
  [0x93, stackGlobal],
  [0x51, pushStorage], // BINPERSID
  [0x52, makes(reduce)],
  [0x62, build],

  [0x69, (machine) => pushGlobal(machine, machine.cursor.line(), machine.cursor.line(), "INST")],
  [0x6f, refused("OBJ")],
  [0x50, refused("PERSID")],
  [0x81, refused("NEWOBJ")],
  [0x92, refused("NEWOBJ_EX")],
  [0x82, refused("EXT1")],
  [0x83, refused("EXT2")],
  [0x84, refused("EXT4")],
] satisfies [number, Opcode][]);

function protocol({ cursor }: PickleMachine): void {
  const version = cursor.u8();
  if (version >= MIN_PROTOCOL && version <= MAX_PROTOCOL) return;
  throw invalid(`the pickle has protocol ${version}; torch.save writes ${MIN_PROTOCOL} to ${MAX_PROTOCOL}`);
}

/** Little-endian two's complement; a number where it can be one. */
function integer(bytes: Uint8Array): number | bigint {
  const hex = Buffer.from(bytes).reverse().toString("hex");
  const value = BigInt.asIntN(bytes.length * 8, BigInt(`0x${hex || "0"}`));
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

function append(machine: PickleMachine, items: PickleValue[]): void {
  const list = machine.top();
  if (!Array.isArray(list)) throw invalid(`the pickle appends to ${described(list)}, not to a list`);
  for (const item of items) list.push(item);
}

function setItems(machine: PickleMachine, items: PickleValue[]): void {
  const dict = dictOnTop(machine, "sets items");
  if (items.length % 2 !== 0) throw invalid("the pickle has a dict entry without a value");
  for (let index = 0; index < items.length; index += 2) dict.set(items[index]!, items[index + 1]!);
}

function dictOnTop(machine: PickleMachine, action: string): PickleDict {
  const dict = machine.top();
  if (!(dict instanceof Map)) throw invalid(`the pickle ${action} of ${described(dict)}, not of a dict`);
  return dict;
}

function recall(machine: PickleMachine, index: number): void {
  const value = machine.memo.get(index);
  if (value === undefined) throw invalid(`the pickle recalls the value ${index}, which it never stored`);
  machine.push(value);
}

function stackGlobal(machine: PickleMachine): void {
  const [module, name] = machine.popMany(2);
  if (typeof module !== "string" || typeof name !== "string") throw invalid("the pickle has a name that is no string");
  pushGlobal(machine, module, name);
}

function reduce(machine: PickleMachine): PickleValue {
  const args = machine.pop();
  return callGlobal(machine.pop(), args, machine.spend);
}

/** Attributes of a dict, such as a state_dict's `_metadata` of layer versions: they hold nothing to load. */
function build(machine: PickleMachine): void {
  const state = machine.pop();
  dictOnTop(machine, "sets attributes");
  if (!(state instanceof Map)) throw invalid(`the pickle sets ${described(state)} as attributes`);
}
