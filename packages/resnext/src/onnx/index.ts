export { exportOnnx, type OnnxOptions, onnxIrVersion, onnxOpset } from "./export.ts";
