/** Optimisers, as requests choose them and recipes tell them. */
import { z } from "zod";

export const optimizerNameSchema = z.enum(["adam", "adamw", "sgd"]);

/** Updates as PyTorch's `Adam`, `AdamW` and `SGD` make them, with their defaults but for SGD's momentum. */
export const optimizerSchema = z
  .strictObject({
    name: optimizerNameSchema.default("adam"),
    learningRate: z.number().positive().max(1e6).default(1e-4),
    /** 0.01 with adamw, 0 with the others. adam and sgd add it to the gradient (L2), adamw decays the weights apart. */
    weightDecay: z.number().min(0).max(1e3).optional(),
    /** Of sgd only; 0.9. */
    momentum: z.number().min(0).lt(1).optional(),
    /** false: weight decay leaves the weights of BatchNorm and every bias alone. PyTorch decays all of them. */
    decayNormAndBias: z.boolean().default(true),
  })
  .refine(({ name, momentum }) => name === "sgd" || momentum === undefined, {
    error: "is for the optimizer sgd only",
    path: ["momentum"],
  })
  .transform(({ name, learningRate, weightDecay = name === "adamw" ? 0.01 : 0, momentum = 0.9, decayNormAndBias }) => {
    return { name, learningRate, weightDecay, ...(name === "sgd" && { momentum }), decayNormAndBias };
  });

/** Every value that an optimiser used. The defaults are what older versions did, whose recipes did not say it. */
export const usedOptimizerSchema = z.strictObject({
  name: optimizerNameSchema,
  learningRate: z.number(),
  weightDecay: z.number().default(0),
  momentum: z.number().optional(),
  decayNormAndBias: z.boolean().default(true),
});
