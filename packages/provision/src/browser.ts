/**
 * A browser without a window, for the tests that open pages in one: `chromium-headless-shell` on PATH or out of
 * Debian's package, with the libraries that the machine lacks and fonts of its own, so that pages look the same
 * whatever fonts a machine has, or none.
 */
import { globSync, writeFileSync } from "node:fs";
import path from "node:path";
import { ensureEntry, findEntry } from "./cache.ts";
import { debianKey, libraryFolders, unpackDebian, wrapper } from "./debian.ts";
import type { Part } from "./part.ts";
import { ProvisionError, run, which } from "./run.ts";

/** Names on PATH that are a Chromium, the smallest first. */
const PROGRAMS = ["chromium-headless-shell", "chromium", "google-chrome", "chrome"] as const;
const PACKAGE = "chromium-headless-shell";
const FONTS = "fonts-dejavu-core";
const WAYS =
  "ways to get one: put chromium on PATH, or have apt-get (Debian's packages chromium-headless-shell and fonts-dejavu-core)";

/** The full path of a Chromium, on PATH or in the cache; undefined when set-up has provided none. */
export function findBrowser(): string | undefined {
  for (const program of PROGRAMS) {
    const onPath = which(program);
    if (onPath) return onPath;
  }
  const key = debianKey(PACKAGE);
  const folder = key && findEntry(key);
  return folder && path.join(folder, PACKAGE);
}

/** Makes `findBrowser` succeed. @throws ProvisionError that names the ways to get one. */
export async function ensureBrowser(): Promise<Part> {
  const found = findBrowser();
  if (found) return { name: "browser", detail: `${found} (${PACKAGE}: for tests of pages)`, worked: false };
  const key = debianKey(PACKAGE);
  if (!key) throw new ProvisionError(`no browser for the tests of pages; ${WAYS}`);
  const { folder, built } = await ensureEntry(key, unpackBrowser).catch((error) => {
    if (!(error instanceof ProvisionError)) throw error;
    throw new ProvisionError(`${error.message}\n${WAYS}`);
  });
  const file = path.join(folder, PACKAGE);
  return { name: "browser", detail: `${file} (Debian's package, unpacked: no chromium on PATH)`, worked: built };
}

/** 100 MB of packages where the usual libraries are there; the whole is tried before it becomes an entry. */
async function unpackBrowser(folder: string): Promise<void> {
  await unpackDebian(PACKAGE, folder, { withDependencies: true });
  await unpackDebian(FONTS, folder, { withDependencies: false, fonts: true });
  writeFileSync(path.join(folder, "fonts.conf"), FONTS_CONF);
  const program = path.join(folder, PACKAGE);
  const libraries = [...libraryFolders(folder), ...privateFolders(folder)];
  const fonts = 'export FONTCONFIG_FILE="$here/fonts.conf"';
  writeFileSync(program, wrapper(`usr/lib/chromium/${PACKAGE}`, libraries, [fonts]), { mode: 0o755 });
  await run(program, ["--version"]);
}

/** Libraries that their packages' programs find by a fixed path, which an unpacked package does not have. */
function privateFolders(folder: string): string[] {
  return globSync("usr/lib/*-linux-gnu/{pulseaudio,nss}", { cwd: folder });
}

/** The folder is relative to this file: an entry is built under another name than it gets. */
const FONTS_CONF = `<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
  <dir prefix="relative">usr/share/fonts</dir>
  <cachedir prefix="xdg">fontconfig</cachedir>
</fontconfig>
`;
