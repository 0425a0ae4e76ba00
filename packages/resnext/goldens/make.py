"""Writes the golden files beside it: what PyTorch and torchvision compute for nets that the tests build again.

    pip install torch==2.15 torchvision==0.29.2 numpy
    python make.py [WORD...] && npx biome format --write .

With words, only the files whose names contain one of them. Some 20 seconds and 2 GB for all of them.

Whole tensors are stored for logits and for the first step of the tiny nets. Of larger ones there is a digest: largest
value, norm, and values at positions that the generator gives, so that the files stay small.

- state-dicts.json: names, shapes and order of every torchvision variant.
- <variant>.json: logits in evaluation, for batches of 8, of which batches of 1 and 3 are the beginning.
- tiny-*.json: the same for a small net, then one training step (loss, logits, every gradient, running statistics),
  the same step with a part frozen, and parameters and statistics after three steps of each optimiser.
- bottlenecks.json: one training step of resnext50_32x4d with two blocks a stage on two images of 224x224: the first
  block of each stage (with its down-sampling shortcut) and a further one, at the sizes of the real network.
"""

import base64
import json
import pathlib
import sys
import zlib

import numpy as np
import torch
import torchvision
from torch import nn
from torchvision.models.resnet import Bottleneck

from nets import CIFAR, Small, architecture, fill, images, uniform, variant

HERE = pathlib.Path(__file__).parent
LEARNING_RATE = 1e-2
BATCH = 8


def packed(tensor: torch.Tensor) -> dict:
    data = tensor.detach().numpy().astype("<f4").tobytes()
    return {"shape": list(tensor.shape), "data": base64.b64encode(data).decode()}


def digest(name: str, tensor: torch.Tensor, count: int) -> dict:
    """Without `positions` of its own: value i is at floor(u[i] * size), u the generator's for "sample <name>"."""
    flat = tensor.detach().numpy().reshape(-1)
    if flat.size > count:
        samples = flat[np.floor(uniform(f"sample {name}", count) * flat.size).astype(np.int64)]
    else:
        samples = flat
    norm = float(np.linalg.norm(flat.astype(np.float64)))
    data = base64.b64encode(samples.astype("<f4").tobytes()).decode()
    return {"shape": list(tensor.shape), "largest": float(np.abs(flat).max()), "norm": norm, "samples": data}


def named(tensors, pack) -> dict:
    return {name: pack(name, value) for name, value in tensors if not name.endswith("num_batches_tracked")}


def digests(tensors, count: int) -> dict:
    return named(tensors, lambda name, value: digest(name, value, count))


def packed_all(tensors) -> dict:
    return named(tensors, lambda _, value: packed(value))


def gradients(model: nn.Module) -> list:
    return [(key, value.grad) for key, value in model.named_parameters() if value.grad is not None]


def write(name: str, golden: dict) -> None:
    (HERE / f"{name}.json").write_text(json.dumps(golden, indent=1) + "\n")
    print(name)


def evaluate(model: nn.Module, side: int) -> dict:
    """Logits of a batch of 8. Checks that images do not resemble each other so much that their order would not show."""
    with torch.no_grad():
        logits = model.eval()(images(BATCH, side))
        three = model(images(3, side))
    scale = logits.abs().max()
    assert (logits[:3] - three).abs().max() / scale < 1e-5
    nearest = min((logits[i] - logits[j]).abs().max() / scale for i in range(BATCH) for j in range(i))
    assert nearest > 1e-3, f"two images have logits within {nearest}"
    return packed(logits)


def step(model: nn.Module, batch: int, side: int) -> tuple[float, torch.Tensor]:
    """Forward and backward of a batch whose labels are 0, 1, 2, ..."""
    model.zero_grad()
    logits = model(images(batch, side))
    loss = nn.functional.cross_entropy(logits, torch.arange(batch) % logits.shape[1])
    loss.backward()
    return loss.item(), logits


OPTIMIZERS = {
    "adam": lambda p: torch.optim.Adam(p, lr=LEARNING_RATE),
    "adam-decay": lambda p: torch.optim.Adam(p, lr=LEARNING_RATE, weight_decay=0.1),
    "adamw": lambda p: torch.optim.AdamW(p, lr=LEARNING_RATE, weight_decay=0.1),
    "sgd": lambda p: torch.optim.SGD(p, lr=LEARNING_RATE, momentum=0.9, weight_decay=0.1),
}


def freeze(model: nn.Module, stages: list[str], trainable: str) -> None:
    """What lies before `trainable` keeps its parameters and, in evaluation mode, its running statistics."""
    for stage in stages[: stages.index(trainable)]:
        for module in [model.conv1, model.bn1] if stage == "conv1" else [getattr(model, stage)]:
            module.eval().requires_grad_(False)


