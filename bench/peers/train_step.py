"""PyTorch's step of training ResNeXt-50 (32x4d): eager, all parameters, Adam, a thread a core.

    train_step.py WEIGHTS.safetensors IMAGES.f32 THREADS
"""

import sys
import time

import numpy as np
import torch
import torchvision
from safetensors.torch import load_file

from lines import answer_lines, images_per_second

# As in src/train-step/model.ts.
CLASSES = 5
LEARNING_RATE = 3e-6
LAYOUTS = {"nchw": torch.contiguous_format, "channels_last": torch.channels_last}

weights, images, threads = sys.argv[1:]
torch.set_num_threads(int(threads))
start = load_file(weights)
batch = torch.from_numpy(np.fromfile(images, dtype="<f4").reshape(-1, 3, 224, 224))
labels = torch.arange(len(batch)) % CLASSES


class Training:
    """A network on its way; every layout has its own."""

    def __init__(self, layout):
        self.model = torchvision.models.resnext50_32x4d(weights=None, num_classes=CLASSES)
        self.model.load_state_dict(start)
        self.model = self.model.to(memory_format=layout).train()
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=LEARNING_RATE)
        self.images = batch.contiguous(memory_format=layout)

    def step(self):
        self.optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(self.model(self.images), labels)
        loss.backward()
        self.optimizer.step()
        return loss.item()


trainings = {name: Training(layout) for name, layout in LAYOUTS.items()}


def losses(layout, steps):
    return [trainings[layout].step() for _ in range(steps)]


def rate(layout, seconds):
    steps = 0

    def work():
        nonlocal steps
        trainings[layout].step()
        steps += 1
        return len(batch)

    before = time.process_time()
    rate = images_per_second(seconds, work)
    return {"imagesPerSecond": rate, "cpuSeconds": (time.process_time() - before) / steps}


answer_lines({"torch": torch.__version__, "torchvision": torchvision.__version__}, {"losses": losses, "rate": rate})
