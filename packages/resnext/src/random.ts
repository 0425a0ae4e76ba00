/**
 * xoshiro128** of Blackman and Vigna (https://prng.di.unimi.it/xoshiro128starstar.c), its state filled by a Weyl
 * sequence through MurmurHash3's finaliser (the 32-bit form of splitmix), as the authors advise for seeding.
 * Not for secrets.
 */
export class Random {
  readonly #state: Uint32Array;
  #spare: number | undefined;

  /** Seed: an integer from 0 to 2^53 - 1. Both halves count. */
  constructor(seed: number) {
    if (!Number.isSafeInteger(seed) || seed < 0) throw new RangeError(`seed must be an integer >= 0, not ${seed}`);
    const low = seed >>> 0;
    const high = Math.floor(seed / 2 ** 32);
    this.#state = Uint32Array.from([1, 2, 3, 4], (step) => mix(mix(low + Math.imul(step, 0x9e3779b9)) ^ high));
    if (this.#state.every((word) => word === 0)) this.#state[0] = 1; // the one state that xoshiro cannot leave
  }

  /** A uniform integer from 0 to 2^32 - 1. */
  uint32(): number {
    const s = this.#state;
    const result = Math.imul(rotateLeft(Math.imul(s[1]!, 5), 7), 9) >>> 0;
    const shifted = s[1]! << 9;
    s[2]! ^= s[0]!;
    s[3]! ^= s[1]!;
    s[1]! ^= s[2]!;
    s[0]! ^= s[3]!;
    s[2]! ^= shifted;
    s[3] = rotateLeft(s[3]!, 11);
    return result;
  }

  /** A uniform number in [0, 1) with 32 random bits. */
  uniform(): number {
    return this.uint32() / 2 ** 32;
  }

  /** A standard normal number (Marsaglia's polar method). */
  normal(): number {
    if (this.#spare !== undefined) {
      const spare = this.#spare;
      this.#spare = undefined;
      return spare;
    }
    for (;;) {
      const x = 2 * this.uniform() - 1;
      const y = 2 * this.uniform() - 1;
      const square = x * x + y * y;
      if (square > 0 && square < 1) {
        const factor = Math.sqrt((-2 * Math.log(square)) / square);
        this.#spare = y * factor;
        return x * factor;
      }
    }
  }
}

function rotateLeft(word: number, bits: number): number {
  return ((word << bits) | (word >>> (32 - bits))) >>> 0;
}

/** MurmurHash3's 32-bit finaliser. */
function mix(word: number): number {
  word = Math.imul(word ^ (word >>> 16), 0x85ebca6b);
  word = Math.imul(word ^ (word >>> 13), 0xc2b2ae35);
  return (word ^ (word >>> 16)) >>> 0;
}
