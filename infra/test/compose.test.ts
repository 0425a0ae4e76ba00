/** docker-compose.yml: its form, and the promises that a reader of it relies on. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, statSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { parseEnv } from "node:util";
import {
  apiVariables,
  commonVariables,
  predictWorkerVariables,
  readEnvironment,
  trainWorkerVariables,
  type Variable,
  workerVariables,
} from "@cardinal/service";
import { tempDir } from "@cardinal/testing";
import { Ajv2020 } from "ajv/dist/2020.js";
import { composeVariables, ROOT, readCompose } from "./compose-file.ts";
import { lastOf } from "./dockerfile.ts";

const { required, optional } = composeVariables();
const secrets = Object.fromEntries(required.map((name) => [name, `secret-of-${name}`]));
const compose = readCompose(secrets);
const services = Object.entries(compose.services);

/** What each service of ours may read. */
const VARIABLES: Record<string, Record<string, Variable<unknown>>> = {
  api: { ...commonVariables, ...apiVariables },
  "train-worker": { ...commonVariables, ...workerVariables, ...trainWorkerVariables },
  "predict-worker": { ...commonVariables, ...workerVariables, ...predictWorkerVariables },
};

test("the file is valid by the Compose Specification", () => {
  // The schema that Docker Compose itself uses: schema/compose-spec.json of the Go module
  // github.com/compose-spec/compose-go/v2 v2.16.2 (Apache-2.0), as it is but for white space.
  const schema = JSON.parse(readFileSync(path.join(import.meta.dirname, "compose-spec.json"), "utf8"));
  const validate = new Ajv2020({ strict: false, validateFormats: false }).compile(schema);
  assert.ok(validate(compose), JSON.stringify(validate.errors, undefined, 1));
  assert.ok(!validate({ services: { api: { imagee: "x" } } }), "the schema refuses what is wrong");
});

test("secrets have no default: without one the file cannot be used, and the message names it", () => {
  assert.deepEqual(required.toSorted(), [
    "API_KEY",
    "GRAFANA_ADMIN_PASSWORD",
    "REDIS_PASSWORD",
    "S3_ACCESS_KEY",
    "S3_SECRET_KEY",
  ]);
  for (const name of required) {
    assert.throws(() => readCompose({ ...secrets, [name]: "" }), new RegExp(`${name} is missing a value`));
  }
  for (const [service, { environment = {} }] of services) {
    for (const [name, value] of Object.entries(environment)) {
      if (/KEY|PASSWORD|SECRET|AUTH|REDIS_URL/.test(name)) assert.match(value, /secret-of-/, `${service} ${name}`);
    }
  }
});

test("only the API and Grafana are published, on the loopback interface unless told", () => {
  const published = services.flatMap(([name, { ports = [] }]) => ports.map((port) => `${name} ${port}`));
  assert.deepEqual(published, ["api 127.0.0.1:8080:8080", "grafana 127.0.0.1:3000:3000"]);
  const told = readCompose({ ...secrets, API_PUBLISH: "0.0.0.0:80", GRAFANA_PUBLISH: "3001" });
  assert.deepEqual([told.services.api?.ports, told.services.grafana?.ports], [["0.0.0.0:80:8080"], ["3001:3000"]]);
});

test("workers can be scaled", () => {
  for (const name of ["train-worker", "predict-worker"]) {
    assert.equal(compose.services[name]?.ports, undefined);
    assert.equal(compose.services[name]?.container_name, undefined);
  }
});

for (const [name, service] of services) {
  test(`${name}: a pinned image, a health check, a restart, and what it waits for is healthy`, () => {
    if (service.build) assert.equal(service.image, `cardinal-${service.build.target}`);
    else assert.match(service.image, /:(v?\d|RELEASE\.\d)/);
    assert.ok(service.healthcheck ?? lastOf(service.build?.target ?? "", "healthcheck"), "health check");
    assert.equal(service.restart, "unless-stopped");
    for (const [other, { condition }] of Object.entries(service.depends_on ?? {})) {
      assert.ok(compose.services[other], other);
      assert.equal(condition, "service_healthy");
    }
    for (const volume of service.volumes ?? []) {
      const source = volume.split(":")[0] as string;
      assert.ok(source.startsWith("./") ? existsSync(path.join(ROOT, source)) : source in compose.volumes, volume);
    }
  });
}

for (const [name, variables] of Object.entries(VARIABLES)) {
  test(`${name}: its environment is read without complaint, and holds no unknown variable`, () => {
    const environment = compose.services[name]?.environment ?? {};
    assert.deepEqual(
      Object.keys(environment).filter((variable) => !(variable in variables)),
      [],
    );
    const values: Record<string, unknown> = readEnvironment(variables, environment);
    assert.equal(values.S3_CREATE_BUCKET, "true");
    // handleShutdown allows ten seconds beyond the grace to close connections.
    const patience = /^(\d+)s$/.exec(compose.services[name]?.stop_grace_period ?? "")?.[1];
    assert.ok(Number(patience) > Number(values.SHUTDOWN_GRACE_SECONDS) + 10, `stop_grace_period ${patience}`);
    if (name !== "api") assert.deepEqual([values.METRICS_HOST, values.METRICS_PORT], ["0.0.0.0", 9100]);
    else assert.deepEqual([values.API_HOST, values.API_PORT], ["0.0.0.0", 8080]);
  });
}

const readme = readFileSync(path.join(ROOT, "infra/README.md"), "utf8");

test("infra/README.md names every variable that the file reads", () => {
  for (const name of required) assert.match(readme, new RegExp(`\\b${name}\\b`));
  for (const name of optional) assert.ok(readme.includes(`\`${name}\``), name);
});

test("the README's line makes every secret, private and long enough", async () => {
  await using folder = await tempDir("env");
  const script = /^ {4}(\(umask[\s\S]*?> \.env\))$/m.exec(readme)?.[1];
  assert.ok(script);
  execFileSync("sh", ["-c", script], { cwd: folder.path });
  const file = path.join(folder.path, ".env");
  assert.equal(statSync(file).mode & 0o777, 0o600);
  const made = parseEnv(readFileSync(file, "utf8"));
  assert.deepEqual(Object.keys(made).toSorted(), required.toSorted());
  for (const value of Object.values(made)) assert.match(value ?? "", /^[0-9a-f]{20}$/);
  assert.equal(new Set(Object.values(made)).size, required.length);
});
