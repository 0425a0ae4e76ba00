import { type Tensor, tf } from "./tensorflow.ts";

/**
 * Every stride-th row and column, the first included. As a slice of a view, which is several times faster on the CPU
 * than TensorFlow's StridedSlice.
 */
export function subsample(x: Tensor, stride: number): Tensor {
  if (stride === 1) return x;
  const [batch, height, width, channels] = x.shape as [number, number, number, number];
  const [rows, columns] = [Math.ceil(height / stride), Math.ceil(width / stride)];
  const missing = [rows * stride - height, columns * stride - width] as [number, number];
  const full =
    missing[0] + missing[1] > 0
      ? tf.pad(x, [
          [0, 0],
          [0, missing[0]],
          [0, missing[1]],
          [0, 0],
        ])
      : x;
  const view = tf.reshape(full, [batch * rows, stride, columns, stride * channels]);
  return tf.reshape(tf.slice(view, [0, 0, 0, 0], [-1, 1, -1, channels]), [batch, rows, columns, channels]);
}

/** The inverse of subsample: stride - 1 zeros behind every row and column, also behind the last. */
export function insertZeros(dy: Tensor, stride: number): Tensor {
  if (stride === 1) return dy;
  const [batch, rows, columns, channels] = dy.shape as [number, number, number, number];
  const view = tf.reshape(dy, [batch * rows, 1, columns, channels]);
  const padded = tf.pad(view, [
    [0, 0],
    [0, stride - 1],
    [0, 0],
    [0, (stride - 1) * channels],
  ]);
  return tf.reshape(padded, [batch, rows * stride, columns * stride, channels]);
}
