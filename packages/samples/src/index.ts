export { type DigitCounts, digitImages, writeDigits } from "./digits.ts";
export { writeZip, type ZipEntry, zipOf } from "./zip.ts";
