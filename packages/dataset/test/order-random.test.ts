import assert from "node:assert/strict";
import { test } from "node:test";
import { codePointOrder, seededRandom, shuffled } from "../src/index.ts";

test("names sort as in Python: by code point", () => {
  const sorted = ["10", "2", "B", "a", "é", "中", "Ａ", "😀"];
  assert.deepEqual([...sorted].reverse().sort(codePointOrder), sorted);
  assert.notDeepEqual([...sorted].sort(), sorted); // JavaScript's own order differs
  assert.deepEqual(["ab", "a", ""].sort(codePointOrder), ["", "a", "ab"]);
  assert.equal(codePointOrder("😀", "😀"), 0);
  assert.ok(codePointOrder("😀", "😁") < 0);
});

test("the same words give the same numbers; another word, order or count gives others", () => {
  const first = (...words: number[]) => {
    const random = seededRandom(...words);
    return [random(), random(), random()];
  };
  assert.deepEqual(first(1, 2), first(1, 2));
  const others = [[2, 1], [1], [1, 2, 0], [1 + 2 ** 32, 2], [-1, 2], [0, 2]].map((words) => first(...words));
  for (const other of others) assert.notDeepEqual(other, first(1, 2));
  assert.throws(() => seededRandom(0.5), RangeError);
  assert.throws(() => seededRandom(Number.NaN), RangeError);
});

test("the sequence is pinned, so that old seeds keep their meaning", () => {
  const random = seededRandom(42, 7);
  assert.deepEqual(
    [random(), random(), random()].map((value) => value * 2 ** 32),
    [1770448046, 557344360, 4199850030],
  );
});

test("numbers are uniform in [0, 1)", () => {
  const random = seededRandom(3);
  const bins = new Array<number>(16).fill(0);
  for (let i = 0; i < 160_000; i++) bins[Math.floor(random() * 16)]!++;
  // Chi-square with 15 degrees of freedom: over 45 once in ten thousand seeds; this seed is fixed.
  const chiSquare = bins.reduce((sum, count) => sum + (count - 10_000) ** 2 / 10_000, 0);
  assert.ok(chiSquare < 45, `chi-square ${chiSquare}`);
});

test("a shuffle is a permutation, and every place is as likely", () => {
  assert.deepEqual(
    [...shuffled(1000, seededRandom(1))].sort((a, b) => a - b),
    Array.from({ length: 1000 }, (_, i) => i),
  );
  assert.deepEqual(shuffled(50, seededRandom(4)), shuffled(50, seededRandom(4)));
  assert.deepEqual([...shuffled(0, seededRandom(1))], []);
  const first = [0, 0, 0, 0];
  for (let seed = 0; seed < 4000; seed++) first[shuffled(4, seededRandom(seed))[0]!]!++;
  assert.ok(
    first.every((count) => count > 880 && count < 1120),
    String(first),
  );
});
