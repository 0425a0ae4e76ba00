"""Uses a model of Cardinal's as others do, and compares: weights.safetensors in torchvision, model.onnx in ONNX Runtime.

    pip install torch==2.15 torchvision==0.29.2 numpy safetensors onnx onnxruntime
    node export.ts /tmp/bundle resnext50_32x4d
    python roundtrip.py /tmp/bundle

The folder is what export.ts writes, or a bundle of a store (models/<id>/), of any variant. Fails when a file is not
what it should be, or when logits or features differ by more than 1e-4 of the largest.
"""

import json
import pathlib
import sys

import numpy as np
import onnx
import onnxruntime
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from nets import images, variant

TOLERANCE = 1e-4


def read_onnx(file: pathlib.Path) -> dict[str, str]:
    """Checks the file, with shape inference, and what Cardinal promises of it. Gives its metadata."""
    onnx.checker.check_model(str(file), full_check=True)
    model = onnx.load(file)
    assert model.ir_version == 8 and [(o.domain, o.version) for o in model.opset_import] == [("", 17)]
    for value in [*model.graph.input, *model.graph.output]:
        first, *others = value.type.tensor_type.shape.dim
        assert first.dim_param and all(dim.dim_value > 0 for dim in others), f"{value.name} has another shape"
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    print(f"onnx {onnx.__version__}: accepted, IR {model.ir_version}, opset 17, {len(model.graph.node)} nodes")
    return metadata


def check_metadata(metadata: dict[str, str], folder: pathlib.Path, side: int) -> list[str]:
    classes = json.loads(metadata["classes"])
    indices = json.loads((folder / "class_indices.json").read_text(encoding="utf-8"))
    assert indices == {str(index): name for index, name in enumerate(classes)}
    transform = json.loads(metadata["transform"])
    assert set(transform) == {"resize", "crop", "mean", "std", "exif"} and transform["crop"] == side
    print(f"metadata: {metadata['architecture']}, {len(classes)} classes {classes[:7]}, transform {transform}")
    return classes


def load_torch(file: pathlib.Path, name: str, num_classes: int) -> torch.nn.Module:
    model = variant(name, num_classes)
    state = load_file(file)
    for key, tensor in model.state_dict().items():
        assert state[key].dtype == tensor.dtype, f"{key} is {state[key].dtype}"
    model.load_state_dict(state, strict=True)
    with safe_open(file, "pt") as opened:
        assert opened.metadata() == {"format": "pt"}
    batches = int(model.bn1.num_batches_tracked)
    print(f"safetensors: {len(state)} tensors, loaded strictly; {batches} batches seen in training")
    return model.eval()


def compare(what: str, actual: np.ndarray, expected: np.ndarray) -> None:
    error = np.abs(actual - expected).max() / np.abs(expected).max()
    print(f"  {what}: {error:.2e}")
    assert error <= TOLERANCE


def main(folder: pathlib.Path) -> None:
    metadata = read_onnx(folder / "model.onnx")
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    assert session.get_modelmeta().custom_metadata_map == metadata
    side = session.get_inputs()[0].shape[2]
    classes = check_metadata(metadata, folder, side)
    model = load_torch(folder / "weights.safetensors", metadata["architecture"], len(classes))
    features = []
    model.avgpool.register_forward_hook(lambda _, __, output: features.append(output.flatten(1).numpy()))
    print(f"ONNX Runtime {onnxruntime.__version__} and torch {torch.__version__}, largest difference / largest value:")
    for batch in [1, 3, 8]:
        x = images(batch, side)
        with torch.no_grad():
            expected = model(x).numpy()
        logits, pooled = session.run(["logits", "features"], {"input": x.numpy()})
        compare(f"batch {batch}, logits", logits, expected)
        compare(f"batch {batch}, features", pooled, features[-1])


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
