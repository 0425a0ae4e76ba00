/**
 * The only importer of tfjs-node, and access to TensorFlow's own ops by name, which tfjs does not have all of.
 *
 * Threads are the process's business and are read once, at the first op: TF_NUM_INTRAOP_THREADS (Eigen and, in
 * libtensorflow of PyPI, oneDNN) and OMP_NUM_THREADS (oneDNN built with OpenMP); without them every core is used.
 */
import "./node-compat.ts";
import * as tf from "@tensorflow/tfjs-node";

export type Tensor = tf.Tensor;

interface Attribute {
  readonly name: string;
  readonly type: number;
  readonly value: unknown;
}

interface Native {
  readonly binding: Readonly<Record<string, number>> & { readonly TF_Version: string };
  executeSingleOutput(name: string, attributes: Attribute[], inputs: Tensor[]): Tensor;
  executeMultipleOutputs(name: string, attributes: Attribute[], inputs: Tensor[], outputs: number): Tensor[];
}

/** The backend, checked: another one active (`tf.setBackend("cpu")`) would silently be a hundred times slower. */
function backend(): Native {
  if (tf.getBackend() !== "tensorflow")
    throw new Error(`the active tfjs backend is ${tf.getBackend()}, not tensorflow`);
  return tf.backend() as unknown as Native;
}

const native = backend();
const { binding } = native;

/** Version of the libtensorflow in this process. */
export const tensorflowVersion = binding.TF_Version;

/** Attributes of an op; which of the kinds a value is cannot be told from the value. */
export const attribute = {
  float: (name: string, value: number): Attribute => ({ name, type: binding.TF_ATTR_FLOAT!, value }),
  int: (name: string, value: number | readonly number[]): Attribute => ({ name, type: binding.TF_ATTR_INT!, value }),
  bool: (name: string, value: boolean): Attribute => ({ name, type: binding.TF_ATTR_BOOL!, value }),
  string: (name: string, value: string): Attribute => ({ name, type: binding.TF_ATTR_STRING!, value }),
  shape: (name: string, value: readonly number[]): Attribute => ({ name, type: binding.TF_ATTR_SHAPE!, value }),
  float32: (name: string): Attribute => ({ name, type: binding.TF_ATTR_TYPE!, value: binding.TF_FLOAT }),
  int32: (name: string): Attribute => ({ name, type: binding.TF_ATTR_TYPE!, value: binding.TF_INT32 }),
};

/** Runs an op with one output. Throws TensorFlow's own message for shapes or attributes that it does not take. */
export function op(name: string, attributes: Attribute[], inputs: Tensor[]): Tensor {
  return native.executeSingleOutput(name, attributes, inputs);
}

/** Runs an op with any number of outputs. */
export function ops(name: string, attributes: Attribute[], inputs: Tensor[], outputs: number): Tensor[] {
  return native.executeMultipleOutputs(name, attributes, inputs, outputs);
}

export { tf };
