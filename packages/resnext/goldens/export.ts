/**
 * Writes what a bundle of a model has for others, for roundtrip.py: model.onnx, weights.safetensors and
 * class_indices.json of a variant after two training steps, by the functions that training publishes with.
 *
 *   node export.ts FOLDER [VARIANT [CLASSES]]        resnext50_32x4d and 5 unless given
 */
import { mkdir, writeFile } from "node:fs/promises";
import path from "node:path";
import { encodeSafetensors, formatClassIndices } from "@cardinal/checkpoint";
import { architecture } from "@cardinal/resnext";
import { exportOnnx } from "@cardinal/resnext/onnx";
import { Optimizer } from "@cardinal/resnext/tfjs";
import { startRun, trainSteps } from "../test/training-run.ts";

const [folder, name = "resnext50_32x4d", count = "5"] = process.argv.slice(2);
if (folder === undefined) throw new Error("usage: node export.ts FOLDER [VARIANT [CLASSES]]");
const arch = architecture(name);
const numClasses = Number(count);
// Names that would show a change of order or encoding: keys like integers, and beyond ASCII.
const names = ["10", "2", "B", "a", "é", "中", "😀"];
const classes = Array.from({ length: numClasses }, (_, index) => names[index] ?? `😀${String(index).padStart(4, "0")}`);
const normalisation = { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };
const transform = { resize: arch.resizeSize, crop: arch.imageSize, ...normalisation, exif: "ignore" };

using run = startRun(arch, { batch: 2, side: arch.imageSize, numClasses });
using optimizer = new Optimizer(run.network, { name: "sgd" });
trainSteps(run, optimizer, 2, 1e-3);
const parameters = run.network.parameters();
const metadata = { architecture: name, classes: JSON.stringify(classes), transform: JSON.stringify(transform) };
await mkdir(folder, { recursive: true });
await writeFile(path.join(folder, "model.onnx"), exportOnnx(arch, parameters, { metadata }));
await writeFile(path.join(folder, "weights.safetensors"), encodeSafetensors(parameters, { format: "pt" }));
await writeFile(path.join(folder, "class_indices.json"), formatClassIndices(classes));
