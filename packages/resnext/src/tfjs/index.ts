export type { Gradients } from "./backward.ts";
export type { TrainingPass } from "./forward.ts";
export { type ConvolutionEngine, convolutionEngine } from "./grouped.ts";
export { countCorrect, type Loss, softmaxCrossEntropy } from "./loss.ts";
export { Network, type NetworkOptions } from "./network.ts";
export { Optimizer, type OptimizerOptions } from "./optimizer.ts";
export type { Trainable } from "./plan.ts";
export { type Tensor, tensorflowVersion, tf } from "./tensorflow.ts";
export { GradientSum, type StepResult, type TrainingBatch, trainStep } from "./train-step.ts";
