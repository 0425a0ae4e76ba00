/**
 * From keys to files and back. Names stay readable: `datasets/flowers/x.json` is `datasets@/flowers@/x.json`.
 *
 * `a` and `a/b` can both be objects, so folders end with `@`; an object whose own name would end like a folder's
 * (`@`, or `@` and dots) has one more dot. This is one to one, and makes no name longer than one byte more.
 */
import path from "node:path";

const FOLDER_MARK = "@";

export type Entry = { kind: "object" | "folder"; name: string };

const fileName = (name: string): string => (/@\.*$/.test(name) ? `${name}.` : name);

/** The object's file, relative to the folder of all objects. */
export function objectPath(key: string): string {
  const segments = key.split("/");
  const name = segments.pop() as string;
  return path.join(...segments.map((segment) => segment + FOLDER_MARK), fileName(name));
}

/** The folder that holds everything below a prefix that is empty or ends with `/`. */
export function folderPath(prefix: string): string {
  return path.join(
    ...prefix
      .split("/")
      .slice(0, -1)
      .map((segment) => segment + FOLDER_MARK),
  );
}

/** What a name in one of these folders stands for. */
export function entryOf(fileName: string): Entry {
  if (fileName.endsWith(FOLDER_MARK)) return { kind: "folder", name: fileName.slice(0, -1) };
  return { kind: "object", name: /@\.+$/.test(fileName) ? fileName.slice(0, -1) : fileName };
}
