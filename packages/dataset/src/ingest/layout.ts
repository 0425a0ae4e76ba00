/**
 * How the folders of an archive stand for splits and classes. After one wrapping folder is taken away:
 *
 * - `split`: `train/<class>/…`, and `val/<class>/…` (or `validation/`, `valid/`). Other folders beside are not used.
 * - `classes`: `<class>/…`; a val split is drawn.
 * - `flat`: images without folders, hence without labels: all go to the split `all`.
 *
 * Below its class folder an image may lie as deep as it likes. A class is a folder, whether it has images or not:
 * `<class>/` entries of the archive count, so that an empty class is noticed.
 */
import { type ProblemRecord, problem } from "@cardinal/contracts";
import type { ArchiveEntry } from "../archive/archive.ts";
import { codePointOrder } from "../order.ts";
import { hasImageName, isLitter } from "./junk.ts";

/** An image that cannot be read, with the reason. */
export interface Skipped extends ProblemRecord {
  path: string;
}

export interface PlacedImage {
  entry: ArchiveEntry;
  /** Without the wrapping folder. */
  path: string;
  split: "train" | "val" | "all";
  class?: string;
}

export interface Layout {
  kind: "split" | "classes" | "flat";
  /** In index order; empty when the layout is `flat`. */
  classes: string[];
  /** In code point order of their paths, whatever their order in the archive. */
  images: PlacedImage[];
  /** Paths that are no images of the set. */
  junk: string[];
  warnings: string[];
}

interface Named {
  entry: ArchiveEntry;
  path: string;
}

/**
 * Finds the layout; without `labels` it is `flat`, and folders are parts of names alone. Throws `no_images`, or `invalid_archive` when two folders could be the same
 * split.
 */
export function findLayout(entries: readonly ArchiveEntry[], labels = true): Layout {
  const clean = entries.filter((entry) => !isLitter(entry.path));
  const junk = entries.filter((entry) => !entry.folder && isLitter(entry.path)).map(({ path }) => path);
  for (const { folder, path } of clean) if (!folder && !hasImageName(path)) junk.push(path);
  const images = clean.filter((entry) => !entry.folder && hasImageName(entry.path));
  if (images.length === 0) {
    throw problem("no_images", `the archive has no images among its ${entries.length} entries`, { junk: junk.length });
  }
  const folders = foldersOf(entries);
  const wrapper = wrappingFolder(images, folders);
  const named: Named[] = images.map((entry) => ({ entry, path: entry.path.slice(wrapper.length) }));
  named.sort((a, b) => codePointOrder(a.path, b.path));
  const inner = folders.filter((path) => path.startsWith(wrapper)).map((path) => path.slice(wrapper.length));
  const layout = labels ? place(named, inner) : placeFlat(named);
  return { ...layout, junk: [...junk, ...layout.junk].sort(codePointOrder) };
}

/**
 * The folders of an archive: those with entries of their own and those above files, whatever the files are. What lies
 * in a litter folder is none: `__MACOSX/` repeats the names of all others.
 */
function foldersOf(entries: readonly ArchiveEntry[]): string[] {
  const folders = new Set<string>();
  for (const { path, folder } of entries) {
    const segments = path.split("/");
    const litter = segments.findIndex(isLitter);
    const depth = litter >= 0 ? litter : segments.length - (folder ? 0 : 1);
    for (let i = 1; i <= depth; i++) folders.add(segments.slice(0, i).join("/"));
  }
  return [...folders];
}

/** `name/` when all images lie below that one top folder, and it is not `train/` with its classes; else empty. */
function wrappingFolder(images: readonly ArchiveEntry[], folders: readonly string[]): string {
  const [top, second] = folders.filter((path) => !path.includes("/"));
  if (top === undefined || second !== undefined || images.some(({ path }) => !path.includes("/"))) return "";
  return isTrain(top) && folders.length > 1 ? "" : `${top}/`;
}

const isTrain = (folder: string) => folder.toLowerCase() === "train";
const isVal = (folder: string) => ["val", "validation", "valid"].includes(folder.toLowerCase());

