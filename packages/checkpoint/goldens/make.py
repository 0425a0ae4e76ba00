"""Writes files/ beside it and expected.json, which has what torch.load makes of each file.

    pip install torch safetensors
    python make.py && npx biome format --write .

Values are in base64: little-endian float32 (after tensor.float()), or int64 for integers. Files that must be refused
have a part of the message instead. What torch.save of today does not write (other byte orders, zip64 in a small file,
the pickles of torch 0.3, hostile pickles) is put together by hand.
"""

import argparse
import base64
import collections
import io
import json
import os
import pathlib
import pickle
import shutil
import struct
import zipfile
import zlib

import torch
from safetensors.torch import load_file, save_file
from torch import nn

HERE = pathlib.Path(__file__).parent
FILES = HERE / "files"
MAGIC = torch.serialization.MAGIC_NUMBER
files = {}


def net():
    torch.manual_seed(1)
    layers = collections.OrderedDict(
        conv1=nn.Conv2d(4, 4, 3, groups=2, bias=False), bn1=nn.BatchNorm2d(4), fc=nn.Linear(4, 3)
    )
    model = nn.Sequential(layers)
    model.bn1(model.conv1(torch.randn(2, 4, 5, 5)))  # moves the running statistics and the counter
    return model


def encoded(tensor):
    whole = tensor.detach().contiguous()
    whole = whole if whole.dtype == torch.int64 else whole.float()
    raw = whole.numpy().tobytes()
    return {"shape": list(tensor.shape), "type": str(whole.dtype)[6:], "values": base64.b64encode(raw).decode()}


def good(name, tensors=None, format="torch-zip", notes=()):
    """`tensors` picks the state_dict out of what torch.load gives."""
    loaded = torch.load(FILES / name, weights_only=False)
    state = tensors(loaded) if tensors else loaded
    values = [{"name": key, **encoded(value)} for key, value in state.items()]
    files[name] = {"format": format, "tensors": values, "notes": list(notes)}


def bad(name, message):
    files[name] = {"refused": message}


def save(value, name, **options):
    torch.save(value, FILES / name, **options)


def legacy(value, name):
    save(value, name, _use_new_zipfile_serialization=False)


def special(dtype):
    values = [0.0, -0.0, 1.0, -1.5, 1 / 3, 6e-8, -3e-5, 65504.0, 1e30, float("inf"), float("-inf"), float("nan")]
    return {"weight": torch.tensor(values, dtype=torch.float64).to(dtype).reshape(3, 4)}


def formats():
    state = net().state_dict()
    save(state, "zip.pth")
    good("zip.pth")
    legacy(state, "legacy.pth")
    good("legacy.pth", format="torch-legacy")
    save(state, "protocol-4.pth", pickle_protocol=4)
    good("protocol-4.pth")
    save(state, "protocol-5.pth", pickle_protocol=5)
    good("protocol-5.pth")
    torch.serialization.set_crc32_options(False)
    save(state, "no-checksums.pth")
    torch.serialization.set_crc32_options(True)
    good("no-checksums.pth", notes=["the file was written without checksums: damage would not be noticed"])
    save_file(state, FILES / "weights.safetensors")
    loaded = load_file(FILES / "weights.safetensors")
    values = [{"name": key, **encoded(value)} for key, value in loaded.items()]
    files["weights.safetensors"] = {"format": "safetensors", "tensors": values, "notes": []}


def types():
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        short = str(dtype)[6:]
        note = f"converted from {short} to float32: 1 of 1 tensors"
        save(special(dtype), f"{short}.pth")
        good(f"{short}.pth", notes=[note])
        legacy(special(dtype), f"{short}-legacy.pth")
        good(f"{short}-legacy.pth", format="torch-legacy", notes=[note])
    save({"mask": torch.zeros(3, dtype=torch.uint8)}, "uint8.pth")
    bad("uint8.pth", "mask has the type uint8; weights are float32")


