/** Cardinal's side of `train-step`: the step of the train-worker's compute process. Argument: file of images. */
import { Network, Optimizer, tensorflowVersion, tf, trainStep } from "@cardinal/resnext/tfjs";
import { answerLines, imagesPerSecond } from "../line-child.ts";
import { network as arch, BATCH, CLASSES, freshParameters, LEARNING_RATE, labels, readImages, SIDE } from "./model.ts";

const network = new Network(arch, CLASSES, freshParameters());
const optimizer = new Optimizer(network, { name: "adam" });
const pixels = readImages(process.argv[2]!);
const classes = labels();

function step(): number {
  const x = tf.tensor4d(pixels, [BATCH, SIDE, SIDE, 3]);
  try {
    return trainStep(network, optimizer, { x, labels: classes }, LEARNING_RATE).loss;
  } finally {
    x.dispose();
  }
}

const losses = ({ steps }: { steps: number }) => Array.from({ length: steps }, step);

const rate = async ({ seconds }: { seconds: number }) => {
  const before = process.cpuUsage();
  let steps = 0;
  const imagesPerSec = await imagesPerSecond(seconds, async () => {
    step();
    steps++;
    return BATCH;
  });
  const { user, system } = process.cpuUsage(before);
  return { imagesPerSecond: imagesPerSec, cpuSeconds: (user + system) / 1e6 / steps };
};

/** In GB (10^9 bytes). */
const peakRss = () => (process.resourceUsage().maxRSS * 1024) / 1e9;

await answerLines({ libtensorflow: tensorflowVersion }, { losses, rate, peakRss });
