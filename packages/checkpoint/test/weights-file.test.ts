import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { test } from "node:test";
import {
  bytesSource,
  encodeSafetensors,
  readTorchCheckpoint,
  readWeights,
  readWeightsFile,
} from "@cardinal/checkpoint";
import { tempDir } from "@cardinal/testing";
import { type Golden, goldenNames, goldenPath, goldens, goldenTensors } from "./golden-files.ts";

const good = Object.entries(goldens).filter(([, golden]) => "tensors" in golden);

test("every golden file is expected, and the other way round", () => {
  assert.deepEqual(goldenNames(), Object.keys(goldens).sort());
  assert.ok(good.length >= 20, `${good.length} good files`);
});

for (const [name, golden] of Object.entries<Golden>(goldens)) {
  if ("refused" in golden) {
    test(`${name} is refused: ${golden.refused}`, async () => {
      await assert.rejects(readWeightsFile(goldenPath(name)), (error: Error & { code?: string }) => {
        assert.equal(error.name, "CardinalError", error.stack);
        assert.equal(error.code, "invalid_checkpoint");
        assert.ok(error.message.includes(golden.refused), error.message);
        return true;
      });
    });
  } else {
    test(`${name} has torch.load's values`, async () => {
      const { format, tensors, notes } = await readWeightsFile(goldenPath(name));
      assert.equal(format, golden.format);
      assert.deepEqual(notes, golden.notes);
      const expected = goldenTensors(golden);
      if (format === "safetensors") assert.deepEqual([...tensors.keys()].sort(), [...expected.keys()].sort());
      else assert.deepEqual([...tensors.keys()], [...expected.keys()], "the state_dict's order");
      for (const [key, { shape, data }] of expected) {
        const read = tensors.get(key)!;
        assert.deepEqual(read.shape, shape, key);
        assert.equal(read.data.constructor, data.constructor, key);
        assert.deepEqual([...read.data], [...data], key); // strict: -0 is not 0, NaN is NaN whatever its payload
      }
    });
  }
}

test("nothing of the hostile files was executed", () => {
  assert.equal(existsSync("/tmp/cardinal-was-here"), false);
});

test("every tensor has memory of its own, also where the file shares a storage", async () => {
  const { tensors } = await readWeightsFile(goldenPath("tied.pth"));
  const [a, b] = [tensors.get("a.weight")!, tensors.get("b.weight")!];
  assert.deepEqual(a, b);
  a.data[0] = 99;
  assert.notEqual(b.data[0], 99);
});

