/** What the markers of a JPEG file tell without decoding: its size, its channels, and whether its end is there. */

export interface JpegMarkers {
  /** From the first frame header; undefined when there is none or it is cut off. */
  frame?: { width: number; height: number; channels: number };
  /** Whether the file ends before its end marker (FF D9). */
  endsEarly: boolean;
}

const FRAME_BYTES = 10;

/**
 * Walks the markers from the start: a thumbnail in the metadata has markers of its own, which do not count. What is
 * unexpected ends the walk and is left to the decoder.
 */
export function jpegMarkers(bytes: Uint8Array): JpegMarkers {
  let frame: JpegMarkers["frame"];
  let at = 2;
  for (;;) {
    if (at + 2 > bytes.length) return { frame, endsEarly: true };
    if (bytes[at] !== 0xff) return { frame, endsEarly: false }; // not a marker
    const marker = bytes[at + 1]!;
    if (marker === 0xff)
      at++; // fill bytes may stand before a marker
    else if (marker === 0xd9) return { frame, endsEarly: false };
    else if (marker === 0x01 || (marker >= 0xd0 && marker <= 0xd8))
      at += 2; // markers without a segment
    else {
      if (at + 4 > bytes.length) return { frame, endsEarly: true };
      if (isFrame(marker)) frame ??= readFrame(bytes, at);
      at += 2 + uint16(bytes, at + 2);
      if (marker === 0xda) at = endOfScan(bytes, at);
    }
  }
}

/** SOF0 to SOF15, without the numbers that DHT, JPG and DAC have among them. */
function isFrame(marker: number): boolean {
  return marker >= 0xc0 && marker <= 0xcf && marker !== 0xc4 && marker !== 0xc8 && marker !== 0xcc;
}

/** Marker and length (2 bytes each), precision (1), height and width (2 each), channels (1). */
function readFrame(bytes: Uint8Array, at: number): JpegMarkers["frame"] {
  if (at + FRAME_BYTES > bytes.length) return undefined;
  return { height: uint16(bytes, at + 5), width: uint16(bytes, at + 7), channels: bytes[at + 9]! };
}

/** Where the marker after a scan's data stands: FF 00 is a stuffed byte, FF D0 to D7 are restarts within the scan. */
function endOfScan(bytes: Uint8Array, from: number): number {
  for (let at = bytes.indexOf(0xff, from); at >= 0; at = bytes.indexOf(0xff, at)) {
    const next = bytes[at + 1];
    if (next === 0xff) at += 1;
    else if (next === 0 || (next !== undefined && next >= 0xd0 && next <= 0xd7)) at += 2;
    else return at;
  }
  return bytes.length;
}

const uint16 = (bytes: Uint8Array, at: number): number => (bytes[at]! << 8) | bytes[at + 1]!;
