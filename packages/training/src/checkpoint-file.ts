/**
 * A checkpoint: one safetensors file with the network's state_dict under `model.`, the optimiser's state under
 * `optimizer.` and the training's state as JSON in the file's metadata. The same values always give the same bytes.
 */
import { decodeSafetensors, encodeSafetensors } from "@cardinal/checkpoint";
import { problem } from "@cardinal/contracts";
import type { Parameters, ParameterTensor } from "@cardinal/resnext";
import { type TrainingState, trainingStateSchema } from "./training-state.ts";

/** Raise when a checkpoint changes in a way that an older worker would misread. */
const FORMAT = "cardinal-training-1";

export interface Checkpoint {
  /** torchvision's names, shapes and order; of the stages that learn. */
  parameters: Parameters;
  optimizer: Parameters;
  state: TrainingState;
}

/** Throws `loss_not_finite` when a tensor holds a value that is not finite: nothing could be continued from it. */
export function encodeCheckpoint({ parameters, optimizer, state }: Checkpoint): Uint8Array {
  for (const [name, tensor] of [...parameters, ...optimizer]) refuseNonFinite(name, tensor, state.step);
  const tensors = new Map([...prefixed("model.", parameters), ...prefixed("optimizer.", optimizer)]);
  return encodeSafetensors(tensors, { format: FORMAT, state: JSON.stringify(state) });
}

/** Throws `invalid_checkpoint` for bytes that no `encodeCheckpoint` of this version wrote. */
export function decodeCheckpoint(bytes: Uint8Array): Checkpoint {
  const { tensors, metadata } = decodeSafetensors(bytes);
  if (metadata.format !== FORMAT) {
    throw problem("invalid_checkpoint", `the checkpoint has the format ${metadata.format}, not ${FORMAT}`);
  }
  const parameters = withoutPrefix("model.", tensors);
  return { parameters, optimizer: withoutPrefix("optimizer.", tensors), state: parseState(metadata.state) };
}

function parseState(text = ""): TrainingState {
  try {
    return trainingStateSchema.parse(JSON.parse(text));
  } catch (cause) {
    throw problem("invalid_checkpoint", "the checkpoint's state cannot be read", undefined, cause);
  }
}

function prefixed(prefix: string, tensors: Parameters): [string, ParameterTensor][] {
  return Array.from(tensors, ([name, tensor]) => [prefix + name, tensor]);
}

/** The tensors whose names begin with the prefix, by what follows it. */
export function withoutPrefix(prefix: string, tensors: Parameters): Parameters {
  const chosen = [...tensors].filter(([name]) => name.startsWith(prefix));
  return new Map(chosen.map(([name, tensor]) => [name.slice(prefix.length), tensor]));
}

function refuseNonFinite(name: string, { data }: ParameterTensor, step: number): void {
  if (data instanceof BigInt64Array) return;
  let index = 0;
  while (index < data.length && Number.isFinite(data[index])) index++; // a plain loop: there may be 10^8 values
  if (index === data.length) return;
  throw problem("loss_not_finite", `after step ${step} ${name} holds ${data[index]}: the training has diverged`, {
    step,
    tensor: name,
  });
}
