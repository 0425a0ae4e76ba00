"""Batch prediction of image files with PyTorch's ResNeXt-50 (32x4d), in the two ways that people write it.

    predict.py WEIGHTS.safetensors THREADS IMAGE...
"""

import sys

import PIL
import torch
import torchvision
from PIL import Image
from safetensors.torch import load_file
from torchvision import transforms

from lines import answer_lines, images_per_second

weights, threads, *files = sys.argv[1:]
torch.set_num_threads(int(threads))
model = torchvision.models.resnext50_32x4d(weights=None)
model.load_state_dict(load_file(weights))
model.eval()
last = torchvision.models.resnext50_32x4d(weights=None)
last.load_state_dict(load_file(weights))
last = last.eval().to(memory_format=torch.channels_last)
transform = transforms.Compose(
    [
        transforms.Resize(256),
        transforms.CenterCrop(224),
        transforms.ToTensor(),
        transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    ]
)


def read(file):
    return transform(Image.open(file).convert("RGB"))


def tutorial(count, batch=2):
    """The common tutorial's batch_predict.py: read some images, stack them, run the network, and so on."""

    def work():
        answers = []
        with torch.no_grad():
            for start in range(0, count, batch):
                images = torch.stack([read(file) for file in files[start : start + batch]])
                probabilities = torch.softmax(model(images), dim=1)
                answers += zip(*(t.tolist() for t in torch.max(probabilities, dim=1)))
        return len(answers)

    return images_per_second(0, work)


class Images(torch.utils.data.Dataset):
    def __init__(self, count):
        self.files = files[:count]

    def __len__(self):
        return len(self.files)

    def __getitem__(self, index):
        return read(self.files[index])


loaders = {}


@torch.inference_mode()
def loader(count, batch, workers):
    """A DataLoader whose processes read ahead (they stay between turns), channels_last, inference_mode, top 5."""
    key = (count, batch, workers)
    if key not in loaders:
        loaders.clear()  # ends the processes of the one before
        options = {"num_workers": workers, "persistent_workers": True}
        loaders[key] = torch.utils.data.DataLoader(Images(count), batch_size=batch, **options)

    def work():
        answers = []
        for images in loaders[key]:
            logits = last(images.contiguous(memory_format=torch.channels_last))
            answers += zip(*(t.tolist() for t in torch.topk(torch.softmax(logits, dim=1), 5)))
        return len(answers)

    return images_per_second(0, work)


@torch.inference_mode()
def probabilities(count):
    return torch.softmax(model(torch.stack([read(file) for file in files[:count]])), dim=1).tolist()


answer_lines(
    {"pillow": PIL.__version__, "torch": torch.__version__, "torchvision": torchvision.__version__},
    {"tutorial": tutorial, "loader": loader, "probabilities": probabilities},
)
