/**
 * Some thousand damaged files: each must end in a CardinalError or be read, quickly and within its memory. Where the
 * format has checksums, what is read must be the undamaged values.
 *
 *   FUZZ_SEED=7 FUZZ_ROUNDS=1000 npm test -- checkpoint/test/fuzz
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { bytesSource, readWeights, type WeightsFile } from "@cardinal/checkpoint";
import { CardinalError } from "@cardinal/contracts";
import { type Golden, goldenPath, goldens, goldenTensors } from "./golden-files.ts";

const SEED = Number(process.env.FUZZ_SEED ?? 20261125);
/** Damaged copies of each golden file. */
const ROUNDS = Number(process.env.FUZZ_ROUNDS ?? 120);
/** A read takes about 1 ms; this only tells slow from endless on a busy machine. */
const SLOW_MS = 2000;
/** Of one read, and of all: that has the garbage of many. */
const READ_BYTES = 64 * 2 ** 20;
const ALL_BYTES = 256 * 2 ** 20;

/** Marsaglia's xorshift32: a whole number below `limit`. */
function generator(seed: number): (limit: number) => number {
  let state = (seed * 0x9e3779b1) >>> 0 || 1;
  return (limit) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % limit;
  };
}

type Random = ReturnType<typeof generator>;
type Damage = (file: Buffer, random: Random, other: Buffer) => Buffer;

/** Sizes and counts that programs trip over, in any width. */
const EXTREMES = [0n, 1n, 0x7fn, 0xffn, 0xffffn, 0x7fffffffn, 0x80000000n, 0xffffffffn, 2n ** 53n, 2n ** 63n - 1n];

const damages: Record<string, Damage> = {
  flip(file, random) {
    const count = 1 + random(4);
    for (let index = 0; index < count; index++) file[random(file.length)]! ^= 1 << random(8);
    return file;
  },
  byte(file, random) {
    file[random(file.length)] = random(256);
    return file;
  },
  cut: (file, random) => file.subarray(0, random(file.length)),
  extreme(file, random) {
    const width = [1, 2, 4, 8][random(4)]!;
    const bytes = Buffer.alloc(8);
    bytes.writeBigUInt64LE(EXTREMES[random(EXTREMES.length)]!);
    bytes.copy(file, random(Math.max(1, file.length - width)), 0, width);
    return file;
  },
  remove(file, random) {
    const at = random(file.length);
    return Buffer.concat([file.subarray(0, at), file.subarray(at + 1 + random(64))]);
  },
  repeat(file, random) {
    const at = random(file.length);
    const end = at + 1 + random(256);
    return Buffer.concat([file.subarray(0, end), file.subarray(at)]);
  },
  join: (file, random, other) =>
    Buffer.concat([file.subarray(0, random(file.length)), other.subarray(random(other.length))]),
};
const kinds = Object.keys(damages);

/** Files in which damage that no checksum covers changes the meaning: without its name, "byteorder" is little. */
const UNCHECKED = ["no-checksums.pth", "big-endian.pth"];

/** Takes the checksums out of a zip's directory, so that damage of the pickle reaches the pickle machine. */
function withoutChecksums(file: Buffer): Buffer {
  for (let at = file.indexOf("PK\x01\x02"); at !== -1; at = file.indexOf("PK\x01\x02", at + 4)) {
    if (at + 20 <= file.length) file.writeUInt32LE(0, at + 16);
  }
  return file;
}

function check({ tensors, format }: WeightsFile, golden: Golden, intact: boolean): void {
  for (const { shape, data } of tensors.values()) {
    assert.equal(
      data.length,
      shape.reduce((product, side) => product * side, 1),
    );
  }
  if (!intact || format !== "torch-zip") return;
  assert.ok("tensors" in golden, "a refused file is read after it was damaged");
  const values = [...tensors].map(([name, { shape, data }]) => [name, shape, [...data]]);
  const expected = [...goldenTensors(golden)].map(([name, { shape, data }]) => [name, shape, [...data]]);
  assert.deepEqual(values, expected);
}

test(`${ROUNDS} damaged copies of each file, seed ${SEED}`, async (context) => {
  const random = generator(SEED);
  const files = Object.entries(goldens).map(([name, golden]) => ({
    name,
    golden,
    bytes: readFileSync(goldenPath(name)),
  }));
  const counts = { refused: 0, read: 0 };
  let slowest = 0;
  let most = 0;
  const rss = process.memoryUsage.rss;
  const before = rss();
  for (const { name, golden, bytes } of files) {
    for (let round = 0; round < ROUNDS; round++) {
      const kind = kinds[random(kinds.length)]!;
      const other = files[random(files.length)]!.bytes;
      const checked = random(2) === 0;
      const copy = checked ? Buffer.from(bytes) : withoutChecksums(Buffer.from(bytes));
      const damaged = damages[kind]!(copy, random, other);
      const start = performance.now();
      const rssBefore = rss();
      try {
        const file = await readWeights(bytesSource(damaged));
        check(file, golden, checked && kind !== "join" && !UNCHECKED.includes(name));
        counts.read++;
      } catch (error) {
        const which = `${name}, round ${round} (${kind}), seed ${SEED}`;
        if (!(error instanceof CardinalError)) throw new Error(which, { cause: error });
        assert.equal(error.code, "invalid_checkpoint", which);
        assert.ok(error.message.length < 1000, `${which}: ${error.message}`);
        counts.refused++;
      }
      slowest = Math.max(slowest, performance.now() - start);
      most = Math.max(most, rss() - rssBefore);
    }
  }
  context.diagnostic(
    `seed ${SEED}: ${counts.refused} refused, ${counts.read} read, slowest ${slowest.toFixed(0)} ms, ` +
      `RSS grew by at most ${(most / 2 ** 20).toFixed(0)} MB in one, by ${((rss() - before) / 2 ** 20).toFixed(0)} MB in all`,
  );
  assert.ok(slowest < SLOW_MS, `${slowest} ms for one file`);
  assert.ok(most < READ_BYTES, `one read grew RSS by ${most} bytes`);
  assert.ok(rss() - before < ALL_BYTES, `all grew RSS by ${rss() - before} bytes`);
  assert.ok(counts.refused > counts.read && counts.read > 0, JSON.stringify(counts));
});
