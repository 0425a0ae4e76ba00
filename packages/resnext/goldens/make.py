"""Writes the golden files beside it: what PyTorch and torchvision compute for nets that the tests build again.

    pip install torch==2.15 torchvision==0.29.2 numpy
    python make.py [WORD...]

With words, only the files whose names contain one of them. About a minute and 2 GB for all of them.

Whole tensors are stored for logits and for the first step of the tiny nets. Of larger ones there is a digest: largest
value, norm, and values at positions that the generator gives, so that the files stay small.

- state-dicts.json: names, shapes and order of every torchvision variant.
- <variant>.json: logits in evaluation, for batches of 8, of which batches of 1 and 3 are the beginning.
- tiny-*.json: the same for a small net, then one training step (loss, logits, every gradient, running statistics),
  the same step with a part frozen, and parameters and statistics after three steps of each optimiser.
- bottlenecks.json: one training step of the bottlenecks of resnext50_32x4d at their real sizes, on two images.
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

from nets import CIFAR, Small, architecture, fill, images, uniform, variant

HERE = pathlib.Path(__file__).parent
LEARNING_RATE = 1e-2
BATCH = 8


def packed(tensor: torch.Tensor) -> dict:
    data = tensor.detach().numpy().astype("<f4").tobytes()
    return {"shape": list(tensor.shape), "data": base64.b64encode(data).decode()}


def digest(name: str, tensor: torch.Tensor, count: int) -> dict:
    """Sample i is at floor(u[i] * size), u the generator's for "sample <name>"; of a small tensor it is value i."""
    flat = tensor.detach().numpy().reshape(-1)
    if flat.size > count:
        samples = flat[np.floor(uniform(f"sample {name}", count) * flat.size).astype(np.int64)]
    else:
        samples = flat
    largest, norm = np.abs(flat).max(), np.linalg.norm(flat.astype(np.float64))
    data = base64.b64encode(samples.astype("<f4").tobytes()).decode()
    rounded = {"largest": float(f"{largest:.8g}"), "norm": float(f"{norm:.8g}")}
    return {"shape": list(tensor.shape)} | rounded | {"samples": data}


def named(tensors, pack) -> dict:
    return {name: pack(name, value) for name, value in tensors if not name.endswith("num_batches_tracked")}


def digests(tensors, count: int) -> dict:
    return named(tensors, lambda name, value: digest(name, value, count))


def packed_all(tensors) -> dict:
    return named(tensors, lambda _, value: packed(value))


def gradients(model: nn.Module) -> list:
    return [(key, value.grad) for key, value in model.named_parameters() if value.grad is not None]


def write(name: str, golden: dict) -> None:
    """One line a tensor."""
    text = json.dumps(golden, separators=(",", ":")).replace('},"', '},\n"')
    (HERE / f"{name}.json").write_text(text + "\n")
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
        after = {"parameters": digests(model.named_parameters(), 64), "statistics": digests(model.named_buffers(), 16)}
        golden["optimizers"][name] = after
    write(arch["name"], golden)


def part_from_zero(bn: nn.BatchNorm2d, values: torch.Tensor) -> bytes:
    """Moves the bias of each channel, by the k/256 that leaves the widest gap between zero and a ReLU's inputs."""
    channels = values.transpose(0, 1).flatten(1)
    gaps = torch.stack([(channels + k / 256).abs().amin(1) for k in range(-16, 17)])
    assert gaps.amax(0).min() > 2e-5
    best = gaps.argmax(0) - 16
    bn.bias.data += best / 256
    return best.to(torch.int8).numpy().tobytes()


