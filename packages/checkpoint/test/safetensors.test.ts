import assert from "node:assert/strict";
import { test } from "node:test";
import { decodeSafetensors, encodeSafetensors, type Tensor } from "@cardinal/checkpoint";

const tensors = new Map<string, Tensor>([
  ["conv1.weight", { shape: [1, 3], data: Float32Array.of(1.5, -2, Number.POSITIVE_INFINITY) }],
  ["bn1.num_batches_tracked", { shape: [], data: BigInt64Array.of(2n ** 53n + 1n) }],
  ["10", { shape: [2], data: Float32Array.of(3, 4) }],
  ["2", { shape: [0], data: new Float32Array(0) }],
  ['é 😀 \\ " {}', { shape: [1], data: Float32Array.of(-0) }],
]);
const metadata = { format: "pt", "10": "a", classes: '["a","é"]' };

/** A file of any header and data. */
function file(header: string | Uint8Array, data: Uint8Array | number = 0, length?: number): Uint8Array {
  const head = Buffer.from(header);
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(BigInt(length ?? head.length));
  return Buffer.concat([size, head, typeof data === "number" ? Buffer.alloc(data) : data]);
}

const f32 = (begin: number, end: number, shape = [(end - begin) / 4]) =>
  JSON.stringify({ dtype: "F32", shape, data_offsets: [begin, end] });

test("what is written is read back in its order, and the same input gives the same bytes", () => {
  const bytes = encodeSafetensors(tensors, metadata);
  const read = decodeSafetensors(bytes);
  assert.deepEqual([...read.tensors], [...tensors]);
  assert.deepEqual(read.metadata, metadata);
  assert.deepEqual(encodeSafetensors(tensors, metadata), bytes);
  assert.deepEqual(decodeSafetensors(encodeSafetensors(new Map())), { tensors: new Map(), metadata: {} });
});

test("the bytes are those that the format describes", () => {
  const bytes = Buffer.from(encodeSafetensors(new Map([["a", { shape: [1], data: Float32Array.of(1) }]])));
  const header = '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}';
  assert.equal(Number(bytes.readBigUInt64LE()) % 8, 0);
  assert.equal(bytes.subarray(8, -4).toString().trimEnd(), header);
  assert.equal(bytes.subarray(-4).toString("hex"), "0000803f");
});

test("a file at any offset of a larger buffer is read; tensors are views where they are aligned", () => {
  const bytes = encodeSafetensors(tensors, metadata);
  for (const shift of [0, 1, 4]) {
    const buffer = new Uint8Array(bytes.length + shift);
    buffer.set(bytes, shift);
    const read = decodeSafetensors(buffer.subarray(shift));
    assert.deepEqual([...read.tensors], [...tensors], `shifted by ${shift}`);
    assert.equal(read.tensors.get("conv1.weight")!.data.buffer === buffer.buffer, shift % 4 === 0);
  }
});

const broken: [string, Uint8Array, RegExp][] = [
  ["no bytes", new Uint8Array(0), /0 bytes are no file/],
  ["half a length", Buffer.alloc(7), /7 bytes are no file/],
  ["a header longer than the file", file("{}", 0, 3), /ends after 10 bytes, inside of its header of 3/],
  ["a header over the limit", file("{}", 0, 100_000_001), /100000001 bytes exceeds/],
  ["a length beyond 2^53", Buffer.alloc(16, 0xff), /exceeds/],
  ["no JSON", file("{a}"), /not JSON in UTF-8/],
  ["no UTF-8", file(Buffer.from([0x7b, 0xff, 0x7d])), /not JSON in UTF-8/],
  ["an array", file("[]"), /does not start with "\{"/],
  ["leading space", file(" {}"), /does not start with "\{"/],
  ["a key twice", file(`{"a":${f32(0, 4)},"a":${f32(0, 4)}}`, 4), /a stands twice/],
  ["an escaped key twice", file(`{"a":${f32(0, 4)},"\\u0061":${f32(0, 4)}}`, 4), /a stands twice/],
  ["an overlap", file(`{"a":${f32(0, 8)},"b":${f32(4, 12)}}`, 12), /b starts at 4, not 8, and overlaps/],
  ["a hole", file(`{"a":${f32(0, 4)},"b":${f32(8, 12)}}`, 12), /b starts at 8, not 4, and leaves a hole/],
  ["a hole at the start", file(`{"a":${f32(4, 8)}}`, 8), /a starts at 4, not 0/],
  ["cut data", file(`{"a":${f32(0, 8)}}`, 7), /cut: 7 bytes of data, its tensors have 8/],
  ["bytes behind the data", file(`{"a":${f32(0, 8)}}`, 9), /1 bytes follow the last tensor/],
  ["a shape of another size", file(`{"a":${f32(0, 8, [3])}}`, 8), /a has 8 bytes, F32 \[3\] needs 12/],
  ["a negative side", file(`{"a":${f32(0, 4, [-1, -1])}}`, 4), /shape \[-1,-1\]/],
  ["a side that is no integer", file(`{"a":${f32(0, 4, [0.5, 2])}}`, 4), /shape \[0\.5,2\]/],
  ["a shape beyond any memory", file(`{"a":${f32(0, 0, [2 ** 31, 2 ** 31, 2 ** 31])}}`), /a has 0 bytes/],
  ["reversed offsets", file('{"a":{"dtype":"F32","shape":[0],"data_offsets":[4,0]}}', 4), /data_offsets \[4,0\]/],
  ["one offset", file('{"a":{"dtype":"F32","shape":[0],"data_offsets":[0]}}'), /data_offsets \[0\]/],
  ["no offsets", file('{"a":{"dtype":"F32","shape":[0]}}'), /data_offsets undefined/],
  ["another type", file('{"a":{"dtype":"BF16","shape":[1],"data_offsets":[0,2]}}', 2), /a has the type BF16/],
  ["an inherited type", file('{"a":{"dtype":"toString","shape":[],"data_offsets":[0,0]}}'), /type toString/],
  ["no description", file('{"a":3}'), /a has no description/],
  ["metadata of numbers", file('{"__metadata__":{"a":1}}'), /__metadata__ must map strings to strings/],
];

for (const [what, bytes, message] of broken) {
  test(`refused: ${what}`, () => {
    assert.throws(() => decodeSafetensors(bytes), { name: "CardinalError", code: "invalid_checkpoint", message });
  });
}

test("every cut of a file is refused", () => {
  const bytes = encodeSafetensors(tensors, metadata);
  for (let length = 0; length < bytes.length; length++) {
    assert.throws(() => decodeSafetensors(bytes.subarray(0, length)), { code: "invalid_checkpoint" }, `${length}`);
  }
});

test("what cannot be written is refused", () => {
  const tensor = { shape: [2], data: new Float32Array(3) };
  const refused = { code: "invalid_checkpoint" };
  assert.throws(() => encodeSafetensors(new Map([["a", tensor]])), refused);
  assert.throws(() => encodeSafetensors(new Map([["__metadata__", { shape: [3], data: tensor.data }]])), refused);
});
