"""The nets of the golden files: torchvision's own, and small ones of its blocks, filled by a generator.

No weights are stored: parameters and inputs are functions of a name, which test/golden-values.ts has too.
"""

import zlib

import numpy as np
import torch
import torchvision
from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck


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
    """NCHW. Smaller batches are the beginning of larger ones."""
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


def architecture(name: str, **fields) -> dict:
    base = {"block": "bottleneck", "stem": "3x3", "stemChannels": 8, "expansion": 2, "groups": 1, "widthPerGroup": 8}
    return {"name": name} | base | {"imageSize": 32, "resizeSize": 32, "minImageSize": 4} | fields


# Variants that torchvision does not have. The first is section 4.3 of Xie et al. (arXiv 1611.05431), the second ours.
CIFAR = {
    arch["name"]: arch
    for arch in [
        architecture(
            "resnext29_8x64d",
            stemChannels=64,
            expansion=4,
            layers=[3, 3, 3],
            planes=[64, 128, 256],
            groups=8,
            widthPerGroup=64,
        ),
        architecture(
            "resnext14_8x4d",
            stemChannels=16,
            expansion=4,
            layers=[1, 2, 1],
            planes=[8, 16, 32],
            groups=8,
            widthPerGroup=4,
            imageSize=28,
            resizeSize=28,
        ),
    ]
}


def variant(name: str, num_classes: int) -> nn.Module:
    """torchvision's model of that name, or one of CIFAR's."""
    if name in CIFAR:
        return Small(CIFAR[name], num_classes)
    return torchvision.models.get_model(name, weights=None, num_classes=num_classes)
