"""PyTorch's ResNeXt-50 (32x4d) as its users run it: eager, evaluation mode, inference_mode, a thread a core.

    forward.py WEIGHTS.safetensors THREADS
"""

import copy
import sys

import numpy as np
import torch
import torchvision
from safetensors.torch import load_file

from lines import answer_lines, images_per_second

LAYOUTS = {"nchw": torch.contiguous_format, "channels_last": torch.channels_last}

weights, threads = sys.argv[1:]
torch.set_num_threads(int(threads))
torch.manual_seed(1)
base = torchvision.models.resnext50_32x4d(weights=None)
base.load_state_dict(load_file(weights))
base.eval()
models = {name: copy.deepcopy(base).to(memory_format=layout) for name, layout in LAYOUTS.items()}


@torch.inference_mode()
def rate(layout, batch, seconds):
    images = torch.randn(batch, 3, 224, 224).contiguous(memory_format=LAYOUTS[layout])

    def work():
        models[layout](images)
        return batch

    return images_per_second(seconds, work)


@torch.inference_mode()
def logits(layout, input):
    """`input`: a file of float32, NCHW; the logits of its images."""
    images = torch.from_numpy(np.fromfile(input, dtype="<f4").reshape(-1, 3, 224, 224))
    return models[layout](images.contiguous(memory_format=LAYOUTS[layout])).tolist()


answer_lines({"torch": torch.__version__, "torchvision": torchvision.__version__}, {"rate": rate, "logits": logits})
