import { type Architecture, stageNames } from "../architecture.ts";
import { type LayerNode, layerGraph } from "../layer-graph.ts";

/** Which part learns: everything, or from the named stage (conv1, layer1, ..., head) to the end. */
export type Trainable = "all" | (string & {});

/** A layer, and what training does with it. */
export interface PlannedNode {
  readonly node: LayerNode;
  /** Its stage learns: its parameters have gradients, and a BatchNorm uses and tracks the batch's statistics. */
  readonly trains: boolean;
  /** Its output depends on something that learns, so the loss is differentiated with respect to it. */
  readonly differentiable: boolean;
  /** Outputs (its own id or its inputs') that its backward step takes. */
  readonly saved: readonly string[];
}

export interface Plan {
  readonly nodes: readonly PlannedNode[];
  /** How often each node's output is taken in the forward pass, and by backward steps. */
  readonly forwardUses: ReadonlyMap<string, number>;
  readonly backwardUses: ReadonlyMap<string, number>;
}

/** Throws RangeError for a stage that the architecture does not have. */
export function makePlan(arch: Architecture, numClasses: number, trainable: Trainable): Plan {
  const stages = stageNames(arch);
  const first = trainable === "all" ? 0 : stages.indexOf(trainable);
  if (first < 0) throw new RangeError(`trainable is "all" or one of ${stages.join(", ")}, not "${trainable}"`);
  const learns = new Set(stages.slice(first));
  const differentiable = new Set<string>();
  const nodes = layerGraph(arch, numClasses).map((node): PlannedNode => {
    const trains = learns.has(node.stage);
    const hasParameters = node.kind === "conv" || node.kind === "bn" || node.kind === "fc";
    const depends = node.inputs.some((id) => differentiable.has(id)) || (trains && hasParameters);
    if (depends) differentiable.add(node.id);
    return { node, trains, differentiable: depends, saved: depends ? savedOutputs(node) : [] };
  });
  const count = (ids: readonly string[]) => {
    const counts = new Map<string, number>();
    for (const id of ids) counts.set(id, (counts.get(id) ?? 0) + 1);
    return counts;
  };
  return {
    nodes,
    forwardUses: count(nodes.flatMap(({ node }) => node.inputs)),
    backwardUses: count(nodes.flatMap(({ saved }) => saved)),
  };
}

function savedOutputs(node: LayerNode): string[] {
  switch (node.kind) {
    case "conv":
    case "bn":
    case "fc":
      return [node.inputs[0]!];
    case "relu":
      return [node.id];
    case "maxpool":
      return [node.inputs[0]!, node.id];
    default:
      return [];
  }
}
