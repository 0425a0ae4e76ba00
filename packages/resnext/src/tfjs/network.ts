/**
 * A network in TensorFlow: parameters as variables, explicit forward and backward passes that free what they no longer
 * need (tfjs's tape would hold every intermediate tensor until the end of the step).
 *
 * States: live, then disposed (for good). A TrainingPass made by forwardTrain is used up by backward or given up by
 * its dispose(); several may be alive at a time. Invariants: parameters change only by load, by an optimiser's step
 * and (running statistics of stages that learn) by forwardTrain; a frozen stage's are never written.
 */
import { type Architecture, featureChannels, stageNames } from "../architecture.ts";
import { featuresId, inputId, logitsId } from "../layer-graph.ts";
import {
  checkParameters,
  floats,
  isLearned,
  type ParameterSpec,
  type Parameters,
  type ParameterTensor,
  parameterSpecs,
} from "../parameters.ts";
import { backward, type Gradients } from "./backward.ts";
import { forwardInference, forwardTraining, type Layers, type PassInput, type TrainingPass } from "./forward.ts";
import { type ConvolutionEngine, convolutionEngine } from "./grouped.ts";
import { fromNative, nativeShape, toNative } from "./layout.ts";
import { makePlan, type Trainable } from "./plan.ts";
import type { Tensor } from "./tensorflow.ts";
import { Variable } from "./variable.ts";

export interface NetworkOptions {
  /** "all" (the default), or the first stage that learns: what lies before it is frozen, bit for bit. */
  readonly trainable?: Trainable;
  /** The form of grouped convolutions; what convolutionEngine() probed unless given. */
  readonly engine?: ConvolutionEngine;
}

export class Network {
  readonly architecture: Architecture;
  readonly numClasses: number;
  readonly trainable: Trainable;
  /** Specs of the parameters that an optimiser changes, in state_dict order. */
  readonly learned: readonly ParameterSpec[];
  /** Specs of all that training changes: the learned ones, and the running statistics of the stages that learn. */
  readonly changing: readonly ParameterSpec[];
  readonly #specs: readonly ParameterSpec[];
  readonly #variables = new Map<string, Variable>();
  /** num_batches_tracked of each BatchNorm, by its prefix. */
  readonly #batches = new Map<string, bigint>();
  readonly #layers: Layers;

