"""Encoded images to tensors as torchvision's users do it: Pillow and the evaluation transforms, one thread.

    preprocess.py IMAGE...
"""

import io
import pathlib
import sys

import PIL
import torch
import torchvision
from PIL import Image
from torchvision import transforms

from lines import answer_lines, images_per_second

torch.set_num_threads(1)
images = [pathlib.Path(file).read_bytes() for file in sys.argv[1:]]
transform = transforms.Compose(
    [
        transforms.Resize(256),
        transforms.CenterCrop(224),
        transforms.ToTensor(),
        transforms.Normalize(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225]),
    ]
)


def tensor(image):
    return transform(Image.open(io.BytesIO(image)).convert("RGB"))


def rate(seconds):
    def work():
        for image in images:
            tensor(image)
        return len(images)

    return images_per_second(seconds, work)


def tensors(output):
    """Writes all tensors to a file: float32, NCHW."""
    torch.stack([tensor(image) for image in images]).numpy().astype("<f4").tofile(output)


answer_lines(
    {"pillow": PIL.__version__, "torch": torch.__version__, "torchvision": torchvision.__version__},
    {"rate": rate, "tensors": tensors},
)
