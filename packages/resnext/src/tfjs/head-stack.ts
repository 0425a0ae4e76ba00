/**
 * Many last layers on the same features, each with an optimiser of its own, trained together on the same batches: by a
 * group for each kind of optimiser. A head gets the numbers that it would get alone, but for the order of summation in
 * a wider matrix product.
 *
 * States: live, then disposed (for good). `keep` only ever makes a stack narrower.
 */
import type { Parameters, ParameterTensor } from "../parameters.ts";
import { type HeadBatch, type HeadFigures, HeadGroup, type HeadOptions, namesOf } from "./head-group.ts";
import { type Tensor, tf } from "./tensorflow.ts";

const KINDS = ["adam", "adamw", "sgd"] as const;

export interface HeadShape {
  channels: number;
  classes: number;
}

export class HeadStack implements Disposable {
  readonly #shape: HeadShape;
  #groups: HeadGroup[];

  private constructor(shape: HeadShape, groups: HeadGroup[]) {
    this.#shape = shape;
    this.#groups = groups;
  }

  /** All heads begin as the same one: `fc.weight` [classes, channels] and `fc.bias` [classes] of a state_dict. */
  static fresh(shape: HeadShape, heads: ReadonlyMap<number, HeadOptions>, head: Parameters): HeadStack {
    const start = { weight: floatsOf(head, "fc.weight"), bias: floatsOf(head, "fc.bias") };
    const groups = grouped(heads).map((members) => {
      const columns = members.length * shape.classes;
      const state = new Map<string, Float32Array>();
      for (const name of namesOf(members[0]!.name)) {
        state.set(name, new Float32Array(columns * (name.endsWith("bias") ? 1 : shape.channels)));
      }
      members.forEach(({ learningRate }, at) => {
        eachValue(shape, members.length, at, (torch, native, part) => {
          state.get(part)![native] = start[part][torch]! / learningRate;
        });
      });
      return new HeadGroup(members, shape.classes, state);
    });
    return new HeadStack(shape, groups);
  }

  /** The heads of a stack whose `state` this is. Throws RangeError when it is not that of these heads. */
  static restored(shape: HeadShape, heads: ReadonlyMap<number, HeadOptions>, state: Parameters): HeadStack {
    const groups = grouped(heads).map((members) => {
      const prefix = `${members[0]!.name}.`;
      const own = [...state].filter(([name]) => name.startsWith(prefix));
      const values = new Map(
        own.map(([name, { data }]) => [name.slice(prefix.length), (data as Float32Array).slice()]),
      );
      const expected = shape.channels * members.length * shape.classes;
      if (values.get("weight")?.length !== expected) {
        throw new RangeError(`the ${members[0]!.name} heads have not the ${expected} weights of ${members.length}`);
      }
      return new HeadGroup(members, shape.classes, values);
    });
    return new HeadStack(shape, groups);
  }

  /** Ids of the heads, as all calls that give figures order them. */
  get ids(): number[] {
    return this.#groups.flatMap(({ heads }) => heads.map(({ id }) => id));
  }

