/**
 * Pickles of state_dicts, read by a machine with a closed list of opcodes (pickle-opcodes.ts) and of names
 * (pickle-globals.ts). It makes plain values and never looks anything up or calls anything that the file names.
 */
import { invalid } from "./invalid.ts";
import { PickleMachine } from "./pickle-machine.ts";
import { opcodes } from "./pickle-opcodes.ts";
import type { PickleValue, StorageRef } from "./pickle-values.ts";

/** A state_dict's pickle has about 150 bytes per tensor. */
export const MAX_PICKLE_BYTES = 8 * 2 ** 20;
const STOP = 0x2e;

export interface Unpickled {
  readonly value: PickleValue;
  /** The position behind the STOP. */
  readonly end: number;
  /** All storages that it refers to, by key. */
  readonly storages: ReadonlyMap<string, StorageRef>;
}

/**
 * Reads the pickle that begins at `start`. Throws `invalid_checkpoint`, which names the function or class, for
 * everything that a state_dict does not have.
 */
export function unpickle(bytes: Uint8Array, start = 0): Unpickled {
  const machine = new PickleMachine(bytes, start);
  for (;;) {
    const at = machine.cursor.position;
    const code = machine.cursor.u8();
    if (code === STOP) break;
    machine.spend(1);
    const opcode = opcodes.get(code);
    if (opcode === undefined) {
      throw invalid(`the pickle has the opcode 0x${code.toString(16)} at byte ${at}, which torch.save never writes`);
    }
    opcode(machine);
  }
  const value = machine.pop();
  if (!machine.isEmpty()) throw invalid("the pickle ends with more than one value");
  return { value, end: machine.cursor.position, storages: machine.storages };
}
