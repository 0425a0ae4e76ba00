/** PyTorch's side of `predict`, in the settings that are best for it on this machine. */
import { fileURLToPath } from "node:url";
import type { BenchContext } from "../bench.ts";
import { LineProcess } from "../line-process.ts";
import type { Contestant } from "../turns.ts";

/** Images of a peer's turn: its time for an image is the same from the first to the last. */
export const PEER_IMAGES = 160;
/** Images of a trial of settings. */
const TRIAL_IMAGES = 48;
const BATCHES = [2, 4, 8, 16];
/** As `forward` says: whether PyTorch's threads spin or sleep while they wait. */
const WAITING = { "": {}, ", passive wait": { OMP_WAIT_POLICY: "passive" } };

export interface Peer extends AsyncDisposable {
  tutorial: Contestant;
  loader: Contestant;
  /** Of the first images, of every class. */
  probabilities(count: number): Promise<number[][]>;
  versions: Record<string, string>;
}

export async function startPeer(
  context: BenchContext,
  weights: string,
  cores: number,
  files: readonly string[],
): Promise<Peer> {
  const script = fileURLToPath(import.meta.resolve("../../peers/predict.py"));
  const args = [script, weights, `${cores}`, ...files];
  await using starting = new AsyncDisposableStack();
  const peers = await Promise.all(
    Object.entries(WAITING).map(async ([suffix, env]) => {
      const process = starting.use(await LineProcess.start({ command: context.python, args, env }));
      return { suffix, process };
    }),
  );
  context.say("the peer's best settings");
  const tutorial = await bestOf(peers.map(({ suffix, process }) => ({ name: suffix, process, task: "tutorial" })));
  const batch = await bestOf(BATCHES.map((batch) => loaderOf(peers[0]!, batch, cores)));
  const { batch: best } = batch.options as { batch: number };
  const loader = await bestOf(
    peers.flatMap((peer) => Array.from({ length: cores }, (_, index) => loaderOf(peer, best, index + 1))),
  );
  const everyone = starting.move();
  return {
    tutorial: contestant(`pytorch, as the tutorial, batch 2${tutorial.name}`, tutorial),
    loader: contestant(`pytorch, DataLoader, channels_last, ${loader.name}`, loader),
    probabilities: (count) => peers[0]!.process.ask("probabilities", { count }),
    versions: peers[0]!.process.versions,
    [Symbol.asyncDispose]: () => everyone.disposeAsync(),
  };
}

interface Settings {
  name: string;
  process: LineProcess;
  task: string;
  options?: Record<string, unknown>;
}

function loaderOf(peer: { suffix: string; process: LineProcess }, batch: number, workers: number): Settings {
  const name = `batch ${batch}, ${workers} worker${workers > 1 ? "s" : ""}${peer.suffix}`;
  return { name, process: peer.process, task: "loader", options: { batch, workers } };
}

/** Each once for warming up and once for the choice. */
async function bestOf(candidates: Settings[]): Promise<Settings> {
  let best: { settings: Settings; rate: number } | undefined;
  for (const settings of candidates) {
    const { process, task, options } = settings;
    await process.ask(task, { ...options, count: TRIAL_IMAGES / 4 });
    const rate = await process.ask<number>(task, { ...options, count: TRIAL_IMAGES });
    if (!best || rate > best.rate) best = { settings, rate };
  }
  return best!.settings;
}

function contestant(name: string, { process, task, options }: Settings): Contestant {
  return { name, unit: "images/s", turn: () => process.ask(task, { ...options, count: PEER_IMAGES }) };
}
