/** One bucket through the minio client, which signs and escapes; `transport.ts` says what is added below it. */
import type { IncomingMessage } from "node:http";
import { buffer } from "node:stream/consumers";
import { Client } from "minio";
import type { S3Config } from "../config.ts";
import type { ObjectInfo } from "../object-store.ts";
import { statusOf } from "./problems.ts";
import { withRetries } from "./retries.ts";
import { Transport } from "./transport.ts";

export interface Request {
  method: "GET" | "HEAD" | "PUT" | "POST" | "DELETE";
  /** The object; without one the request is for the bucket. */
  key?: string;
  query?: Record<string, string>;
  headers?: Record<string, string>;
  body?: Buffer;
  signal?: AbortSignal;
}

/** `"abc"` as headers have it is `abc` here. */
export const bareEtag = (etag: string | undefined): string => (etag ?? "").replace(/^"|"$/g, "");

export class Bucket {
  readonly name: string;
  readonly client: Client;
  readonly transport: Transport;

  constructor(config: S3Config) {
    const { hostname, port, protocol } = new URL(config.endpoint);
    const secure = protocol === "https:";
    this.name = config.bucket;
    this.transport = new Transport(secure, config.idleTimeoutMs);
    this.client = new Client({
      endPoint: hostname.replace(/^\[|\]$/g, ""),
      port: port === "" ? (secure ? 443 : 80) : Number(port),
      useSSL: secure,
      region: config.region,
      accessKey: config.accessKey,
      secretKey: config.secretKey,
      pathStyle: true,
      transport: { request: this.transport.request } as never,
      transportAgent: this.transport.agent,
      retryOptions: { disableRetry: true },
    });
    // Signs the digest of the body over TLS too, so that the server checks it.
    this.client.enableSHA256 = true;
  }

  /** One attempt; resolves with an answer whose body is still to be read. Throws `StatusError` on all but 2xx. */
  async send({ method, key, query = {}, headers = {}, body, signal }: Request): Promise<IncomingMessage> {
    const target = { bucketName: this.name, ...(key !== undefined && { objectName: key }) };
    const options = { method, ...target, headers: { ...headers }, query: encodeQuery(query) };
    return await this.transport.runWith(signal, () => {
      return this.client.makeRequestAsync(options, body ?? "", [200, 201, 202, 204, 206]);
    });
  }

  /** Repeats a request that can be repeated; gives the headers and the whole body of the answer. */
  async call(request: Request): Promise<{ headers: IncomingMessage["headers"]; body: Buffer }> {
    return await withRetries(request.signal, () => this.once(request));
  }

  async once(request: Request): Promise<{ headers: IncomingMessage["headers"]; body: Buffer }> {
    const answer = await this.send(request);
    return { headers: answer.headers, body: await buffer(answer) };
  }

  async stat(key: string, signal?: AbortSignal): Promise<(ObjectInfo & { putId: string | undefined }) | undefined> {
    try {
      const { headers } = await this.call({ method: "HEAD", key, signal });
      return {
        key,
        bytes: Number(headers["content-length"]),
        etag: bareEtag(headers.etag),
        modifiedAt: new Date(headers["last-modified"] ?? Number.NaN),
        putId: headers["x-amz-meta-put"] as string | undefined,
      };
    } catch (error) {
      if (statusOf(error) === 404) return undefined;
      throw error;
    }
  }
}

/** In the order of their names, as the signature wants it; RFC 3986. */
function encodeQuery(query: Record<string, string>): string {
  return Object.entries(query)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, value]) => (value === "" ? name : `${name}=${encode(value)}`))
    .join("&");
}

function encode(value: string): string {
  return encodeURIComponent(value).replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);
}
