/** Which files of an archive are no images of the set, told by their names. */

/** Folders and files that operating systems and tools leave. Names with a leading dot are junk as well. */
const LITTER: ReadonlySet<string> = new Set([
  "__macosx",
  "thumbs.db",
  "ehthumbs.db",
  "desktop.ini",
  "@eadir",
  "icon\r",
  "$recycle.bin",
  "system volume information",
]);

/** Litter of operating systems anywhere in the path: `__MACOSX/…`, `._x.jpg`, `.ipynb_checkpoints/…`. */
export function isLitter(path: string): boolean {
  return path.split("/").some((segment) => /^\.[^.]/.test(segment) || LITTER.has(segment.toLowerCase()));
}

/** What people call image files; whether one is an image, and of a format that is read, its content says. */
const IMAGE_NAME = /\.(jpe?g|jpe|jfif|png|webp|gif|tiff?|avif|bmp|p[bgnp]m|heic|heif|jp2|jxl|svg|ico|psd)$/i;

export function hasImageName(path: string): boolean {
  return IMAGE_NAME.test(path);
}
