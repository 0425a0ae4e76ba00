/** Writes the dashboards' JSON, which is committed: `npm run dashboards`. A test checks that it is what this makes. */
import { writeFileSync } from "node:fs";
import path from "node:path";
import { overview } from "./overview.ts";
import { buildDashboard } from "./panels.ts";

/** Path of each dashboard's file and its content. */
export function dashboardFiles(): Map<string, string> {
  const folder = path.join(import.meta.dirname, "dashboards");
  return new Map([[path.join(folder, "overview.json"), `${JSON.stringify(buildDashboard(overview), undefined, 2)}\n`]]);
}

if (import.meta.main) {
  for (const [file, content] of dashboardFiles()) {
    writeFileSync(file, content);
    console.log(file);
  }
}
