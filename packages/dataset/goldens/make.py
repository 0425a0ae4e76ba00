"""Writes goldens.json next to this file: what Pillow and torchvision make of images.

    python -m venv venv && venv/bin/pip install torch torchvision pillow numpy && venv/bin/python make.py

Inputs of the transforms are not stored: `noise` is the formula that test/noise.ts has too. Of the outputs only the
SHA-256 and a few samples (to see how far off one is) are kept. Inputs of the decoder are small files, in base64.
"""

import base64
import hashlib
import io
import json
import pathlib
import struct

import numpy as np
import PIL
import torch
import torchvision
from PIL import Image, ImageCms
from torchvision.transforms import CenterCrop, ColorJitter, Compose, Normalize, RandomResizedCrop, Resize, ToTensor
from torchvision.transforms import functional as F


def noise(width, height):
    """Byte i of an image: the top byte of a multiplicative hash of i, over a slow ramp for every second block of 16."""
    i = np.arange(width * height * 3, dtype=np.uint64)
    h = (i * np.uint64(0x9E3779B1)) & np.uint64(0xFFFFFFFF)
    h ^= h >> np.uint64(15)
    h = (h * np.uint64(0x85EBCA6B)) & np.uint64(0xFFFFFFFF)
    value = np.where((i >> np.uint64(4)) & np.uint64(1), (i >> np.uint64(5)) & np.uint64(255), h >> np.uint64(24))
    return Image.fromarray(value.astype(np.uint8).reshape(height, width, 3))


