import assert from "node:assert/strict";
import { test } from "node:test";
import { maxPoolForm, tf } from "@cardinal/resnext/tfjs";
import { maxPoolGradient, maxPoolTraining } from "../src/tfjs/max-pool.ts";

const window = { kernel: 3, stride: 2, padding: 1 };

test("this process's libtensorflow has max-pooling with a workspace", () => {
  assert.equal(maxPoolForm(), "workspace");
});

// Few levels: most windows have equal maxima, or nothing above zero.
for (const [side, channels, levels] of [
  [112, 64, 1000],
  [17, 5, 2],
  [16, 64, 4],
  [7, 3, 1000],
] as const) {
  test(`max-pooling of ${side}x${side}x${channels}, ${levels} levels: both forms agree where a ReLU passes`, () => {
    tf.tidy(() => {
      const x = tf.relu(tf.round(tf.randomNormal([2, side, side, channels], 0, levels / 2, "float32", 1)));
      const dy = tf.randomNormal([2, Math.ceil(side / 2), Math.ceil(side / 2), channels], 0, 1, "float32", 2);
      const passes = tf.greater(x, 0);
      const [fast, slow] = (["workspace", "search"] as const).map((form) => {
        const { y, reserve } = maxPoolTraining(x, window, form);
        return { y, dx: tf.mul(maxPoolGradient({ x, y, dy, reserve }, window), passes) };
      });
      assert.deepEqual(fast!.y.dataSync(), slow!.y.dataSync());
      assert.deepEqual(fast!.dx.shape, x.shape);
      // Up to four windows share a value, and their gradients are added in another order.
      assert.ok(tf.max(tf.abs(tf.sub(fast!.dx, slow!.dx))).dataSync()[0]! < 1e-5);
      assert.ok(tf.sum(tf.abs(slow!.dx)).dataSync()[0]! > 0);
    });
  });
}
