/** A child for the harness's tests. */
import { answerLines } from "../src/line-child.ts";

await answerLines(
  { echo: "1" },
  {
    echo: ({ value }: { value: unknown }) => value,
    fail() {
      throw new Error("no way");
    },
    exit: () => process.exit(3),
  },
);
