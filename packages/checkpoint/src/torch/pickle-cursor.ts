import { invalid } from "./invalid.ts";

/** Reads the arguments of a pickle's opcodes. Every reader throws `invalid_checkpoint` where the bytes end too early. */
export class PickleCursor {
  position: number;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;

  constructor(bytes: Uint8Array, position: number) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    this.position = position;
  }

  u8(): number {
    return this.#view.getUint8(this.#advance(1));
  }

  u16(): number {
    return this.#view.getUint16(this.#advance(2), true);
  }

  u32(): number {
    return this.#view.getUint32(this.#advance(4), true);
  }

  i32(): number {
    return this.#view.getInt32(this.#advance(4), true);
  }

  u64(): number {
    return Number(this.#view.getBigUint64(this.#advance(8), true));
  }

  /** The only big-endian argument of the format. */
  f64(): number {
    return this.#view.getFloat64(this.#advance(8), false);
  }

  /** A view of the next bytes. */
  take(length: number): Uint8Array {
    const start = this.#advance(length);
    return this.#bytes.subarray(start, start + length);
  }

  utf8(length: number): string {
    return decode(this.take(length));
  }

  /** Up to the next newline, which is consumed. */
  line(): string {
    const end = this.#bytes.indexOf(0x0a, this.position);
    if (end === -1) this.#cut();
    const text = this.utf8(end - this.position);
    this.position++;
    return text;
  }

  /** The bytes ahead as far as there are any. */
  peek(length: number): Uint8Array {
    return this.#bytes.subarray(this.position, this.position + length);
  }

  #advance(length: number): number {
    const start = this.position;
    if (start + length > this.#bytes.length) this.#cut();
    this.position = start + length;
    return start;
  }

  #cut(): never {
    const length = this.#bytes.length;
    throw invalid(`the pickle does not end within ${length} bytes: the file is cut, or no state_dict`);
  }
}

const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

function decode(bytes: Uint8Array): string {
  try {
    return strict.decode(bytes);
  } catch (cause) {
    throw invalid("a string in the pickle is not UTF-8", undefined, cause);
  }
}
