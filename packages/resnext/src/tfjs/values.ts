import type { Tensor } from "./tensorflow.ts";

/**
 * Tensors that are given up after a known number of uses, so that a pass holds only what is still needed.
 * Invariant: a tensor is here exactly as long as uses of it remain.
 */
export class Values {
  readonly #entries = new Map<string, { tensor: Tensor; uses: number }>();

  /** Takes over the tensor; disposes it at once when nobody is going to use it. */
  put(id: string, tensor: Tensor, uses: number): void {
    if (uses === 0) tensor.dispose();
    else this.#entries.set(id, { tensor, uses });
  }

  /** The tensor, still owned by this object and valid until its last release. */
  get(id: string): Tensor {
    const entry = this.#entries.get(id);
    if (!entry) throw new Error(`the output of ${id} is not held any more`);
    return entry.tensor;
  }

  /** One use is over. */
  release(id: string): void {
    const entry = this.#entries.get(id);
    if (!entry) throw new Error(`the output of ${id} is not held any more`);
    if (--entry.uses > 0) return;
    entry.tensor.dispose();
    this.#entries.delete(id);
  }

  dispose(): void {
    for (const { tensor } of this.#entries.values()) tensor.dispose();
    this.#entries.clear();
  }
}
