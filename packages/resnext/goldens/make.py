"""Writes the golden files beside it: what PyTorch and torchvision compute for nets that the tests build again.

    pip install torch torchvision numpy
    python make.py && npx biome format --write .

No weights are stored: parameters and inputs come from a generator that test/golden-values.ts has too. Each tiny net
has its description (an Architecture), logits in evaluation, and for one training step the loss, logits, every gradient
and the running statistics, then the parameters after three steps of each optimiser. The full-size net has logits only.
"""

import base64
import json
import pathlib
import zlib

import numpy as np
import torch
import torchvision
from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck

HERE = pathlib.Path(__file__).parent
LEARNING_RATE = 1e-2


def uniform(name: str, count: int) -> np.ndarray:
    """[0, 1) in float64: a Weyl sequence from crc32(name) through MurmurHash3's 32-bit finaliser, its upper 24 bits."""
    index = np.arange(1, count + 1, dtype=np.uint64)
    word = (np.uint64(zlib.crc32(name.encode())) + index * np.uint64(0x9E3779B9)).astype(np.uint32)
    word = (word ^ (word >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    word = (word ^ (word >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    word = word ^ (word >> np.uint32(16))
    return (word >> np.uint32(8)).astype(np.float64) / 2**24


def parameter(name: str, tensor: torch.Tensor) -> torch.Tensor:
    if name.endswith("num_batches_tracked"):
        return torch.tensor(0)
    u = uniform(name, tensor.numel())
    if tensor.dim() == 4:
        out, _, height, width = tensor.shape
        values = (2 * u - 1) * np.sqrt(6 / (out * height * width))
    elif name.startswith("fc."):
        values = (2 * u - 1) * 0.2
    elif name.endswith(("running_var", ".weight")):
        values = 0.5 + u
    else:
        values = (2 * u - 1) * 0.2
    return torch.from_numpy(values.astype(np.float32)).reshape(tensor.shape)


def images(batch: int, side: int) -> torch.Tensor:
    values = 4 * uniform("input", batch * 3 * side * side) - 2
    return torch.from_numpy(values.astype(np.float32)).reshape(batch, 3, side, side)


def fill(model: nn.Module) -> nn.Module:
    model.load_state_dict({name: parameter(name, tensor) for name, tensor in model.state_dict().items()})
    return model


class Small(torchvision.models.ResNet):
    """torchvision's ResNet with the sizes of an Architecture; its own blocks, _make_layer and forward."""

    def __init__(self, arch: dict, num_classes: int):
        nn.Module.__init__(self)
        base = BasicBlock if arch["block"] == "basic" else Bottleneck
        block = type("Block", (base,), {"expansion": arch["expansion"]})
        self._norm_layer = nn.BatchNorm2d
        self.dilation = 1
        self.groups = arch["groups"]
        self.inplanes = arch["stemChannels"]
        seven = arch["stem"] == "7x7-pool"
        kernel = 7 if seven else 3
        self.conv1 = nn.Conv2d(3, self.inplanes, kernel, 2 if seven else 1, kernel // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(self.inplanes)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1) if seven else nn.Identity()
        stages = list(zip(arch["planes"], arch["layers"]))
        for index in range(4):
            if index >= len(stages):
                setattr(self, f"layer{index + 1}", nn.Identity())
                continue
            planes, blocks = stages[index]
            # torchvision: width = int(planes * base_width / 64) * groups; ours scales with planes / planes[0].
            self.base_width = 64 * arch["widthPerGroup"] / arch["planes"][0] if arch["block"] == "bottleneck" else 64
            setattr(self, f"layer{index + 1}", self._make_layer(block, planes, blocks, stride=1 if index == 0 else 2))
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(arch["planes"][-1] * arch["expansion"], num_classes)


def packed(tensor: torch.Tensor) -> dict:
    data = tensor.detach().numpy().astype("<f4").tobytes()
    return {"shape": list(tensor.shape), "data": base64.b64encode(data).decode()}


def packed_all(tensors) -> dict:
    return {name: packed(tensor) for name, tensor in tensors if not name.endswith("num_batches_tracked")}


OPTIMIZERS = {
    "adam": lambda p: torch.optim.Adam(p, lr=LEARNING_RATE),
    "adam-decay": lambda p: torch.optim.Adam(p, lr=LEARNING_RATE, weight_decay=0.1),
    "adamw": lambda p: torch.optim.AdamW(p, lr=LEARNING_RATE, weight_decay=0.1),
    "sgd": lambda p: torch.optim.SGD(p, lr=LEARNING_RATE, momentum=0.9, weight_decay=0.1),
}


def tiny(arch: dict, batch: int, side: int, num_classes: int, optimizers: list[str]) -> None:
    x = images(batch, side)
    labels = torch.arange(batch) % num_classes
    model = fill(Small(arch, num_classes))
    with torch.no_grad():
        logits = model.eval()(x)
    golden = {"architecture": arch, "batch": batch, "side": side, "numClasses": num_classes}
    golden |= {"keys": list(model.state_dict()), "eval": packed(logits), "learningRate": LEARNING_RATE}
    golden["optimizers"] = {}
    for name in optimizers:
        model = fill(Small(arch, num_classes)).train()
        optimizer = OPTIMIZERS[name](model.parameters())
        for step in range(3):
            optimizer.zero_grad()
            logits = model(x)
            loss = nn.functional.cross_entropy(logits, labels)
            loss.backward()
            if step == 0 and "train" not in golden:
                gradients = packed_all((key, value.grad) for key, value in model.named_parameters())
                statistics = packed_all((key, value) for key, value in model.named_buffers())
                golden["train"] = {"loss": loss.item(), "logits": packed(logits)}
                golden["train"] |= {"gradients": gradients, "statistics": statistics}
            optimizer.step()
        golden["optimizers"][name] = packed_all(model.named_parameters())
    (HERE / f"{arch['name']}.json").write_text(json.dumps(golden, indent=1) + "\n")


def full_size(name: str, side: int) -> None:
    model = fill(torchvision.models.get_model(name, weights=None)).eval()
    with torch.no_grad():
        logits = model(images(1, side))
    golden = {"name": name, "batch": 1, "side": side, "numClasses": 1000, "eval": packed(logits)}
    (HERE / f"{name}.json").write_text(json.dumps(golden, indent=1) + "\n")


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
    (HERE / "state-dicts.json").write_text(json.dumps(out, indent=1) + "\n")


def arch(name: str, **fields) -> dict:
    base = {"block": "bottleneck", "stem": "3x3", "stemChannels": 8, "expansion": 2, "groups": 1, "widthPerGroup": 8}
    return {"name": name} | base | {"imageSize": 32, "resizeSize": 32, "minImageSize": 4} | fields


torch.manual_seed(0)
state_dicts()
# Odd sides in every layer: 33, 17, 9, 5.
odd = arch("tiny-odd", stem="7x7-pool", layers=[1, 2], planes=[4, 8], groups=2, widthPerGroup=3)
tiny(odd, batch=3, side=33, num_classes=5, optimizers=["adam"])
# Both forms of the filter gradient: 16x16 positions, then 8x8 and 4x4.
even = arch("tiny-even", layers=[1, 1, 1], planes=[8, 8, 16], groups=4, widthPerGroup=4)
tiny(even, batch=4, side=16, num_classes=3, optimizers=["adam", "adamw"])
basic = arch("tiny-basic", block="basic", stem="7x7-pool", layers=[1, 1], planes=[8, 12], expansion=1)
tiny(basic, batch=2, side=32, num_classes=2, optimizers=["adam-decay", "sgd"])
full_size("resnext50_32x4d", 64)
