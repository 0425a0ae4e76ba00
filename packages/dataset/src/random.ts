/**
 * Seeded randomness: xoshiro128** of Blackman and Vigna (https://prng.di.unimi.it/xoshiro128starstar.c), its state
 * filled by MurmurHash3 (x86, 32 bits) of the seed words. Not for secrets.
 */

/**
 * A source of uniform numbers in [0, 1) with 32 random bits. The same words give the same sequence; words are safe
 * integers and both their order and their number count, so `(seed, epoch, index)` names a sequence of its own.
 */
export function seededRandom(...words: number[]): () => number {
  const state = Uint32Array.from([1, 2, 3, 4], (lane) => hash(words, lane));
  if (state.every((word) => word === 0)) state[0] = 1; // the one state that the generator cannot leave
  return () => next(state) / 2 ** 32;
}

/** The numbers 0 to `length - 1` in random order (Fisher and Yates). */
export function shuffled(length: number, random: () => number): Uint32Array {
  const order = Uint32Array.from({ length }, (_, i) => i);
  for (let i = length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    const value = order[i]!;
    order[i] = order[j]!;
    order[j] = value;
  }
  return order;
}

function next(s: Uint32Array): number {
  const result = Math.imul(rotate(Math.imul(s[1]!, 5), 7), 9) >>> 0;
  const shifted = s[1]! << 9;
  s[2]! ^= s[0]!;
  s[3]! ^= s[1]!;
  s[1]! ^= s[2]!;
  s[0]! ^= s[3]!;
  s[2]! ^= shifted;
  s[3] = rotate(s[3]!, 11);
  return result;
}

/** MurmurHash3_x86_32 of the words, each as its low and its high 32 bits. */
function hash(words: number[], seed: number): number {
  let h = seed;
  for (const word of words) {
    if (!Number.isSafeInteger(word)) throw new RangeError(`a seed word must be a safe integer, not ${word}`);
    for (const half of [word >>> 0, Math.floor(word / 2 ** 32) >>> 0]) {
      h ^= Math.imul(rotate(Math.imul(half, 0xcc9e2d51), 15), 0x1b873593);
      h = (Math.imul(rotate(h, 13), 5) + 0xe6546b64) | 0;
    }
  }
  h ^= words.length * 8;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

function rotate(word: number, bits: number): number {
  return (word << bits) | (word >>> (32 - bits));
}
