import { test } from "node:test";
import { guardLeaks, s3Skip, startS3 } from "@cardinal/testing";
import { startSystem } from "./embedded.ts";
import { walkWholePath } from "./whole-path.ts";

guardLeaks();

test("the S3 server: ingest, train, predict, all answers", { skip: s3Skip() }, async () => {
  await using s3 = await startS3();
  await using up = await startSystem({
    env: {
      STORE_URL: `s3://${s3.bucket}`,
      S3_ENDPOINT: s3.endpoint,
      S3_REGION: s3.region,
      S3_ACCESS_KEY: s3.accessKey,
      S3_SECRET_KEY: s3.secretKey,
    },
  });
  await walkWholePath(up.client, up.system);
});
