#!/usr/bin/env node
// The command's first step, in plain JavaScript that old versions of Node parse, too: the rest is TypeScript.
const [major, minor] = process.versions.node.split(".").map(Number);
if (major > 22 || (major === 22 && minor >= 18)) {
  import("../src/main.ts").then(({ main }) => main(process.argv.slice(2)));
} else {
  console.error(
    `cardinal: Node ${process.versions.node} is too old, 22.18 or newer is needed; run it by npm (npx cardinal, ` +
      "npm start), which uses the Node that npm ci installed, or install Node 24",
  );
  process.exitCode = 1;
}
