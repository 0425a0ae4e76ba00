/** The version of Cardinal, from the root package. */
import packageJson from "../../../package.json" with { type: "json" };

export const version: string = packageJson.version;
/** As it stands in bundles and worker descriptions. */
export const software = `cardinal ${version}`;
