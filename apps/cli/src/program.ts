/** All commands of `cardinal`. */
import { Command } from "commander";
import { addDatasetCommands } from "./commands/datasets.ts";
import { addDemo } from "./commands/demo.ts";
import { addJobCommands } from "./commands/jobs.ts";
import { addModelCommands } from "./commands/models.ts";
import { addPredict } from "./commands/predict.ts";
import { addTrain } from "./commands/train.ts";
import { addUp } from "./commands/up.ts";
import { addWorkers } from "./commands/workers.ts";

const EPILOGUE = `
The commands but up and demo talk to an API: --url (or CARDINAL_URL), by default http://127.0.0.1:8080, and --key (or
CARDINAL_KEY), by default the key of the embedded system in this folder. With --json they write JSON to standard output;
progress goes to standard error.

Exit codes: 0 done; 1 failed, as a call or as a job; 2 wrong usage; 3 the API cannot be reached or is not ready;
130 interrupted.`;

export function makeProgram(): Command {
  const program = new Command("cardinal")
    .description("Trains ResNeXt image classifiers and predicts with them, as jobs of a service.")
    .addHelpText("after", EPILOGUE)
    .exitOverride()
    .configureOutput({ outputError: (text, write) => write(text.replace(/^error:/, "cardinal:")) });
  const adders = [
    addUp,
    addDemo,
    addDatasetCommands,
    addTrain,
    addPredict,
    addJobCommands,
    addModelCommands,
    addWorkers,
  ];
  for (const add of adders) add(program);
  return program;
}