  /** Copies the parameters. Throws ParameterError when they are not the architecture's. */
  constructor(arch: Architecture, numClasses: number, parameters: Parameters, options: NetworkOptions = {}) {
    checkParameters(arch, numClasses, parameters);
    this.architecture = arch;
    this.numClasses = numClasses;
    this.trainable = options.trainable ?? "all";
    this.#specs = parameterSpecs(arch, numClasses);
    this.#layers = {
      plan: makePlan(arch, numClasses, this.trainable),
      engine: options.engine ?? convolutionEngine(),
      variable: (name) => this.variable(name),
      countBatch: (bn) => this.#batches.set(bn, this.#batches.get(bn)! + 1n),
    };
    const stages = stageNames(arch);
    const first = this.trainable === "all" ? 0 : stages.indexOf(this.trainable);
    this.changing = this.#specs.filter((spec) => stages.indexOf(spec.stage) >= first);
    this.learned = this.changing.filter(isLearned);
    for (const spec of this.#specs) {
      if (spec.kind === "num_batches_tracked") this.#setBatches(spec, parameters);
      else this.#variables.set(spec.name, this.#newVariable(spec, parameters));
    }
  }

  /**
   * Logits [N, classes] in evaluation mode for x: images [N, H, W, 3], normalised, or their features [N, channels].
   * The caller disposes them.
   */
  predict(x: Tensor): Tensor {
    return forwardInference(this.#layers, x.rank === 2 ? this.#featuresInput(x) : this.#imagesInput(x), logitsId);
  }

  /** Features [N, channels] (global average pool) in evaluation mode. The caller disposes them. */
  features(x: Tensor): Tensor {
    return forwardInference(this.#layers, this.#imagesInput(x), featuresId);
  }

  /**
   * Training mode for images [N, H, W, 3], or, where only the head learns, for their features [N, channels] (a frozen
   * backbone gives the same ones every time). Give the pass to backward, or dispose it. Updates running statistics.
   */
  forwardTrain(x: Tensor): TrainingPass {
    if (x.rank !== 2) return forwardTraining(this.#layers, this.#imagesInput(x));
    if (this.trainable !== "head") throw new RangeError(`features train only the head, not "${this.trainable}"`);
    return forwardTraining(this.#layers, this.#featuresInput(x));
  }

  /** Gradients of the learned parameters for dLogits [N, classes]; uses up the pass. The caller disposes them. */
  backward(pass: TrainingPass, dLogits: Tensor): Gradients {
    return backward(this.#layers, pass, dLogits);
  }

  /** The variable of a float parameter, for optimisers. */
  variable(name: string): Variable {
    const variable = this.#variables.get(name);
    if (!variable) throw new Error(`the network has no variable ${name}`);
    return variable;
  }

  /** A copy of the state_dict: torchvision's names, shapes and order. */
  parameters(): Map<string, ParameterTensor> {
    const entry = (spec: ParameterSpec): ParameterTensor => {
      if (spec.kind !== "num_batches_tracked") return this.#torchTensor(spec, this.variable(spec.name).values());
      return { shape: spec.shape, data: BigInt64Array.of(this.#batches.get(bnPrefix(spec))!) };
    };
    return new Map(this.#specs.map((spec) => [spec.name, entry(spec)]));
  }

  /** Replaces all parameters by copies. Throws ParameterError, and changes nothing, when they do not fit. */
  load(parameters: Parameters): void {
    checkParameters(this.architecture, this.numClasses, parameters);
    for (const spec of this.#specs) {
      if (spec.kind === "num_batches_tracked") this.#setBatches(spec, parameters);
      else this.variable(spec.name).write(toNative(spec, floats(parameters, spec.name)));
    }
  }

  /** Gradients, or an optimiser's moments, as tensors of torchvision's names and shapes. */
  toParameters(tensors: ReadonlyMap<string, Tensor | Variable>): Map<string, ParameterTensor> {
    const specs = this.#specs.filter((spec) => tensors.has(spec.name));
    return new Map(specs.map((spec) => [spec.name, this.#torchTensor(spec, valuesOf(tensors.get(spec.name)!))]));
  }

  dispose(): void {
    for (const variable of this.#variables.values()) variable.dispose();
    this.#variables.clear();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #torchTensor(spec: ParameterSpec, native: Float32Array): ParameterTensor {
    return { shape: spec.shape, data: fromNative(spec, native) };
  }

  #newVariable(spec: ParameterSpec, parameters: Parameters): Variable {
    return new Variable(nativeShape(spec), toNative(spec, floats(parameters, spec.name)));
  }

  #setBatches(spec: ParameterSpec, parameters: Parameters): void {
    this.#batches.set(bnPrefix(spec), (parameters.get(spec.name)!.data as BigInt64Array)[0]!);
  }

  #featuresInput(x: Tensor): PassInput {
    const channels = featureChannels(this.architecture);
    if (x.shape[1] !== channels || x.dtype !== "float32") {
      throw new RangeError(`features must be float32 [N, ${channels}], not ${x.dtype} [${x.shape}]`);
    }
    return { x, id: featuresId };
  }

  #imagesInput(x: Tensor): PassInput {
    const { minImageSize, name } = this.architecture;
    const [, height = 0, width = 0, channels] = x.shape;
    if (x.rank !== 4 || channels !== 3 || x.dtype !== "float32") {
      throw new RangeError(`images must be float32 [N, H, W, 3], not ${x.dtype} [${x.shape}]`);
    }
    if (height < minImageSize || width < minImageSize) {
      throw new RangeError(`${name} needs images of at least ${minImageSize} pixels, not ${height}x${width}`);
    }
    return { x, id: inputId };
  }
}

function bnPrefix(spec: ParameterSpec): string {
  return spec.name.slice(0, -".num_batches_tracked".length);
}

function valuesOf(tensor: Tensor | Variable): Float32Array {
  return tensor instanceof Variable ? tensor.values() : (tensor.dataSync() as Float32Array);
}
