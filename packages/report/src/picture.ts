/** A thumbnail in its frame, or what stands in for one. */
import type { Thumbnail } from "@cardinal/contracts";
import { type Html, html } from "./html.ts";

/** Pictures of fewer pixels a side are shown enlarged, pixel by pixel. */
const TINY = 64;

export function picture(thumbnail: Thumbnail | undefined, description: string, instead: string): Html {
  if (!thumbnail) return html`<div class="picture">${instead}</div>`;
  const { data, width, height } = thumbnail;
  const tiny = Math.max(width, height) < TINY && html` class="tiny"`;
  return html`<div class="picture"><img src="${data}" width="${width}" height="${height}" alt="${description}"${tiny}></div>`;
}