function place(images: readonly Named[], folders: readonly string[]): Layout {
  const tops = folders.filter((path) => !path.includes("/"));
  const train = onlyOne(tops.filter(isTrain));
  // A class may be called `train` (among `bus` and `car`): then its images lie in it directly.
  const direct = images.some(({ path }) => path.split("/").length === 2 && path.startsWith(`${train}/`));
  const val = tops.filter(isVal);
  const trainClasses = train === undefined ? [] : childrenOf(folders, train);
  if (train !== undefined && trainClasses.length > 0 && (!direct || val.length > 0)) {
    return placeSplits(images, train, onlyOne(val), trainClasses);
  }
  return images.some(({ path }) => path.includes("/")) ? placeClasses(images, tops) : placeFlat(images);
}

function onlyOne(folders: readonly string[]): string | undefined {
  if (folders.length < 2) return folders[0];
  const names = folders.map((name) => `${name}/`).join(" and ");
  throw problem("invalid_archive", `the archive has ${names}: only one of them can be the split`, { folders });
}

function childrenOf(folders: readonly string[], parent: string): string[] {
  return folders
    .filter((path) => path.startsWith(`${parent}/`))
    .map((path) => path.slice(parent.length + 1))
    .filter((path) => !path.includes("/"));
}

function placeSplits(images: readonly Named[], train: string, val: string | undefined, classes: string[]): Layout {
  const placed: PlacedImage[] = [];
  const outside: string[] = [];
  for (const { entry, path } of images) {
    const [top, name, ...rest] = path.split("/");
    const split = top === train ? "train" : top === val ? "val" : undefined;
    if (split === undefined || rest.length === 0) outside.push(path);
    else placed.push({ entry, path, split, class: name! });
  }
  const warnings = outsideWarning(
    outside,
    val === undefined ? `${train}/<class>` : `${train}/<class> and ${val}/<class>`,
  );
  return { kind: "split", classes: classes.sort(codePointOrder), images: placed, junk: outside, warnings };
}

function placeClasses(images: readonly Named[], tops: readonly string[]): Layout {
  const inside = images.filter(({ path }) => path.includes("/"));
  const outside = images.filter(({ path }) => !path.includes("/")).map(({ path }) => path);
  return {
    kind: "classes",
    classes: [...tops].sort(codePointOrder),
    images: inside.map((image) => ({ ...image, split: "train", class: image.path.slice(0, image.path.indexOf("/")) })),
    junk: outside,
    warnings: outsideWarning(outside, "the class folders"),
  };
}

function placeFlat(images: readonly Named[]): Layout {
  const all = images.map((image) => ({ ...image, split: "all" as const }));
  return { kind: "flat", classes: [], images: all, junk: [], warnings: [] };
}

function outsideWarning(outside: readonly string[], where: string): string[] {
  if (outside.length === 0) return [];
  const examples = outside.slice(0, 5).join(", ");
  return [`${outside.length} images lie outside of ${where} and are left out: ${examples}`];
}

/**
 * Throws unless the images can be learnt from: `no_images`; `empty_class` with every class that has no image to train
 * on; `unknown_class_in_val` with every class of val that train lacks. Called before any image is read, and again with
 * those that could be read; `skipped` are the others, whose reasons the error names.
 */
export function assertClasses(layout: Layout, images: readonly PlacedImage[], skipped: readonly Skipped[]): void {
  const first = skipped[0];
  const unread = first ? ` (${skipped.length} files cannot be read, such as ${first.path}: ${first.message})` : "";
  const details = first && { skipped: skipped.slice(0, 5).map(({ path, code }) => ({ path, code })) };
  if (images.length === 0) throw problem("no_images", `the archive has no readable images${unread}`, details);
  if (layout.kind === "flat") return;
  const known = new Set(layout.classes);
  const unknown = new Set(images.filter((image) => !known.has(image.class!)).map((image) => image.class!));
  if (unknown.size > 0) {
    const classes = [...unknown].sort(codePointOrder);
    throw problem("unknown_class_in_val", `classes of val that train lacks: ${classes.join(", ")}`, { classes });
  }
  const filled = new Set(images.filter((image) => image.split === "train").map((image) => image.class!));
  const classes = layout.classes.filter((name) => !filled.has(name));
  if (classes.length > 0) {
    const message = `classes without images to train on: ${classes.join(", ")}${unread}`;
    throw problem("empty_class", message, { classes, ...details });
  }
}
