/** In a file, and so a process, of its own: some 2 GB, which are given back at its end. */
import { test } from "node:test";
import { architecture } from "@cardinal/resnext";
import { checkForward } from "./forward-parity.ts";
import { type ForwardGolden, readGolden } from "./golden-values.ts";

test("resnext101_32x8d gives torchvision's logits", async () => {
  const golden = readGolden<ForwardGolden>("resnext101_32x8d");
  await checkForward(architecture("resnext101_32x8d"), golden, ["native"]);
});
