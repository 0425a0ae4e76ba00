import assert from "node:assert/strict";
import { test } from "node:test";
import { decodeSafetensors, npyMatrixHeader, safetensorsMatrixHeader } from "../src/index.ts";

const values = Float32Array.from([1, -2.5, 3, 4, 5, 6e-8]);
const bytes = Buffer.from(values.buffer);

test("safetensors: the room's own reader finds the matrix; values begin at a multiple of 8", () => {
  for (const [rows, width] of [
    [2, 3],
    [3, 2],
    [6, 1],
  ] as const) {
    const header = safetensorsMatrixHeader(rows, width);
    assert.equal(header.length % 8, 0);
    const { tensors } = decodeSafetensors(Buffer.concat([header, bytes]));
    const matrix = tensors.get("features")!;
    assert.deepEqual([...matrix.shape], [rows, width]);
    assert.deepEqual(matrix.data, values);
  }
});

test(".npy: magic, version, a description that Python reads, values at a multiple of 64", () => {
  for (const [rows, width] of [
    [2, 3],
    [0, 0],
    [1_000_000_000, 2048],
  ] as const) {
    const header = npyMatrixHeader(rows, width);
    assert.equal(header.length % 64, 0);
    assert.equal(header.subarray(0, 8).toString("latin1"), "\x93NUMPY\x01\x00");
    assert.equal(header.readUInt16LE(8), header.length - 10);
    assert.match(
      header.subarray(10).toString(),
      new RegExp(`^\\{'descr': '<f4', 'fortran_order': False, 'shape': \\(${rows}, ${width}\\), \\} *\\n$`),
    );
  }
});