const strangers: [string, string | Uint8Array, RegExp][] = [
  ["nothing", "", /^the file is empty$/],
  ["one byte", "P", /neither of PyTorch nor safetensors; it begins with the bytes 50$/],
  ["onnx", Buffer.from("0807120770797464617463681a", "hex"), /an ONNX model \(or another protobuf\), not a state_dict/],
  ["onnx without a producer", Buffer.from("08083a", "hex"), /an ONNX model/],
  ["a Git LFS pointer", "version https://git-lfs.example/spec/v1\noid sha256:0\n", /a Git LFS pointer: run `git lfs/],
  ["a page", "\n<!DOCTYPE html><html>", /a web page: the download gave an error/],
  ["XML", '<?xml version="1.0"?><Error/>', /a web page/],
  ["JSON", '{"error": "not found"}', /JSON text, not weights/],
  ["HDF5", Buffer.from("894844460d0a1a0a", "hex"), /an HDF5 file \(Keras\)/],
  ["gzip", Buffer.from("1f8b0800", "hex"), /compressed with gzip: unpack it first/],
  ["tar", Buffer.concat([Buffer.alloc(257, "a"), Buffer.from("ustar")]), /a tar archive: unpack it first/],
  ["an empty zip", Buffer.concat([Buffer.from("PK\x05\x06"), Buffer.alloc(18)]), /not of torch\.save.*it is empty/],
  ["half a safetensors", encodeSafetensors(new Map([["a", scalar(1)]])).subarray(0, 40), /safetensors: the file ends/],
  ["no tensors", encodeSafetensors(new Map()), /the safetensors file has no tensors/],
  ["another pickle", Buffer.from("80027d2e", "hex"), /a pickle of a dict, not a file of torch\.save/],
  ["protocol 9", Buffer.from("80092e", "hex"), /neither of PyTorch/],
];

function scalar(value: number) {
  return { shape: [], data: Float32Array.of(value) };
}

for (const [what, content, message] of strangers) {
  test(`${what} is refused with what it is`, async () => {
    const source = bytesSource(Buffer.from(content));
    await assert.rejects(readWeights(source), { name: "CardinalError", code: "invalid_checkpoint", message });
  });
}

test("prefixes are taken off safetensors too, but only when all names have them", async () => {
  const some = new Map([
    ["module.a", scalar(1)],
    ["b", scalar(2)],
  ]);
  assert.deepEqual([...(await readWeights(bytesSource(encodeSafetensors(some)))).tensors.keys()], ["module.a", "b"]);
  some.delete("b");
  const { tensors, notes } = await readWeights(bytesSource(encodeSafetensors(some)));
  assert.deepEqual([[...tensors.keys()], notes], [["a"], ["the prefix module. was taken off all names"]]);
});

test("a folder is refused, and a missing file is the file system's error", async () => {
  await using temp = await tempDir();
  await assert.rejects(readWeightsFile(temp.path), { code: "invalid_checkpoint", message: /a folder or a device/ });
  await assert.rejects(readWeightsFile(path.join(temp.path, "none.pth")), { code: "ENOENT" });
  await writeFile(path.join(temp.path, "empty.pth"), "");
  await assert.rejects(readWeightsFile(path.join(temp.path, "empty.pth")), { message: "the file is empty" });
});

test("a pickle of many containers ends at the limit of its work, not in memory", async () => {
  for (const opcode of ["]", "}", ")", "(", "N", "K\x01"]) {
    const pickle = Buffer.from(`\x80\x02${opcode.repeat(2 ** 21)}.`, "latin1");
    const before = process.memoryUsage().rss;
    const message = /larger than that of any state_dict/;
    await assert.rejects(readTorchCheckpoint(bytesSource(pickle)), { code: "invalid_checkpoint", message });
    assert.ok(process.memoryUsage().rss - before < 64 * 2 ** 20, opcode);
  }
});

/** The three pickles with which every legacy file begins. */
async function pickleHead(): Promise<Buffer> {
  const bytes = await readFile(goldenPath("evil-legacy.pth"));
  return bytes.subarray(0, bytes.indexOf(Buffer.from("\x80\x02}q\x00X\x0c\0\0\0conv1", "latin1")));
}

test("dicts that refer to each other or to themselves end in a message", async () => {
  const root = "\x80\x02}q\x00(";
  const pickles: [string, RegExp][] = [
    [`${root}]q\x01h\x01aK\x01h\x01K\x02u.`, /no state_dict: a list is the number 2/],
    [`${root}]q\x01h\x01ah\x01u.`, /no state_dict: a list is a list/],
    [`${root}X\x01\0\0\0ah\x00u.`, /no state_dict: a is a dict/],
    [`${root}K\x01u.`, /a dict entry without a value/],
    ["\x80\x02h\x05.", /recalls the value 5, which it never stored/],
    ["\x80\x02t.", /ends a group that it never began/],
    ["\x80\x02(0.", /the opcode 0x30 at byte 1\d\d,/],
    ["\x80\x02N(.", /takes a value from an empty stack/],
    ["\x80\x02NN.", /more than one value/],
    ["\x80\x02X\xff\xff\xff\xffabc.", /does not end within 1\d\d bytes/],
    ["\x80\x02U\x01\xff.", /not UTF-8/],
  ];
  const head = await pickleHead();
  for (const [pickle, message] of pickles) {
    const source = bytesSource(Buffer.concat([head, Buffer.from(`${pickle}\x80\x02].`, "latin1")]));
    const where = JSON.stringify(pickle);
    await assert.rejects(readTorchCheckpoint(source), { name: "CardinalError", code: "invalid_checkpoint" }, where);
    await assert.rejects(readTorchCheckpoint(source), { message }, where);
  }
});

for (const name of ["zip.pth", "legacy.pth", "weights.safetensors"]) {
  test(`${name} is refused when it is cut, wherever that is`, async () => {
    const bytes = await readFile(goldenPath(name));
    await readWeights(bytesSource(bytes));
    for (let length = 0; length < bytes.length; length++) {
      const source = bytesSource(bytes.subarray(0, length));
      await assert.rejects(readWeights(source), { name: "CardinalError", code: "invalid_checkpoint" }, `${length}`);
    }
  });
}

test("bytes behind a legacy file are refused", async () => {
  const bytes = Buffer.concat([await readFile(goldenPath("legacy.pth")), Buffer.alloc(3)]);
  await assert.rejects(readWeights(bytesSource(bytes)), { message: "3 bytes follow the last storage" });
});

test("a zip's data is checked against its checksum, and the tensor is named", async () => {
  const bytes = await readFile(goldenPath("float64.pth"));
  const third = Buffer.alloc(8);
  third.writeDoubleLE(1 / 3);
  bytes[bytes.indexOf(third)]! ^= 1;
  const message = "the data of weight is damaged: its CRC-32 differs";
  await assert.rejects(readWeights(bytesSource(bytes)), { message });
});
