/** A real S3 server for a test, with a fresh bucket. */
import { randomBytes } from "node:crypto";
import { findS3Server, isS3Skipped, type S3Server } from "@cardinal/provision";
import { Client } from "minio";
import { freePorts } from "./free-port.ts";
import { type ServerProcess, startProcess } from "./server-process.ts";
import { tempDir } from "./temp-dir.ts";

export interface S3Access {
  /** Such as `http://127.0.0.1:41234`. */
  endpoint: string;
  accessKey: string;
  secretKey: string;
  region: string;
}

export interface TestS3 extends S3Access, AsyncDisposable {
  port: number;
  /** Fresh and empty. On an endpoint given by S3_TEST_ENDPOINT it is emptied and removed at the end. */
  bucket: string;
  /** The server's process, unless the endpoint was given. */
  pid: number | undefined;
  /** Ends the server and removes its folder. Disposing does the same. */
  stop(): Promise<void>;
}

const START_TRIES = 5;
const REGION = "us-east-1";

/** For `test(name, { skip: s3Skip() }, …)`: the reason to leave a test out, or false. */
export function s3Skip(): string | false {
  return isS3Skipped() && "ALLOW_SKIP_S3=1";
}

/** Starts the server (3 to 4 s for weed) and resolves when the bucket is there. */
export async function startS3(): Promise<TestS3> {
  if (isS3Skipped()) throw new Error("ALLOW_SKIP_S3=1, but a test asked for an S3 server without looking at s3Skip()");
  const server = findS3Server();
  if (!server) throw new Error("no S3 server for tests; run npm run setup -- --for-tests");
  const bucket = `test-${randomBytes(8).toString("hex")}`;
  return server.kind === "endpoint" ? useEndpoint(server, bucket) : startOnFreePorts(server, bucket);
}

async function useEndpoint(server: S3Server & { kind: "endpoint" }, bucket: string): Promise<TestS3> {
  const { endpoint, accessKey, secretKey } = server;
  const access = { endpoint, accessKey, secretKey, region: REGION };
  await client(access).makeBucket(bucket);
  const url = new URL(endpoint);
  const port = Number(url.port) || (url.protocol === "https:" ? 443 : 80);
  const stop = () => removeBucket(access, bucket);
  return { ...access, port, bucket, pid: undefined, stop, [Symbol.asyncDispose]: stop };
}

async function startOnFreePorts(server: S3Server & { kind: "binary" }, bucket: string): Promise<TestS3> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await startPrivate(server, bucket);
    } catch (error) {
      const clash = /address already in use|port .*(in use|not available|conflict)/i.test((error as Error).message);
      if (!clash || tries === START_TRIES) throw error;
    }
  }
}

async function startPrivate(server: S3Server & { kind: "binary" }, bucket: string): Promise<TestS3> {
  const folder = await tempDir(server.product);
  const ports = await freePorts(11);
  const port = ports[0] as number;
  // Keys of its own, so that no other server on the port could pass for this one.
  const [accessKey, secretKey] = [randomBytes(10).toString("hex"), randomBytes(20).toString("hex")];
  const access = { endpoint: `http://127.0.0.1:${port}`, accessKey, secretKey, region: REGION };
  let child: ServerProcess;
  try {
    child = await startProcess({
      what: server.product,
      program: server.path,
      args: server.product === "weed" ? weedArguments(folder.path, ports) : minioArguments(folder.path, ports),
      env: {
        AWS_ACCESS_KEY_ID: accessKey,
        AWS_SECRET_ACCESS_KEY: secretKey,
        MINIO_ROOT_USER: accessKey,
        MINIO_ROOT_PASSWORD: secretKey,
      },
      cwd: folder.path,
      isReady: () => ensureBucket(access, bucket),
    });
  } catch (error) {
    await folder[Symbol.asyncDispose]();
    throw error;
  }
  const stop = async () => {
    await child.stop();
    await folder[Symbol.asyncDispose]();
  };
  return { ...access, port, bucket, pid: child.pid, stop, [Symbol.asyncDispose]: stop };
}

/**
 * Every port is given, as weed derives the ones that are not by adding 10,000, which may be beyond 65,535.
 * Unix sockets and logs would lie in /tmp otherwise; buckets are not made by mere uploads, as on AWS.
 */
function weedArguments(dir: string, ports: number[]): string[] {
  const names = ["s3", "master", "volume", "filer", "admin"];
  const listen = names.flatMap((name, index) => [
    `-${name}.port=${ports[2 * index]}`,
    `-${name}.port.grpc=${ports[2 * index + 1]}`,
  ]);
  const off = ["-admin.ui=false", "-webdav=false", "-master.telemetry=false", "-s3.autoCreateBucket=false"];
  const unused = ["-s3.port.iceberg=0", "-s3.port.lance=0", "-admin.port.legacy=0"];
  const sockets = [`-s3.localSocket=${dir}/s3.sock`, `-filer.localSocket=${dir}/filer.sock`];
  const bind = ["-ip=127.0.0.1", "-ip.bind=127.0.0.1"];
  return ["-logtostderr=true", "mini", `-dir=${dir}`, ...bind, ...listen, ...off, ...unused, ...sockets];
}

function minioArguments(dir: string, ports: number[]): string[] {
  return ["server", dir, "--address", `127.0.0.1:${ports[0]}`, "--console-address", `127.0.0.1:${ports[1]}`];
}

async function ensureBucket(access: S3Access, bucket: string): Promise<boolean> {
  const s3 = client(access);
  if (!(await s3.bucketExists(bucket))) await s3.makeBucket(bucket, access.region);
  return s3.bucketExists(bucket);
}

async function removeBucket(access: S3Access, bucket: string): Promise<void> {
  const s3 = client(access);
  for await (const { name } of s3.listObjectsV2(bucket, "", true)) await s3.removeObject(bucket, name);
  for await (const { key, uploadId } of s3.listIncompleteUploads(bucket, "", true)) {
    if (uploadId) await s3.removeIncompleteUpload(bucket, key);
  }
  await s3.removeBucket(bucket);
}

function client({ endpoint, accessKey, secretKey, region }: S3Access): Client {
  const { hostname, port, protocol } = new URL(endpoint);
  const useSSL = protocol === "https:";
  const portNumber = port === "" ? undefined : Number(port);
  return new Client({ endPoint: hostname, port: portNumber, useSSL, accessKey, secretKey, region, pathStyle: true });
}
