/**
 * A real browser for tests of pages: Chromium without a window, started by playwright-core in a folder of its own. It
 * ends with the scope, or, when the test process dies, with the pipe between them.
 */
import { findBrowser } from "@cardinal/provision";
import { type Browser, type BrowserContextOptions, chromium, type Page } from "playwright-core";

/** No sandbox, as a container or root has none to give; nothing that asks the network by itself. */
const ARGS = [
  "--no-sandbox",
  "--disable-dev-shm-usage",
  "--disable-background-networking",
  "--disable-component-update",
  "--no-first-run",
];

export interface OpenPage {
  page: Page;
  /** What the page has printed to the console as a warning or an error, and what it has thrown. */
  complaints: string[];
  /** Addresses that it has asked for beside its own; data URIs are none. */
  requests: string[];
}

export interface TestBrowser extends AsyncDisposable {
  /** Opens an address, or a page given as text, and resolves when everything is loaded. */
  open(source: { url: string } | { html: string }, options?: BrowserContextOptions): Promise<OpenPage>;
}

export async function startBrowser(): Promise<TestBrowser> {
  const executablePath = findBrowser();
  if (!executablePath) throw new Error("no browser for tests; run npm run setup -- --for-tests");
  const browser = await chromium.launch({ executablePath, args: ARGS, headless: true });
  return {
    open: (source, options) => openPage(browser, source, options),
    [Symbol.asyncDispose]: () => browser.close(),
  };
}

async function openPage(
  browser: Browser,
  source: { url: string } | { html: string },
  options?: BrowserContextOptions,
): Promise<OpenPage> {
  const context = await browser.newContext({ viewport: { width: 1200, height: 900 }, ...options });
  const page = await context.newPage();
  const complaints: string[] = [];
  const requests: string[] = [];
  page.on("console", (message) => {
    if (["warning", "error"].includes(message.type())) complaints.push(message.text());
  });
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("dialog", (dialog) => {
    complaints.push(`dialog: ${dialog.message()}`);
    void dialog.dismiss();
  });
  page.on("request", (request) => {
    const own = "url" in source && request.url() === source.url;
    if (!own && !request.url().startsWith("data:")) requests.push(request.url());
  });
  if ("url" in source) await page.goto(source.url, { waitUntil: "load" });
  else await page.setContent(source.html, { waitUntil: "load" });
  return { page, complaints, requests };
}
