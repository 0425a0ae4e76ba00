/**
 * A process of its own that trains and prints digests of where it ends, for determinism.test.ts.
 *
 *   node one-training.ts SEED
 */
import { createHash } from "node:crypto";
import { architecture, initParameters, type Parameters, Random } from "@cardinal/resnext";
import { Network, Optimizer, tf, trainStep } from "@cardinal/resnext/tfjs";

/** Of all names and bits. */
function digestOf(parameters: Parameters): string {
  const hash = createHash("sha256");
  for (const [name, { data }] of parameters) {
    hash.update(name).update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  }
  return hash.digest("hex");
}

const seed = Number(process.argv[2]);
const numClasses = 5;
// Large enough that TensorFlow shares each layer's work among its threads.
const arch = { ...architecture("resnext50_32x4d"), layers: [1, 1, 1], planes: [64, 128, 256] };
const [batch, side] = [4, 112];
const random = new Random(seed);
using network = new Network(arch, numClasses, initParameters(arch, numClasses, seed));
using optimizer = new Optimizer(network, { name: "adamw", weightDecay: 0.01 });
const losses: number[] = [];
for (let step = 0; step < 3; step++) {
  const pixels = Float32Array.from({ length: batch * side * side * 3 }, () => 4 * random.uniform() - 2);
  const labels = Int32Array.from({ length: batch }, () => random.uint32() % numClasses);
  const x = tf.tensor4d(pixels, [batch, side, side, 3]);
  losses.push(trainStep(network, optimizer, { x, labels }, 1e-3).loss);
  x.dispose();
}
console.log(JSON.stringify({ parameters: digestOf(network.parameters()), state: digestOf(optimizer.state()), losses }));
