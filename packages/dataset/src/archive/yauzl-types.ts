/** The parts of yauzl 3 that its published types lack. */
import type { Entry } from "yauzl";

export interface RawEntry extends Entry {
  /** The name's bytes as they stand in the archive. */
  fileNameRaw: Buffer;
}

declare module "yauzl" {
  export function getFileNameLowLevel(
    generalPurposeBitFlag: number,
    fileNameBuffer: Buffer,
    extraFields: { id: number; data: Buffer }[],
    strictFileNames: boolean,
  ): string;

  interface ZipFile {
    /** Finds where an entry's data begins, and checks that they lie within the archive. */
    readLocalFileHeader(
      entry: { relativeOffsetOfLocalHeader: number; compressedSize: number },
      options: { minimal: true },
      callback: (error: Error | null, header: { fileDataStart: number }) => void,
    ): void;
  }
}
