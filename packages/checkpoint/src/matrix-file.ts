/**
 * Headers of files that hold one float32 matrix [rows, width], row by row: whatever follows them are its values, so a
 * matrix of any size can be streamed behind them, and one can be put in the place of the other.
 */

/** What the matrix is called in a safetensors file. */
export const MATRIX_NAME = "features";

/**
 * safetensors: the header's length (8 bytes, little-endian) and the header (JSON), padded with spaces so that the values
 * begin at a multiple of 8, as the format asks for.
 */
export function safetensorsMatrixHeader(rows: number, width: number): Buffer {
  const tensor = { dtype: "F32", shape: [rows, width], data_offsets: [0, 4 * rows * width] };
  const json = JSON.stringify({ [MATRIX_NAME]: tensor });
  const padded = json.padEnd(Math.ceil(json.length / 8) * 8, " ");
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(padded.length));
  return Buffer.concat([length, Buffer.from(padded)]);
}

/** NumPy's .npy, version 1.0: magic, version, length of the description (2 bytes), padded to a multiple of 64. */
export function npyMatrixHeader(rows: number, width: number): Buffer {
  const description = `{'descr': '<f4', 'fortran_order': False, 'shape': (${rows}, ${width}), }`;
  const fixed = 10;
  const length = Math.ceil((fixed + description.length + 1) / 64) * 64 - fixed;
  const head = Buffer.from([0x93, ...Buffer.from("NUMPY"), 1, 0, length & 255, length >> 8]);
  return Buffer.concat([head, Buffer.from(`${description.padEnd(length - 1, " ")}\n`)]);
}
