/** The training loop: batches and parameters in, checkpoints and a published model out. */
export { EXPORT_TOLERANCE } from "./export-check.ts";
export { evaluationTransform, learningRate, recipeOf } from "./recipe.ts";
export { runTraining, type TrainingOptions } from "./run-training.ts";
