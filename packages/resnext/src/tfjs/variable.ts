/**
 * A float32 tensor that lives in TensorFlow and is changed in place, as a resource: optimiser ops such as
 * ResourceApplyAdam then update a parameter in one pass and allocate nothing.
 *
 * Lives from its construction until dispose(). Invariant: nobody else holds the buffer at the time of an update,
 * or TensorFlow copies it first; so what read() gives is disposed before the next update.
 */
import { attribute, op, ops, type Tensor, tf } from "./tensorflow.ts";

const dtype = attribute.float32("dtype");
let created = 0;

export class Variable {
  readonly shape: readonly number[];
  readonly handle: Tensor;

  /** Starts with the values, row-major, and takes over the array: see write. */
  constructor(shape: readonly number[], values: Float32Array) {
    this.shape = shape;
    const name = attribute.string("shared_name", `cardinal-${process.pid}-${created++}`);
    const attributes = [dtype, attribute.shape("shape", shape), name, attribute.string("container", "")];
    this.handle = tf.keep(op("VarHandleOp", attributes, []));
    this.write(values);
  }

  /** The current value; the caller disposes it (or a surrounding tf.tidy does). */
  read(): Tensor {
    return op("ReadVariableOp", [dtype], [this.handle]);
  }

  /** Replaces the value by a tensor, which stays the caller's to dispose. */
  assign(value: Tensor): void {
    ops("AssignVariableOp", [dtype], [this.handle, value], 0);
  }

  /** Replaces the value. Takes over the array: TensorFlow may go on to use its memory, so nobody may write to it. */
  write(values: Float32Array): void {
    const value = tf.tensor(values, [...this.shape], "float32");
    this.assign(value);
    value.dispose();
  }

  /** A copy of the value. */
  values(): Float32Array {
    const value = this.read();
    const copy = value.dataSync() as Float32Array;
    value.dispose();
    return copy;
  }

  dispose(): void {
    ops("DestroyResourceOp", [], [this.handle], 0);
    this.handle.dispose();
  }
}
