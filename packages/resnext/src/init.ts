import type { Architecture } from "./architecture.ts";
import { elementCount, type ParameterSpec, type ParameterTensor, parameterSpecs } from "./parameters.ts";
import { Random } from "./random.ts";

/**
 * Fresh parameters as torchvision makes them; the same for the same seed on every machine.
 * Convolutions: kaiming normal, fan_out, gain of ReLU: N(0, 2 / (out * k * k)), fan_out not divided by the groups.
 * BatchNorm: weight 1, bias 0, running mean 0 and variance 1. fc: U(-1/sqrt(in), 1/sqrt(in)), weight and bias.
 */
export function initParameters(arch: Architecture, numClasses: number, seed: number): Map<string, ParameterTensor> {
  const random = new Random(seed);
  const specs = parameterSpecs(arch, numClasses);
  return new Map(specs.map((spec) => [spec.name, initTensor(spec, arch, random)]));
}

/** A fresh last layer alone (`fc.weight`, `fc.bias`), the same for the same seed on every machine. */
export function initHead(arch: Architecture, numClasses: number, seed: number): Map<string, ParameterTensor> {
  const random = new Random(seed);
  const specs = parameterSpecs(arch, numClasses).filter(({ kind }) => kind === "fc weight" || kind === "fc bias");
  return new Map(specs.map((spec) => [spec.name, initTensor(spec, arch, random)]));
}

function initTensor(spec: ParameterSpec, arch: Architecture, random: Random): ParameterTensor {
  const { shape } = spec;
  if (spec.kind === "num_batches_tracked") return { shape, data: new BigInt64Array(1) };
  const data = new Float32Array(elementCount(shape));
  switch (spec.kind) {
    case "conv weight": {
      const deviation = Math.sqrt(2 / (shape[0]! * shape[2]! * shape[3]!));
      for (let index = 0; index < data.length; index++) data[index] = deviation * random.normal();
      break;
    }
    case "fc weight":
    case "fc bias": {
      const bound = 1 / Math.sqrt(arch.planes.at(-1)! * arch.expansion);
      for (let index = 0; index < data.length; index++) data[index] = bound * (2 * random.uniform() - 1);
      break;
    }
    case "bn weight":
    case "running_var":
      data.fill(1);
      break;
  }
  return { shape, data };
}
