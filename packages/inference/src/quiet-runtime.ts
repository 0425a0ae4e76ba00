/**
 * Must be imported before onnxruntime-node: its builds since 1.30 report usage to their maker unless this is set. A
 * process that somebody runs on their images must not talk to anybody.
 */
process.env.ORT_DISABLE_TELEMETRY ??= "1";
