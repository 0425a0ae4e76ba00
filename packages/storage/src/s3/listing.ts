/**
 * Pages of keys. The client's own parser turns keys such as `0123` and `1e5` into numbers, so pages are parsed here.
 * Keys come URL-encoded, as XML cannot carry all of them.
 */

import { problem } from "@cardinal/contracts";
import { XMLParser } from "fast-xml-parser";
import type { ObjectInfo } from "../object-store.ts";
import { type Bucket, bareEtag } from "./bucket.ts";

const PAGE = 1000;
/** Enough to see a folder's first key and some plain objects. */
const FOLDER_PAGE = 100;
const xml = new XMLParser({ parseTagValue: false, isArray: (name) => name === "Contents" });

interface Page {
  objects: ObjectInfo[];
  /** The continuation token. */
  next: string | undefined;
}

interface ListResult {
  IsTruncated?: string;
  NextContinuationToken?: string;
  Contents?: { Key: string; Size: string; ETag: string; LastModified: string }[];
}

/** All pages of a prefix; the first begins after the key `after`. */
export async function* pages(bucket: Bucket, prefix: string, after = ""): AsyncGenerator<Page> {
  let page = await readPage(bucket, { prefix, "start-after": after, "max-keys": String(PAGE) });
  yield page;
  while (page.next !== undefined) {
    page = await readPage(bucket, { prefix, "continuation-token": page.next, "max-keys": String(PAGE) });
    yield page;
  }
}

/**
 * The folders below a prefix, each by its first key, with a request for each. Common prefixes would be one request,
 * but SeaweedFS gives them in another order (`a`, `a-b`) and with folders that hold nothing any more.
 */
export async function* folders(bucket: Bucket, prefix: string): AsyncGenerator<string> {
  let after = "";
  for (;;) {
    const page = await readPage(bucket, { prefix, "start-after": after, "max-keys": String(FOLDER_PAGE) });
    const found = page.objects.find(({ key }) => key.includes("/", prefix.length));
    if (found !== undefined) {
      const folder = found.key.slice(prefix.length, found.key.indexOf("/", prefix.length));
      yield folder;
      // `0` is the character after `/`: all keys of the folder come before it, and it is no folder itself.
      after = `${prefix}${folder}0`;
    } else {
      const last = page.objects.at(-1);
      if (page.next === undefined || last === undefined) return;
      after = last.key;
    }
  }
}

async function readPage(bucket: Bucket, query: Record<string, string>): Promise<Page> {
  const given = Object.entries(query).filter(([, value]) => value !== "");
  const fixed = { "list-type": "2", "encoding-type": "url" };
  const { body } = await bucket.call({ method: "GET", query: { ...fixed, ...Object.fromEntries(given) } });
  return parsePage(body);
}

function parsePage(body: Buffer): Page {
  const result = (xml.parse(body) as { ListBucketResult?: ListResult | "" }).ListBucketResult;
  if (result === undefined)
    throw problem("store_unavailable", `a list of keys has no ListBucketResult: ${body.toString().slice(0, 200)}`);
  if (result === "") return { objects: [], next: undefined };
  return {
    objects: (result.Contents ?? []).map(({ Key, Size, ETag, LastModified }) => ({
      key: decode(Key),
      bytes: Number(Size),
      etag: bareEtag(ETag.replaceAll("&quot;", '"').replaceAll("&#34;", '"')),
      modifiedAt: new Date(LastModified),
    })),
    next: result.IsTruncated === "true" ? result.NextContinuationToken : undefined,
  };
}

const decode = (text: string): string => decodeURIComponent(text.replaceAll("+", " "));
