/**
 * The pictures of a batch prediction's first rows, made once, when its rows are whole: `contact-sheet.jsonl` beside
 * them, a line a row. So the API makes a page of it without decoding an image, and a page costs one small read.
 */
import {
  type ContactCell,
  type ContactSheetTask,
  contactCellSchema,
  isErrorRow,
  type Row,
  rowSchema,
} from "@cardinal/contracts";
import { layout, type ObjectStore } from "@cardinal/storage";
import { storedThumbnail } from "../thumbnail.ts";

/** Images under way: each takes a thread of the decoder. */
const AT_ONCE = 2;
/** A cell shows one answer; a row may have thousands. */
const SHOWN_ANSWERS = 3;

export interface ContactSheetOptions extends ContactSheetTask {
  store: ObjectStore;
  signal?: AbortSignal;
}

/** Writes the sheet anew and gives the number of its cells. Throws the store's errors and the signal's reason. */
export async function writeContactSheet(options: ContactSheetOptions): Promise<number> {
  const { store, job, exif, signal } = options;
  const cells: ContactCell[] = [];
  let group: Row[] = [];
  const take = async () => {
    const made = group.map(async (row) => {
      if (isErrorRow(row)) return { row };
      const thumbnail = await storedThumbnail(store, row.sha256, exif, signal);
      return { row: { ...row, top: row.top.slice(0, SHOWN_ANSWERS) }, ...(thumbnail && { thumbnail }) };
    });
    cells.push(...(await Promise.all(made)));
    group = [];
  };
  for await (const row of firstRows(options)) {
    signal?.throwIfAborted();
    group.push(row);
    if (group.length === AT_ONCE) await take();
  }
  await take();
  const lines = cells.map((cell) => `${JSON.stringify(contactCellSchema.parse(cell))}\n`);
  await store.put(layout.contactSheet(job), Buffer.from(lines.join("")), { signal });
  return cells.length;
}

/** The first rows; the rest of the object is not read. */
async function* firstRows({ store, job, images, signal }: ContactSheetOptions): AsyncGenerator<Row> {
  if (images === 0) return;
  const stream = await store.get(layout.rows(job), { signal });
  let rest = "";
  let taken = 0;
  for await (const chunk of stream.setEncoding("utf8") as AsyncIterable<string>) {
    const lines = (rest + chunk).split("\n");
    rest = lines.pop()!;
    for (const line of lines) {
      yield rowSchema.parse(JSON.parse(line));
      if (++taken === images) return;
    }
  }
}
