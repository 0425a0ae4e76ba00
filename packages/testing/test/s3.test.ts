import assert from "node:assert/strict";
import { test } from "node:test";
import { Client } from "minio";
import { guardLeaks, type S3Access, s3Skip, startS3 } from "../src/index.ts";

guardLeaks();

function client({ endpoint, accessKey, secretKey, region }: S3Access): Client {
  const { hostname, port, protocol } = new URL(endpoint);
  const where = { endPoint: hostname, ...(port && { port: Number(port) }), useSSL: protocol === "https:", region };
  return new Client({ ...where, accessKey, secretKey });
}

test("the S3 server stores an object, checks keys and ends by its own pid", { skip: s3Skip() }, async () => {
  const server = await startS3();
  try {
    const s3 = client(server);
    await s3.putObject(server.bucket, "a/b c+%.txt", "hello");
    const chunks = await (await s3.getObject(server.bucket, "a/b c+%.txt")).toArray();
    assert.equal(Buffer.concat(chunks).toString(), "hello");
    await assert.rejects(s3.putObject(server.bucket, "a/b c+%.txt", "again", 5, { "if-none-match": "*" }), {
      code: "PreconditionFailed",
    });
    await assert.rejects(client({ ...server, secretKey: "wrong" }).putObject(server.bucket, "x", "y"), {
      code: "SignatureDoesNotMatch",
    });
    await assert.rejects(s3.putObject("no-such-bucket", "x", "y"), { code: "NoSuchBucket" });
  } finally {
    await server.stop();
  }
  const { pid } = server;
  if (pid !== undefined) assert.throws(() => process.kill(pid, 0), { code: "ESRCH" });
});