def tiny(arch: dict, batch: int, side: int, num_classes: int) -> None:
    def fresh() -> nn.Module:
        return fill(Small(arch, num_classes)).train()

    golden = {"architecture": arch, "batch": batch, "side": side, "numClasses": num_classes}
    golden |= {"keys": list(fresh().state_dict()), "eval": evaluate(fresh(), side), "learningRate": LEARNING_RATE}
    model = fresh()
    loss, logits = step(model, batch, side)
    golden["train"] = {"loss": loss, "logits": packed(logits), "gradients": packed_all(gradients(model))}
    golden["train"]["statistics"] = packed_all(model.named_buffers())
    stages = ["conv1"] + [f"layer{index + 1}" for index in range(len(arch["layers"]))] + ["head"]
    golden["frozen"] = {}
    for trainable in stages[1:]:
        model = fresh()
        freeze(model, stages, trainable)
        loss, _ = step(model, batch, side)
        golden["frozen"][trainable] = {"loss": loss, "gradients": digests(gradients(model), 16)}
    golden["optimizers"] = {}
    for name, make in OPTIMIZERS.items():
        model = fresh()
        optimizer = make(model.parameters())
        for _ in range(3):
            step(model, batch, side)
            optimizer.step()
        after = {"parameters": digests(model.named_parameters(), 64), "statistics": digests(model.named_buffers(), 64)}
        golden["optimizers"][name] = after
    write(arch["name"], golden)


def bottlenecks() -> None:
    batch, side, num_classes = 2, 224, 10
    model = torchvision.models.ResNet(Bottleneck, [2, 2, 2, 2], num_classes, groups=32, width_per_group=4)
    fill(model).train()
    loss, logits = step(model, batch, side)
    golden = {"batch": batch, "side": side, "numClasses": num_classes, "loss": loss, "logits": packed(logits)}
    golden["gradients"] = digests(gradients(model), 64)
    golden["statistics"] = digests(model.named_buffers(), 16)
    write("bottlenecks", golden)


def full_size(name: str, side: int, num_classes: int) -> None:
    model = fill(variant(name, num_classes))
    golden = {"name": name, "side": side, "numClasses": num_classes}
    if name in CIFAR:
        golden |= {"architecture": CIFAR[name], "keys": list(model.state_dict())}
        golden["parameters"] = sum(p.numel() for p in model.parameters())
    write(name, golden | {"eval": evaluate(model, side)})


def state_dicts() -> None:
    """For each torchvision variant crc32 of its [[key, shape], ...] as JSON, so names, shapes and order at once."""
    names = ["resnext50_32x4d", "resnext101_32x8d", "resnext101_64x4d"]
    names += ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"]
    out = {}
    for name in names:
        with torch.device("meta"):
            model = torchvision.models.get_model(name, weights=None)
        shapes = [[key, list(value.shape)] for key, value in model.state_dict().items()]
        out[name] = {
            "crc32": zlib.crc32(json.dumps(shapes, separators=(",", ":")).encode()),
            "parameters": sum(p.numel() for p in model.parameters()),
        }
    write("state-dicts", out)


# Odd sides in every layer: 33, 17, 9, 5.
ODD = architecture("tiny-odd", stem="7x7-pool", layers=[1, 2], planes=[4, 8], groups=2, widthPerGroup=3)
# Both forms of the filter gradient: 16x16 positions, then 8x8 and 4x4.
EVEN = architecture("tiny-even", layers=[1, 1, 1], planes=[8, 8, 16], groups=4, widthPerGroup=4)
BASIC = architecture("tiny-basic", block="basic", stem="7x7-pool", layers=[1, 1], planes=[8, 12], expansion=1)

GOLDENS = {
    "state-dicts": state_dicts,
    "tiny-odd": lambda: tiny(ODD, batch=3, side=33, num_classes=5),
    "tiny-even": lambda: tiny(EVEN, batch=4, side=16, num_classes=3),
    "tiny-basic": lambda: tiny(BASIC, batch=2, side=32, num_classes=2),
    "bottlenecks": bottlenecks,
    "resnext29_8x64d": lambda: full_size("resnext29_8x64d", 32, 10),
    "resnet18": lambda: full_size("resnet18", 224, 1000),
    "resnext50_32x4d": lambda: full_size("resnext50_32x4d", 224, 1000),
    "resnext101_32x8d": lambda: full_size("resnext101_32x8d", 224, 1000),
}

if __name__ == "__main__":
    words = sys.argv[1:]
    for name, make in GOLDENS.items():
        if not words or any(word in name for word in words):
            make()