def part_all_from_zero(model: Small, x: torch.Tensor) -> dict:
    """Every ReLU of stem and bottlenecks. Gives the k of each BatchNorm, an int8 a channel."""
    moved = {}

    def part(name: str, convolved: torch.Tensor, shortcut: torch.Tensor | float = 0) -> torch.Tensor:
        bn = model.get_submodule(name)
        moved[name] = part_from_zero(bn, bn(convolved) + shortcut)
        return (bn(convolved) + shortcut).relu()

    x = part("bn1", model.conv1(x))
    for stage, blocks in model.named_children():
        for index, block in enumerate(blocks if isinstance(blocks, nn.Sequential) else []):
            shortcut = block.downsample(x) if block.downsample else x
            x = part(f"{stage}.{index}.bn1", block.conv1(x))
            x = part(f"{stage}.{index}.bn2", block.conv2(x))
            x = part(f"{stage}.{index}.bn3", block.conv3(x), shortcut)
    return {name: base64.b64encode(data).decode() for name, data in moved.items()}


def bottlenecks() -> None:
    """
    ReLU's derivative jumps at zero, and of some million inputs a few always lie so near to it that rounding decides:
    gradients of two float32 programs, PyTorch's two memory formats among them, then differ by 1e-2. So the biases are
    moved until no input is near zero, and what is left is arithmetic.
    """
    goldens = []
    for arch, side in BOTTLENECKS:
        model = fill(Small(arch, 10)).train()
        with torch.no_grad():
            moved = part_all_from_zero(model, images(2, side))
        biases = {f"{name}.bias": model.get_submodule(name).bias for name in moved}
        model = fill(Small(arch, 10)).train()  # the statistics of a fresh net
        model.load_state_dict(model.state_dict() | biases)
        loss, logits = step(model, 2, side)
        golden = {"architecture": arch, "batch": 2, "side": side, "numClasses": 10, "moved": moved}
        golden |= {"loss": loss, "logits": packed(logits), "gradients": digests(gradients(model), 64)}
        goldens.append(golden | {"statistics": digests(model.named_buffers(), 16)})
    write("bottlenecks", {"nets": goldens})


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



def bottleneck(stage: int, side: int, channels: int, layers: list[int]) -> tuple[dict, int]:
    """The stages of resnext50_32x4d from `stage` on behind a 3x3 convolution, for [channels, side, side]."""
    planes = [64 * 2 ** (stage - 1 + index) for index in range(len(layers))]
    sizes = {"stemChannels": channels, "expansion": 4, "groups": 32, "widthPerGroup": 4 * 2 ** (stage - 1)}
    return architecture(f"bottleneck-{channels}x{side}x{side}", layers=layers, planes=planes, **sizes), side


# The first block of every stage and a further one, by the input of the first of them. The first net has the first
# block of stage 1, with a convolution in its shortcut; the next three a further block of their stage, with a plain
# shortcut; all four then the first block of the next stage, of stride 2; the last net a further block of stage 4.
BOTTLENECKS = [
    bottleneck(1, 56, 64, [1, 1]),
    bottleneck(1, 56, 256, [1, 1]),
    bottleneck(2, 28, 512, [1, 1]),
    bottleneck(3, 14, 1024, [1, 1]),
    bottleneck(4, 7, 2048, [1]),
]

GOLDENS = {
    "state-dicts": state_dicts,
    "tiny-odd": lambda: tiny(ODD, batch=3, side=33, num_classes=5),
    "tiny-even": lambda: tiny(EVEN, batch=4, side=16, num_classes=3),
    "tiny-basic": lambda: tiny(BASIC, batch=2, side=32, num_classes=2),
    "bottlenecks": bottlenecks,
    "resnext29_8x64d": lambda: full_size("resnext29_8x64d", 32, 10),
    "resnext14_8x4d": lambda: full_size("resnext14_8x4d", 28, 10),
    "resnet18": lambda: full_size("resnet18", 224, 1000),
    "resnext50_32x4d": lambda: full_size("resnext50_32x4d", 224, 1000),
    "resnext101_32x8d": lambda: full_size("resnext101_32x8d", 224, 1000),
}

if __name__ == "__main__":
    words = sys.argv[1:]
    for name, make in GOLDENS.items():
        if not words or any(word in name for word in words):
            make()