  /** Adds a batch's gradients to the step's; figures by head id. */
  add(batch: HeadBatch): Map<number, HeadFigures> {
    const figures = this.#groups.map((group) =>
      group.add(batch).map((each, at) => [group.heads[at]!.id, each] as const),
    );
    return new Map(figures.flat());
  }

  /** Updates all heads, the `step`-th time (from 1), at `factor` of their learning rates. */
  apply(factor: number, step: number): void {
    for (const group of this.#groups) group.apply(factor, step);
  }

  /** Logits [N, classes] of each head, by id. */
  logits(x: Tensor): Map<number, Float32Array> {
    const { classes } = this.#shape;
    const entries = this.#groups.flatMap((group) => {
      const count = group.heads.length;
      const all = tf.tidy(() => group.logits(x).dataSync<"float32">());
      const rows = all.length / (count * classes);
      return group.heads.map(({ id }, at) => {
        const own = new Float32Array(rows * classes);
        for (let row = 0; row < rows; row++) {
          const from = (row * count + at) * classes;
          own.set(all.subarray(from, from + classes), row * classes);
        }
        return [id, own] as const;
      });
    });
    return new Map(entries);
  }

  /** `fc.weight` and `fc.bias` of these heads, as they are now. */
  parameters(ids: readonly number[]): Map<number, Map<string, ParameterTensor>> {
    const { channels, classes } = this.#shape;
    const found = new Map<number, Map<string, ParameterTensor>>();
    for (const group of this.#groups) {
      const wanted = group.heads.flatMap((head, at) => (ids.includes(head.id) ? [{ head, at }] : []));
      if (wanted.length === 0) continue;
      const state = group.state();
      for (const { head, at } of wanted) {
        const own = { weight: new Float32Array(classes * channels), bias: new Float32Array(classes) };
        eachValue(this.#shape, group.heads.length, at, (torch, native, part) => {
          own[part][torch] = state.get(part)![native]! * head.learningRate;
        });
        const weight = { shape: [classes, channels], data: own.weight };
        const bias = { shape: [classes], data: own.bias };
        found.set(head.id, new Map(Object.entries({ "fc.weight": weight, "fc.bias": bias })));
      }
    }
    return found;
  }

  /** Leaves the other heads out from now on; every bit of these stays. */
  keep(ids: readonly number[]): void {
    this.#groups = this.#groups.flatMap((group) => {
      const places = group.heads.flatMap(({ id }, at) => (ids.includes(id) ? [at] : []));
      if (places.length === group.heads.length) return [group];
      const state = group.state();
      group.dispose();
      if (places.length === 0) return [];
      const narrower = new Map([...state].map(([name, all]) => [name, this.#columns(all, group.heads.length, places)]));
      const heads = places.map((at) => group.heads[at]!);
      return [new HeadGroup(heads, this.#shape.classes, narrower)];
    });
  }

  /** A copy of all that a step changes, by `<optimiser>.<name>`; restored() takes it. */
  state(): Map<string, ParameterTensor> {
    const { channels, classes } = this.#shape;
    const entries = this.#groups.flatMap((group) => {
      const columns = group.heads.length * classes;
      return [...group.state()].map(([name, data]): [string, ParameterTensor] => {
        const shape = name.endsWith("bias") ? [columns] : [channels, columns];
        return [`${group.heads[0]!.name}.${name}`, { shape, data }];
      });
    });
    return new Map(entries);
  }

  [Symbol.dispose](): void {
    for (const group of this.#groups) group.dispose();
    this.#groups = [];
  }

  #columns(all: Float32Array, heads: number, places: readonly number[]): Float32Array {
    const { classes } = this.#shape;
    const rows = all.length / (heads * classes);
    const chosen = new Float32Array(rows * places.length * classes);
    for (let row = 0; row < rows; row++) {
      places.forEach((place, at) => {
        const from = (row * heads + place) * classes;
        chosen.set(all.subarray(from, from + classes), (row * places.length + at) * classes);
      });
    }
    return chosen;
  }
}

/** The heads by kind of optimiser, in the order of KINDS, within one in that of the map. */
function grouped(heads: ReadonlyMap<number, HeadOptions>): HeadGroup["heads"][] {
  const all = Array.from(heads, ([id, options]) => ({ ...options, id }));
  return KINDS.map((kind) => all.filter(({ name }) => name === kind)).filter((members) => members.length > 0);
}

/** Calls with the place of every value of a head in its state_dict and in its group's variables. */
function eachValue(
  { channels, classes }: HeadShape,
  heads: number,
  at: number,
  act: (torch: number, native: number, part: "weight" | "bias") => void,
): void {
  for (let label = 0; label < classes; label++) {
    const column = at * classes + label;
    for (let channel = 0; channel < channels; channel++) {
      act(label * channels + channel, channel * heads * classes + column, "weight");
    }
    act(label, column, "bias");
  }
}

function floatsOf(parameters: Parameters, name: string): Float32Array {
  const data = parameters.get(name)?.data;
  if (!(data instanceof Float32Array)) throw new RangeError(`${name} is missing or holds no floats`);
  return data;
}
