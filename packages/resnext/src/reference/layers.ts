/** The layers as plain loops over NCHW images in float64: slow, obvious, and the truth for small nets. */
export interface Image {
  /** [N, C, H, W] */
  readonly shape: readonly [number, number, number, number];
  readonly data: Float64Array;
}

export function image(shape: Image["shape"]): Image {
  return { shape, data: new Float64Array(shape[0] * shape[1] * shape[2] * shape[3]) };
}

/** Side of the output of a convolution or pool: floor((side + 2 padding - kernel) / stride) + 1. */
function outputSide(side: number, { kernel, stride, padding }: { kernel: number; stride: number; padding: number }) {
  return Math.floor((side + 2 * padding - kernel) / stride) + 1;
}

export interface ConvShape {
  readonly outChannels: number;
  readonly kernel: number;
  readonly stride: number;
  readonly padding: number;
  readonly groups: number;
}

/** Grouped convolution, zero padded. Weight [out, in / groups, kernel, kernel]. */
export function conv(x: Image, weight: Float32Array, shape: ConvShape): Image {
  const [batch, , height, width] = x.shape;
  const { outChannels, groups } = shape;
  const y = image([batch, outChannels, outputSide(height, shape), outputSide(width, shape)]);
  let at = 0;
  for (let n = 0; n < batch; n++) {
    for (let out = 0; out < outChannels; out++) {
      const group = Math.floor(out / (outChannels / groups));
      for (let row = 0; row < y.shape[2]; row++) {
        for (let column = 0; column < y.shape[3]; column++) {
          y.data[at++] = convAt(x, weight, shape, { n, out, group, row, column });
        }
      }
    }
  }
  return y;
}

interface Position {
  readonly n: number;
  readonly out: number;
  readonly group: number;
  readonly row: number;
  readonly column: number;
}

function convAt(x: Image, weight: Float32Array, { kernel, stride, padding, groups }: ConvShape, at: Position): number {
  const [, channels, height, width] = x.shape;
  const perGroup = channels / groups;
  let sum = 0;
  for (let c = 0; c < perGroup; c++) {
    const plane = (at.n * channels + at.group * perGroup + c) * height;
    const filter = (at.out * perGroup + c) * kernel * kernel;
    for (let i = 0; i < kernel; i++) {
      const row = at.row * stride - padding + i;
      if (row < 0 || row >= height) continue;
      for (let j = 0; j < kernel; j++) {
        const column = at.column * stride - padding + j;
        if (column < 0 || column >= width) continue;
        sum += x.data[(plane + row) * width + column]! * weight[filter + i * kernel + j]!;
      }
    }
  }
  return sum;
}

export interface BatchNormParameters {
  readonly weight: Float32Array;
  readonly bias: Float32Array;
  readonly mean: Float32Array;
  readonly variance: Float32Array;
  readonly epsilon: number;
}

/** Batch normalisation in evaluation: (x - mean) / sqrt(variance + epsilon) * weight + bias, a channel at a time. */
export function batchNorm(x: Image, { weight, bias, mean, variance, epsilon }: BatchNormParameters): Image {
  const [, channels, height, width] = x.shape;
  const data = x.data.map((value, index) => {
    const c = Math.floor(index / (height * width)) % channels;
    return ((value - mean[c]!) / Math.sqrt(variance[c]! + epsilon)) * weight[c]! + bias[c]!;
  });
  return { shape: x.shape, data };
}

export function relu(x: Image): Image {
  return { shape: x.shape, data: x.data.map((value) => Math.max(0, value)) };
}

export function add(a: Image, b: Image): Image {
  if (a.shape.join() !== b.shape.join()) throw new RangeError(`cannot add [${b.shape}] to [${a.shape}]`);
  return { shape: a.shape, data: a.data.map((value, index) => value + b.data[index]!) };
}

/** Maximum of each window; what lies outside of the image never wins. */
export function maxPool(x: Image, shape: { kernel: number; stride: number; padding: number }): Image {
  const [batch, channels, height, width] = x.shape;
  const y = image([batch, channels, outputSide(height, shape), outputSide(width, shape)]);
  let at = 0;
  for (let plane = 0; plane < batch * channels; plane++) {
    for (let row = 0; row < y.shape[2]; row++) {
      for (let column = 0; column < y.shape[3]; column++) {
        let best = Number.NEGATIVE_INFINITY;
        for (let i = 0; i < shape.kernel; i++) {
          for (let j = 0; j < shape.kernel; j++) {
            const r = row * shape.stride - shape.padding + i;
            const c = column * shape.stride - shape.padding + j;
            if (r < 0 || r >= height || c < 0 || c >= width) continue;
            best = Math.max(best, x.data[(plane * height + r) * width + c]!);
          }
        }
        y.data[at++] = best;
      }
    }
  }
  return y;
}

/** Mean of each channel: [N, C, 1, 1]. */
export function globalAveragePool(x: Image): Image {
  const [batch, channels, height, width] = x.shape;
  const y = image([batch, channels, 1, 1]);
  x.data.forEach((value, index) => {
    y.data[Math.floor(index / (height * width))]! += value / (height * width);
  });
  return y;
}

/** x [N, in] times weight [out, in] transposed, plus bias: [N, out, 1, 1]. */
export function fullyConnected(x: Image, weight: Float32Array, bias: Float32Array): Image {
  const [batch, inFeatures] = x.shape;
  const y = image([batch, bias.length, 1, 1]);
  for (let n = 0; n < batch; n++) {
    for (let out = 0; out < bias.length; out++) {
      let sum = bias[out]!;
      for (let c = 0; c < inFeatures; c++) sum += x.data[n * inFeatures + c]! * weight[out * inFeatures + c]!;
      y.data[n * bias.length + out] = sum;
    }
  }
  return y;
}