def views():
    base = torch.arange(24.0).reshape(2, 3, 4)
    long = torch.arange(8)
    state = {
        "base": base,
        "transposed": base.permute(2, 0, 1),
        "row": base[1, 2],
        "column": base[:, :, 1],
        "stepped": base[:, ::2, 1::2],
        "scalar": base[1, 0, 3],
        "repeated": torch.tensor([7.0]).expand(3, 2),
        "channels_last": torch.arange(48.0).reshape(2, 3, 2, 4).contiguous(memory_format=torch.channels_last),
        "half": torch.arange(6.0).half().reshape(2, 3).t(),
        "long": long[2::3],
        "counter": long[5],
        "nothing": torch.empty(0, 4),
        "nothing_inside": base[:, 1:1],
        "nothing_half": torch.empty(0).half(),
        "one": torch.tensor(2.5),
        "tail": base.reshape(-1)[20:],
    }
    state["shared"] = state["base"]
    save(state, "views.pth")
    good("views.pth", notes=["converted from float16 to float32: 2 of 17 tensors"])
    legacy(state, "views-legacy.pth")
    good("views-legacy.pth", format="torch-legacy", notes=["converted from float16 to float32: 2 of 17 tensors"])
    tied = nn.Module()
    tied.a = nn.Linear(3, 3)
    tied.b = nn.Linear(3, 3)
    tied.b.weight = tied.a.weight
    save(tied.state_dict(), "tied.pth")
    good("tied.pth")
    save(dict(tied.named_parameters()), "parameters.pth")
    good("parameters.pth")


def names():
    def without(prefix):
        return lambda loaded: {key.removeprefix(prefix): value for key, value in loaded.items()}

    module = nn.DataParallel(net()).state_dict()
    save(module, "module-prefix.pth")
    good("module-prefix.pth", without("module."), notes=["the prefix module. was taken off all names"])
    both = {f"_orig_mod.{key}": value for key, value in module.items()}
    notes = [f"the prefix {prefix} was taken off all names" for prefix in ("_orig_mod.", "module.")]
    save(both, "both-prefixes.pth")
    good("both-prefixes.pth", without("_orig_mod.module."), notes=notes)
    legacy({f"_orig_mod.{key}": value for key, value in net().state_dict().items()}, "compiled-prefix.pth")
    good("compiled-prefix.pth", without("_orig_mod."), "torch-legacy", notes[:1])


def wrapped():
    model = net()
    optimizer = torch.optim.Adam(model.parameters())
    sum(p.sum() for p in model.parameters()).backward()
    optimizer.step()
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [3, 5])
    training = {
        "epoch": 3,
        "best": 0.5,
        "done": False,
        "shape": torch.Size([3, 4]),
        "rng": torch.get_rng_state()[:8].clone(),
        "optimizer": optimizer.state_dict(),
        "schedule": {"milestones": schedule.milestones, "last": None, "huge": 2**70},
        "losses": [0.5, (1, 2, 3, 4)],
    }
    for key in ("state_dict", "model", "model_state_dict"):
        name = f"wrapped-{key}.pth"
        save({**training, key: model.state_dict()}, name)
        ignored = "ignored: epoch, best, done and 5 more"
        good(name, lambda loaded, key=key: loaded[key], notes=[f"the tensors are those of the entry {key}; {ignored}"])
    save({"model": model.state_dict(), "model_ema": model.state_dict()}, "two-models.pth")
    bad("two-models.pth", "several state_dicts (model, model_ema)")
    save({**training, "args": argparse.Namespace(lr=1), "model": model.state_dict()}, "namespace.pth")
    bad("namespace.pth", "the file contains argparse.Namespace, which a state_dict never has; save the weights alone")
    save([p for p in model.state_dict().values()], "list.pth")
    bad("list.pth", "the file holds a list, not a state_dict")
    save(torch.ones(2), "tensor.pth")
    bad("tensor.pth", "the file holds a tensor, not a state_dict")
    save({}, "empty-dict.pth")
    bad("empty-dict.pth", "no state_dict: it is an empty dict")
    save({"conv1.weight": torch.ones(1), "epoch": 3}, "mixed.pth")
    bad("mixed.pth", "no state_dict: epoch is the number 3")


def rewritten(source, name, change):
    """A copy of a zip file whose records `change(suffix, bytes)` gives (None: left out)."""
    with zipfile.ZipFile(FILES / source) as old, zipfile.ZipFile(FILES / name, "w") as new:
        for info in old.infolist():
            data = change(info.filename.split("/", 1)[1], old.read(info))
            if data is not None:
                new.writestr(zipfile.ZipInfo(info.filename), data)


