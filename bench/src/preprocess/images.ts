/** Images to decode: as large as ImageNet's, with waves and grain so that their JPEGs have the size of photographs'. */
import { seededRandom } from "@cardinal/dataset";
import sharp from "sharp";

const WIDTH = 500;
const HEIGHT = 375;
const WAVES = 6;

/** JPEGs of 500x375 pixels, quality 90, chroma halved (4:2:0); some 45 kB each, and always the same ones. */
export function texturedJpegs(count: number): Promise<Buffer[]> {
  return Promise.all(Array.from({ length: count }, (_, index) => jpeg(index)));
}

/**
 * As many different files as wanted, made of a few of these images: a comment with a number in each (a JPEG COM segment
 * behind the first marker) gives it a digest of its own, at the same cost to decode.
 */
export async function distinctJpegs(count: number, images = 32): Promise<Buffer[]> {
  const base = await texturedJpegs(Math.min(count, images));
  return Array.from({ length: count }, (_, index) => withComment(base[index % base.length]!, `${index}`.padStart(8)));
}

function withComment(jpeg: Buffer, comment: string): Buffer {
  const head = Buffer.from([0xff, 0xfe, 0, 2 + comment.length]);
  return Buffer.concat([jpeg.subarray(0, 2), head, Buffer.from(comment), jpeg.subarray(2)]);
}

function jpeg(index: number): Promise<Buffer> {
  const image = sharp(pixels(index), { raw: { width: WIDTH, height: HEIGHT, channels: 3 } });
  return image.jpeg({ quality: 90, chromaSubsampling: "4:2:0" }).toBuffer();
}

function pixels(index: number): Uint8Array {
  const random = seededRandom(index);
  const waves = Array.from({ length: WAVES }, () => ({
    x: 0.2 * random(),
    y: 0.2 * random(),
    phase: 2 * Math.PI * random(),
    colour: [30 * random(), 30 * random(), 30 * random()],
  }));
  const data = new Uint8ClampedArray(WIDTH * HEIGHT * 3);
  for (let i = 0; i < data.length; i++) {
    const [channel, pixel] = [i % 3, Math.floor(i / 3)];
    const [x, y] = [pixel % WIDTH, Math.floor(pixel / WIDTH)];
    let level = 128 + 20 * (random() - 0.5);
    for (const wave of waves) level += wave.colour[channel]! * Math.sin(wave.x * x + wave.y * y + wave.phase);
    data[i] = level;
  }
  return new Uint8Array(data.buffer);
}
