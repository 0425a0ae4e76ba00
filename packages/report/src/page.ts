/** What every page has: one file, no script, nothing from elsewhere, for screen (light and dark) and paper. */
import { type Html, html, trusted } from "./html.ts";
import { style } from "./style.ts";

/**
 * A page loads nothing and runs nothing, even if a name should ever get through as markup. Charts carry style
 * attributes, hence `unsafe-inline` for styles alone.
 */
const META_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

/** The policy for the HTTP header, which can say more than a page's own can: no frames around it, and a sandbox. */
export const PAGE_POLICY = `${META_POLICY}; frame-ancestors 'none'; sandbox`;

export function page(title: string, body: Html): string {
  return html`${trusted("<!doctype html>")}
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${META_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<link rel="icon" href="data:,">
<title>${title}</title>
<style>${trusted(style)}</style>
</head>
<body>
${body}
</body>
</html>
`.text;
}

/** A name of a user's. Isolated, so that letters written from right to left cannot turn the text around it. */
export const named = (name: string): Html => html`<bdi>${name}</bdi>`;