def containers():
    def swapped(suffix, data):
        if suffix == "byteorder":
            return b"big"
        return data

    rewritten("zip.pth", "big-endian.pth", swapped)
    bad("big-endian.pth", "the file is big-endian")
    old = {".format_version", ".storage_alignment", "byteorder", ".data/serialization_id"}
    rewritten("zip.pth", "before-2.1.pth", lambda suffix, data: None if suffix in old else data)
    good("before-2.1.pth")
    rewritten("zip.pth", "no-storage.pth", lambda suffix, data: None if suffix == "data/1" else data)
    bad("no-storage.pth", "the zip archive lacks the storage data/1")
    rewritten("zip.pth", "no-pickle.pth", lambda suffix, data: None if suffix == "data.pkl" else data)
    bad("no-pickle.pth", "a zip archive, but not of torch.save: it has 0 data.pkl, its first entry is")
    with zipfile.ZipFile(FILES / "zip.pth") as old_zip, zipfile.ZipFile(
        FILES / "compressed.pth", "w", zipfile.ZIP_DEFLATED
    ) as new_zip:
        for info in old_zip.infolist():
            new_zip.writestr(info.filename, old_zip.read(info))
    bad("compressed.pth", "is compressed (method 8)")
    zip64("zip.pth", "zip64.pth")
    good("zip64.pth")
    torch.jit.script(nn.Linear(2, 1)).save(str(FILES / "torchscript.pt"))
    bad("torchscript.pt", "a TorchScript archive")


def zip64(source, name):
    """Every size and position in the zip64 fields, as in a file of more than 4 GB."""
    out = io.BytesIO()
    directory = b""
    everywhere = 0xFFFFFFFF
    with zipfile.ZipFile(FILES / source) as old:
        for info in old.infolist():
            data, at, path = old.read(info), out.tell(), info.filename.encode()
            crc = zlib.crc32(data)
            sizes = struct.pack("<HHQQ", 1, 16, len(data), len(data))
            fields = (45, 0, 0, 0, 0, crc, everywhere, everywhere, len(path))
            out.write(b"PK\3\4" + struct.pack("<HHHHHIIIHH", *fields, len(sizes)) + path + sizes + data)
            extra = struct.pack("<HHQQQ", 1, 24, len(data), len(data), at)
            rest = struct.pack("<HHHHII", len(extra), 0, 0, 0, 0, everywhere)
            directory += b"PK\1\2" + struct.pack("<HHHHHHIIIH", 45, *fields) + rest + path + extra
        count = len(old.infolist())
    start = out.tell()
    end64 = start + len(directory)
    out.write(directory)
    out.write(b"PK\6\6" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, count, count, len(directory), start))
    out.write(b"PK\6\7" + struct.pack("<IQI", 0, end64, 1))
    out.write(b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 0xFFFF, 0xFFFF, everywhere, everywhere, 0))
    (FILES / name).write_bytes(out.getvalue())


def zip_of(name, pickled, storages=()):
    with zipfile.ZipFile(FILES / name, "w") as archive:
        archive.writestr(zipfile.ZipInfo("archive/data.pkl"), pickled)
        archive.writestr(zipfile.ZipInfo("archive/byteorder"), b"little")
        for key, data in enumerate(storages):
            archive.writestr(zipfile.ZipInfo(f"archive/data/{key}"), data)


def legacy_of(name, pickled, keys=(), storages=b""):
    info = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    parts = [pickle.dumps(value, 2) for value in (MAGIC, 1001, info)]
    (FILES / name).write_bytes(b"".join([*parts, pickled, pickle.dumps(list(keys), 2), storages]))


class Call:
    """Pickles as a call of a function."""

    def __init__(self, function, *args):
        self.call = (function, args)

    def __reduce__(self):
        return self.call


class Ids(pickle.Pickler):
    def persistent_id(self, value):
        return value.id if isinstance(value, Id) else None


class Id:
    def __init__(self, *id):
        self.id = id


def pickled(value):
    out = io.BytesIO()
    Ids(out, 2).dump(value)
    return out.getvalue()