def digest(image):
    data = np.asarray(image).tobytes()
    step = max(1, len(data) // 16)
    return {"sha256": hashlib.sha256(data).hexdigest(), "samples": list(data[::step][:16]), "step": step}


def transforms():
    sizes = [(500, 375), (375, 500), (256, 256), (257, 256), (256, 257), (224, 224), (225, 224), (341, 256), (640, 480),
             (1024, 768), (1, 1), (1, 300), (300, 1), (3, 1000), (2000, 7), (28, 28), (32, 32), (64, 48), (97, 131),
             (131, 97), (255, 383), (383, 255), (333, 333), (513, 511), (50, 800), (800, 50)]
    recipes = [(256, 224), (232, 224)]
    cases = [(size, recipe) for size in sizes for recipe in recipes]
    cases += [((28, 28), (28, 28)), ((30, 20), (28, 28)), ((100, 80), (32, 48)), ((80, 101), (33, 48)),
              ((500, 375), (64, 64)), ((61, 47), (47, 47)), ((61, 47), (47, 40)), ((47, 62), (47, 41)),
              ((1, 60000), (256, 224)), ((60000, 1), (64, 64)), ((1500, 1100), (8, 7)), ((9, 5), (100, 224))]
    for (width, height), (resize, crop) in cases:
        # Resize would hold the whole of a very long image in memory: the crop of a part of it that is long enough.
        image = noise(width, height)
        if max(width, height) == 60000:
            image = long_resize(image, resize, crop)
        else:
            image = CenterCrop(crop)(Resize(resize)(image))
        yield {"width": width, "height": height, "resize": resize, "crop": crop, **digest(image)}


def long_resize(image, resize, crop):
    """Resize + CenterCrop of an image whose short side is 1, through Pillow's own `box`: the output rows of the crop."""
    width, height = image.size
    long = int(resize * max(width, height) / min(width, height))
    start = int(round((long - crop) / 2.0))
    scale = max(width, height) / long
    # Up-scaling: each output pixel depends on its two neighbours; a margin of whole input pixels keeps the phase.
    per = resize
    first = start // per - 2
    count = crop // per + 6
    box = (0, first, 1, first + count) if height > width else (first, 0, first + count, 1)
    part = image.crop(box)
    out = part.resize((resize, count * per) if height > width else (count * per, resize), Image.BILINEAR)
    assert scale == 1 / per
    offset = start - first * per
    side = int(round((resize - crop) / 2.0))
    return out.crop((side, offset, side + crop, offset + crop) if height > width
                    else (offset, side, offset + crop, side + crop))


def resized_crops():
    for width, height, top, left, h, w, size in [(500, 375, 10, 20, 100, 133, 224), (500, 375, 0, 0, 375, 500, 224),
                                                 (64, 64, 5, 7, 50, 40, 28), (100, 100, 99, 99, 1, 1, 8),
                                                 (90, 70, 30, 40, 40, 50, 64), (28, 28, 3, 0, 20, 26, 28)]:
        image = F.resized_crop(noise(width, height), top, left, h, w, [size, size])
        yield {"width": width, "height": height, "top": top, "left": left, "boxHeight": h, "boxWidth": w, "size": size,
               **digest(image)}


def jittered():
    """ColorJitter's own draws with seeds, and its result; then each of the four alone, at factors that hit its edges."""
    def case(width, height, order, b, c, s, h):
        image = noise(width, height)
        for which in order:
            if which == 0 and b is not None:
                image = F.adjust_brightness(image, b)
            if which == 1 and c is not None:
                image = F.adjust_contrast(image, c)
            if which == 2 and s is not None:
                image = F.adjust_saturation(image, s)
            if which == 3 and h is not None:
                image = F.adjust_hue(image, h)
        draw = {"brightness": b, "contrast": c, "saturation": s, "hue": h}
        return image, {"width": width, "height": height, "order": list(order),
                       **{name: value for name, value in draw.items() if value is not None}, **digest(image)}

    for seed in range(24):
        strengths = [(0.4, 0.4, 0.4, 0.1), (0.8, 0.8, 0.8, 0.5), (2, 0, 3, 0.25)][seed % 3]
        jitter = ColorJitter(*strengths)
        torch.manual_seed(seed)
        order, b, c, s, h = ColorJitter.get_params(jitter.brightness, jitter.contrast, jitter.saturation, jitter.hue)
        image, row = case(64, 48, order.tolist(), b, c, s, h)
        torch.manual_seed(seed)
        assert np.array_equal(np.asarray(image), np.asarray(jitter(noise(64, 48))))
        yield row
    order = [0, 1, 2, 3]
    for factor in (0, 0.3, 1, 1.7, 11):
        for at in range(3):
            yield case(100, 90, order, *[factor if i == at else None for i in range(3)], None)[1]
    for hue in (-0.5, -0.21, 0, 0.003, 0.0625, 0.5):
        yield case(300, 200, order, None, None, None, hue)[1]


def fallback_boxes():
    """Sizes for which none of the ten tries can succeed."""
    for width, height in [(1, 1000), (1000, 1), (2, 5000), (5000, 3), (7, 9000)]:
        top, left, h, w = RandomResizedCrop.get_params(noise(width, height), (0.08, 1.0), (3 / 4, 4 / 3))
        yield {"width": width, "height": height, "top": top, "left": left, "boxHeight": h, "boxWidth": w}


def normalized():
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    image = Image.fromarray(np.repeat(np.arange(256, dtype=np.uint8).reshape(16, 16, 1), 3, axis=2))
    tensor = Compose([ToTensor(), Normalize(mean, std)])(image)
    return {"mean": mean, "std": std, "nchwFloat32": base64.b64encode(tensor.numpy().tobytes()).decode()}


def encoded(image, file_format, **options):
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def png16(width, height, colour_type, samples):
    """A 16-bit PNG, which Pillow cannot write for colour."""
    import zlib

    rows = samples.reshape(height, -1).astype(">u2")
    raw = b"".join(b"\0" + row.tobytes() for row in rows)
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")


def wide_gamut_profile():
    """sRGB's profile with the red and the green primary exchanged: who applies it sees that at once."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    tags = {bytes(profile[132 + 12 * i:136 + 12 * i]): 132 + 12 * i
            for i in range(struct.unpack(">I", profile[128:132])[0])}
    red, green = tags[b"rXYZ"], tags[b"gXYZ"]
    profile[red + 4:red + 12], profile[green + 4:green + 12] = profile[green + 4:green + 12], profile[red + 4:red + 12]
    return bytes(profile)


def decoded():
    photo = noise(61, 47).resize((40, 30), Image.BILINEAR)
    four = Image.fromarray(np.concatenate([np.asarray(photo), np.asarray(photo)[..., :1] // 2], -1), "CMYK")
    alpha = photo.copy()
    alpha.putalpha(photo.getchannel(0))
    ramp = np.arange(40 * 30, dtype=np.uint32) * 54
    rgb16 = np.stack([ramp, 65535 - ramp, (ramp * 7) % 65536], -1)
    exif = Image.Exif()
    exif[0x0112] = 6
    files = {
        "jpeg 4:2:0": encoded(photo, "JPEG", quality=80),
        "jpeg 4:2:2": encoded(photo, "JPEG", quality=80, subsampling=1),
        "jpeg 4:4:4": encoded(photo, "JPEG", quality=95, subsampling=0),
        "jpeg progressive": encoded(photo, "JPEG", quality=70, progressive=True),
        "jpeg grey": encoded(photo.convert("L"), "JPEG"),
        "jpeg cmyk": encoded(four, "JPEG", quality=95),
        "jpeg icc": encoded(photo, "JPEG", icc_profile=wide_gamut_profile()),
        "jpeg exif 6": encoded(photo, "JPEG", exif=exif),
        "png rgb": encoded(photo, "PNG"),
        "png icc": encoded(photo, "PNG", icc_profile=wide_gamut_profile()),
        "png rgba": encoded(alpha, "PNG"),
        "png la": encoded(alpha.convert("LA"), "PNG"),
        "png palette": encoded(photo.quantize(16), "PNG"),
        "png palette trns": encoded(photo.quantize(16), "PNG", transparency=3),
        "png 1 bit": encoded(photo.convert("1"), "PNG"),
        "png grey": encoded(photo.convert("L"), "PNG"),
        "png rgb 16": png16(40, 30, 2, rgb16),
        "webp lossy": encoded(photo, "WEBP", quality=80),
        "webp lossless alpha": encoded(alpha, "WEBP", lossless=True, exact=True),
        "gif": encoded(photo, "GIF"),
        "tiff": encoded(photo, "TIFF"),
        "tiff lzw": encoded(photo, "TIFF", compression="tiff_lzw"),
    }
    for name, data in files.items():
        image = Image.open(io.BytesIO(data)).convert("RGB")
        yield {"name": name, "file": base64.b64encode(data).decode(), "width": image.width, "height": image.height,
               **digest(image)}
    # Pillow's own convert("RGB") of 16-bit grey clips at 255; here the high byte is the value (see decode.ts).
    grey = png16(40, 30, 0, ramp)
    high = np.repeat((ramp >> 8).astype(np.uint8).reshape(30, 40, 1), 3, axis=2)
    yield {"name": "png grey 16, high byte", "file": base64.b64encode(grey).decode(), "width": 40, "height": 30,
           **digest(Image.fromarray(high))}


def main():
    goldens = {
        "madeBy": {"pillow": PIL.__version__, "torchvision": torchvision.__version__, "torch": torch.__version__},
        "transforms": list(transforms()),
        "resizedCrops": list(resized_crops()),
        "jittered": list(jittered()),
        "fallbackBoxes": list(fallback_boxes()),
        "normalized": normalized(),
        "decoded": list(decoded()),
    }
    lists = {key: value for key, value in goldens.items() if isinstance(value, list)}
    text = ",\n".join(
        f"{json.dumps(key)}: " + ("[\n" + ",\n".join(json.dumps(row) for row in value) + "\n]" if key in lists
                                  else json.dumps(value))
        for key, value in goldens.items())
    pathlib.Path(__file__).with_name("goldens.json").write_text("{\n" + text + "\n}\n")


main()
