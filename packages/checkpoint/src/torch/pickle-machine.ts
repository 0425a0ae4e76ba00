/**
 * The state of a pickle machine: a stack, marks and a memo, as Python's.
 *
 * Memory and time are bounded by MAX_WORK whatever the file says: every opcode costs 1, one that makes a container
 * CONTAINER_WORK more. At about 250 bytes per container and 40 per other value that is at most 40 MB. A checkpoint of
 * a ResNeXt-101 with its Adam state costs about 90,000.
 */
import { invalid } from "./invalid.ts";
import { PickleCursor } from "./pickle-cursor.ts";
import type { PickleValue, StorageRef } from "./pickle-values.ts";

const MAX_WORK = 1_000_000;
export const CONTAINER_WORK = 8;

export class PickleMachine {
  readonly cursor: PickleCursor;
  readonly memo = new Map<number, PickleValue>();
  /** By key, so that tensors that share a storage share the object. */
  readonly storages = new Map<string, StorageRef>();
  readonly #stack: PickleValue[] = [];
  readonly #marks: number[] = [];
  #work = 0;

  constructor(bytes: Uint8Array, start: number) {
    this.cursor = new PickleCursor(bytes, start);
  }

  readonly spend = (work: number): void => {
    this.#work += work;
    if (this.#work > MAX_WORK) throw invalid("the pickle is larger than that of any state_dict", { limit: MAX_WORK });
  };

  push(value: PickleValue): void {
    this.#stack.push(value);
  }

  pop(): PickleValue {
    const value = this.top();
    this.#stack.pop();
    return value;
  }

  /** The topmost value, which must have been pushed after the last mark. */
  top(): PickleValue {
    if (this.#stack.length <= (this.#marks.at(-1) ?? 0)) throw invalid("the pickle takes a value from an empty stack");
    return this.#stack.at(-1)!;
  }

  isEmpty(): boolean {
    return this.#stack.length === 0;
  }

  /** What was pushed last, whatever the marks; undefined for an empty stack. */
  last(): PickleValue | undefined {
    return this.#stack.at(-1);
  }

  mark(): void {
    this.#marks.push(this.#stack.length);
  }

  /** All values since the last mark. */
  popToMark(): PickleValue[] {
    const mark = this.#marks.pop();
    if (mark === undefined) throw invalid("the pickle ends a group that it never began");
    return this.#stack.splice(mark);
  }

  /** The last values in their order. */
  popMany(count: number): PickleValue[] {
    const items = Array.from({ length: count }, () => this.pop());
    return items.reverse();
  }
}