def old_torch():
    """torch 0.3: _rebuild_tensor, and views of storages in the persistent id; Python 2: byte strings as names."""
    storage = Id("storage", torch.FloatStorage, "1", "cpu", 6, ("2", 2, 4))
    value = collections.OrderedDict(weight=Call(torch._utils._rebuild_tensor, storage, 1, (3,), (1,)))
    data = struct.pack("<q6f", 6, *range(6))
    legacy_of("torch-0.3.pth", pickled(value).replace(b"X\6\0\0\0weight", b"U\6weight"), ["1"], data)
    expected = {"name": "weight", **encoded(torch.tensor([3.0, 4.0, 5.0]))}
    files["torch-0.3.pth"] = {"format": "torch-legacy", "tensors": [expected], "notes": []}


def hostile():
    save(net(), "whole-model.pth")
    bad("whole-model.pth", "a whole pickled object (torch.nn.modules.container.Sequential), not a state_dict; save the")
    legacy(net(), "whole-model-legacy.pth")
    bad("whole-model-legacy.pth", "a whole pickled object (torch.nn.modules.container.Sequential), not a state_dict")
    evil = {"conv1.weight": Call(os.system, "touch /tmp/cardinal-was-here")}
    system = f"the file contains {os.system.__module__}.system, which a state_dict never has"
    for protocol in (2, 4):
        zip_of(f"evil-{protocol}.pth", pickle.dumps(evil, protocol))
        bad(f"evil-{protocol}.pth", system)
    legacy_of("evil-legacy.pth", pickle.dumps(evil, 2))
    bad("evil-legacy.pth", system)
    (FILES / "evil-first.pth").write_bytes(pickle.dumps(Call(os.system, "id"), 2))
    bad("evil-first.pth", system)
    zip_of("evil-inst.pth", b"\x80\x02(X\2\0\0\0idios\nsystem\n.")
    bad("evil-inst.pth", "the file contains os.system")
    zip_of("evil-eval.pth", pickle.dumps({"a": Call(eval, "1")}, 2))
    bad("evil-eval.pth", "the file contains __builtin__.eval")
    zip_of("evil-getattr.pth", b"\x80\x04\x8c\x05torch\x8c\x10_utils.os.system\x93)R.")
    bad("evil-getattr.pth", "the file contains torch._utils.os.system")
    zip_of("evil-class.pth", pickle.dumps(collections.OrderedDict, 2)[:-1] + b")\x81.")
    bad("evil-class.pth", "makes a Python object (opcode NEWOBJ)")
    zip_of("evil-extension.pth", b"\x80\x02\x82\x01.")
    bad("evil-extension.pth", "makes a Python object (opcode EXT1)")


def claims():
    """Tensors that are larger than their storage, or than the file."""

    def tensor(shape, stride, offset=0, count=4, key="0"):
        storage = Id("storage", torch.FloatStorage, key, "cpu", count)
        args = (storage, offset, shape, stride, False, collections.OrderedDict())
        return pickled({"w": Call(torch._utils._rebuild_tensor_v2, *args)})

    data = struct.pack("<4f", 1, 2, 3, 4)
    zip_of("claims-storage.pth", tensor((2**40,), (1,), count=2**40), [data])
    bad("claims-storage.pth", "claim 1099511627776 values, more than a file of")
    zip_of("claims-shape.pth", tensor((5,), (1,)), [data])
    bad("claims-shape.pth", "w [5] with the strides [1] from 0 on lies outside of its storage of 4 values")
    zip_of("claims-offset.pth", tensor((2,), (1,), offset=3), [data])
    bad("claims-offset.pth", "w [2] with the strides [1] from 3 on lies outside")
    zip_of("claims-strides.pth", tensor((1000, 10000), (0, 0)), [data])
    bad("claims-strides.pth", "claim 10000000 values, more than a file of")
    zip_of("claims-count.pth", tensor((4,), (1,), count=8), [data])
    bad("claims-count.pth", "the storage of w has 16 bytes, 8 float32 values need 32")
    zip_of("claims-path.pth", tensor((4,), (1,), key="../../etc/passwd"), [data])
    bad("claims-path.pth", "lacks the storage data/../../etc/passwd")


def main():
    shutil.rmtree(FILES, ignore_errors=True)
    FILES.mkdir()
    for part in (formats, types, views, names, wrapped, containers, old_torch, hostile, claims):
        part()
    (HERE / "expected.json").write_text(json.dumps({"torch": torch.__version__, "files": files}, indent=2))


main()
