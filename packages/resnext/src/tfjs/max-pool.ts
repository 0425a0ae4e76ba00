/**
 * Max-pooling in training, of what a ReLU gave. Two forms, chosen once per process by a probe:
 *
 * - workspace: the two ops of oneDNN that TensorFlow puts into its graphs; the first remembers where the maxima were.
 * - search: the public MaxPoolGrad, which looks for the maxima again. For 16 images in the 7x7 stem (112x112x64) that
 *   takes 88 ms of CPU time, 3% of a step of ResNeXt-50; the workspace 5.
 *
 * Both give the gradient to the first of equal maxima, row by row, as PyTorch does. The workspace ops take no explicit
 * padding, so zeros are put around x: no value of a ReLU is below them, and where a window has nothing above zero the
 * ReLU lets no gradient through. They are internal to TensorFlow, so only the version that was checked is probed.
 */
import { maxPool, maxPoolGradient as searchGradient, type Window } from "./kernels.ts";
import { attribute, op, ops, type Tensor, tensorflowVersion, tf } from "./tensorflow.ts";

export type MaxPoolForm = "workspace" | "search";

let probed: MaxPoolForm | undefined;

/** Which form this process uses: probed at the first call with a tiny image. */
export function maxPoolForm(): MaxPoolForm {
  probed ??= tensorflowVersion.startsWith("2.21.") ? probe() : "search";
  return probed;
}

function probe(): MaxPoolForm {
  return tf.tidy(() => {
    const x = tf.tensor4d([1, 2, 4, 3], [1, 2, 2, 1]);
    const window: Window = { kernel: 3, stride: 2, padding: 1 };
    try {
      const { y, reserve } = maxPoolTraining(x, window, "workspace");
      const dx = maxPoolGradient({ x, y, dy: tf.tensor4d([5], [1, 1, 1, 1]), reserve }, window);
      return `${y.dataSync()} ${dx.dataSync()}` === "4 0,0,5,0" ? "workspace" : "search";
    } catch {
      return "search";
    }
  });
}

/** No value of x may be negative. `reserve` is for the gradient: the workspace, or nothing. */
export function maxPoolTraining(x: Tensor, window: Window, form: MaxPoolForm): { y: Tensor; reserve: Tensor[] } {
  if (form === "search") return { y: maxPool(x, window), reserve: [] };
  const [y, workspace] = ops("_MklNativeMaxPool", workspaceAttributes(window), [withBorder(x, window.padding)], 2);
  return { y: y!, reserve: [workspace!] };
}

interface MaxPoolTensors {
  readonly x: Tensor;
  readonly y: Tensor;
  readonly dy: Tensor;
  readonly reserve: readonly Tensor[];
}

/** Gradient with respect to x, meaningful where x is above zero. Call within tf.tidy. */
export function maxPoolGradient({ x, y, dy, reserve }: MaxPoolTensors, window: Window): Tensor {
  const { padding } = window;
  if (reserve.length === 0) return searchGradient({ x, y, dy }, window);
  const inputs = [withBorder(x, padding), y, dy, ...reserve];
  const gradient = op("_MklNativeMaxPoolGrad", workspaceAttributes(window), inputs);
  return tf.slice(gradient, [0, padding, padding, 0], x.shape);
}

function withBorder(x: Tensor, padding: number): Tensor {
  const [none, sides] = [[0, 0] as [number, number], [padding, padding] as [number, number]];
  return tf.pad(x, [none, sides, sides, none]);
}

function workspaceAttributes({ kernel, stride }: Window) {
  return [
    attribute.float32("T"),
    attribute.int("ksize", [1, kernel, kernel, 1]),
    attribute.int("strides", [1, stride, stride, 1]),
    attribute.string("padding", "VALID"),
    attribute.string("data_format", "NHWC"),
    attribute.bool("workspace_enabled", true),
    attribute.string("_kernel", "MklNameChangeOp"),
  ];
}
