/** The two ways in which a pickle points out of itself: names of Python objects, and storages elsewhere in the file. */
import { invalid, shown } from "./invalid.ts";
import { HOW_TO_SAVE, isCount, isKnownGlobal, storageType } from "./pickle-globals.ts";
import { CONTAINER_WORK, type PickleMachine } from "./pickle-machine.ts";
import { isKind, type PickleValue, type StorageRef } from "./pickle-values.ts";

const EMPTY_TUPLE = 0x29;
const NEWOBJ = 0x81;
/** Opcodes that store a value in the memo, and their arguments' bytes. */
const memoizing: ReadonlyMap<number, number> = new Map([
  [0x71, 1],
  [0x72, 4],
  [0x94, 0],
]);

/** Pushes a name of the closed list. Any other ends the reading and is named: nothing is imported or looked up. */
export function pushGlobal(machine: PickleMachine, module: string, name: string, opcode?: "INST"): void {
  const full = `${module}.${name}`;
  if (opcode === undefined && isKnownGlobal(full)) {
    machine.push({ kind: "global", name: full });
    return;
  }
  if (beginsObject(machine)) {
    throw invalid(`the file holds a whole pickled object (${shown(full)}), not a state_dict; ${HOW_TO_SAVE}`, {
      global: shown(full),
    });
  }
  throw invalid(`the file contains ${shown(full)}, which a state_dict never has; ${HOW_TO_SAVE}`, {
    global: shown(full),
  });
}

/**
 * Whether the name is the class of an instance, which torch.save(model) writes: made without arguments (`cls()`), or,
 * in the legacy format, announced by a persistent id that begins with "module".
 */
function beginsObject(machine: PickleMachine): boolean {
  if (machine.isEmpty()) {
    const ahead = machine.cursor.peek(7);
    const skipped = memoizing.get(ahead[0] ?? 0);
    const start = skipped === undefined ? 0 : 1 + skipped;
    return ahead[start] === EMPTY_TUPLE && ahead.includes(NEWOBJ, start);
  }
  return machine.last() === "module";
}

/** BINPERSID: ("storage", storage class, key, device, elements[, view]). */
export function pushStorage(machine: PickleMachine): void {
  machine.spend(CONTAINER_WORK);
  const id = machine.pop();
  const items: readonly PickleValue[] = isKind(id, "tuple") ? id.items : [];
  const [what, type, key, device, count, view = null] = items;
  const element = storageType(type);
  const complete = what === "storage" && element !== undefined && typeof key === "string" && isCount(count);
  if (!complete || typeof device !== "string" || items.length > 6) {
    throw invalid("the pickle refers to something that is no storage of tensors");
  }
  const [viewStart, viewCount] = viewRange(view, count);
  const known = machine.storages.get(key);
  // Storages without data can share a key whatever their type.
  const differs = known !== undefined && (known.type !== element || known.count !== count);
  if (differs && (known.count > 0 || count > 0)) {
    const both = `${known.count} ${known.type} and ${count} ${element}`;
    throw invalid(`the storage ${shown(key)} is described in two ways: ${both}`);
  }
  const fresh: StorageRef = { kind: "storage", key, type: element, count, viewStart: 0, viewCount: count };
  const whole = known === undefined || differs ? fresh : known;
  machine.storages.set(key, whole);
  machine.push(view === null ? whole : { ...whole, viewStart, viewCount });
}

/** The legacy format's (key of the view, first element, elements). */
function viewRange(view: PickleValue, count: number): [number, number] {
  if (view === null) return [0, count];
  const [, start, length] = isKind(view, "tuple") && view.items.length === 3 ? view.items : [];
  if (!isCount(start) || !isCount(length) || start + length > count) {
    throw invalid(`the pickle has a view that lies outside of its storage of ${count} elements`);
  }
  return [start, length];
}
