/**
 * One model in ONNX Runtime on the CPU.
 *
 * `run` blocks the thread that calls it (the binding computes synchronously), so a process that has locks to renew or
 * requests to answer must not call it: the workers do it in a child process.
 */
import "./quiet-runtime.ts";
import { problem } from "@cardinal/contracts";
import { InferenceSession, Tensor } from "onnxruntime-node";

export interface SessionOptions {
  /** Threads that one operator may use: the machine's cores over the number of processes that compute on it. */
  threads: number;
}

/**
 * Input channels that a 1x1 convolution adds up before it writes its sums (ONNX Runtime's own value is 128). With large
 * pages (the predict-worker's compute process asks for them) ResNeXt-50 runs 2% faster so, mostly in its last stage,
 * whose filters do not fit into a core's cache; 1024 and more gains nothing further.
 */
const POINTWISE_CHANNELS = "512";

export interface OnnxSession {
  /** Side of the square input in pixels. */
  readonly side: number;
  /** Number of classes: values in a row of logits. */
  readonly classes: number;
  /**
   * Logits of `count` images, row by row: [count, classes] from float32 NCHW [count, 3, side, side]. `data` may be
   * longer; it must not change until the promise is settled.
   */
  run(data: Float32Array, count: number): Promise<Float32Array>;
  /** Values in a row of features: what the last layer is given. */
  readonly featureWidth: number;
  /** Features, [count, featureWidth], of the same input as `run`'s. */
  features(data: Float32Array, count: number): Promise<Float32Array>;
  /** Frees the native memory. The session cannot run any more. */
  release(): Promise<void>;
}

/**
 * Loads a model that `exportOnnx` wrote. Throws `model_corrupt` when ONNX Runtime cannot read it or it has no input
 * [batch, 3, side, side] and outputs `logits` [batch, classes] and `features` [batch, featureWidth].
 */
export async function loadSession(onnxPath: string, options: SessionOptions): Promise<OnnxSession> {
  const session = await InferenceSession.create(onnxPath, {
    executionProviders: ["cpu"],
    intraOpNumThreads: options.threads,
    interOpNumThreads: 1,
    executionMode: "sequential",
    graphOptimizationLevel: "all",
    // The arena keeps what the largest batch needed and takes nothing more after it.
    enableCpuMemArena: true,
    // A plan of the memory for each batch size: 55 MB more at batch 4, and not quicker.
    enableMemPattern: false,
    extra: { mlas: { nchwc_pointwise_conv_max_input_channel_batch: POINTWISE_CHANNELS } },
    logSeverityLevel: 3,
  }).catch((cause: Error) => {
    throw problem("model_corrupt", `ONNX Runtime cannot load ${onnxPath}: ${cause.message}`, undefined, cause);
  });
  try {
    return describe(session, onnxPath);
  } catch (error) {
    await session.release();
    throw error;
  }
}

function describe(session: InferenceSession, onnxPath: string): OnnxSession {
  const input = shapeOf(session.inputMetadata, "input");
  const output = shapeOf(session.outputMetadata, "logits");
  const [side, classes] = [input?.[2], output?.[1]];
  const featureWidth = shapeOf(session.outputMetadata, "features")?.[1];
  const isSquare = typeof side === "number" && input?.[1] === 3 && input[3] === side;
  if (!isSquare || typeof classes !== "number" || typeof featureWidth !== "number") {
    throw problem(
      "model_corrupt",
      `${onnxPath} has input ${JSON.stringify(input)} and logits ${JSON.stringify(output)}, ` +
        "not [batch, 3, side, side] and [batch, classes]",
    );
  }
  const perImage = 3 * side * side;
  const fetch = async (output: "logits" | "features", data: Float32Array, count: number) => {
    const feed = new Tensor("float32", data.subarray(0, count * perImage), [count, 3, side, side]);
    return (await session.run({ input: feed }, [output]))[output]!.data as Float32Array;
  };
  return {
    side,
    classes,
    featureWidth,
    run: (data, count) => fetch("logits", data, count),
    features: (data, count) => fetch("features", data, count),
    release: () => session.release(),
  };
}

/** Dimensions of a named input or output; a dynamic one is its name. */
function shapeOf(
  metadata: readonly InferenceSession.ValueMetadata[],
  name: string,
): readonly (number | string)[] | undefined {
  const value = metadata.find((entry) => entry.name === name);
  return value?.isTensor ? value.shape : undefined;
}
