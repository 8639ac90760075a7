"""Photos and label maps as they come: of all formats and modes, damaged, mislabelled, enormous."""

import io
import pathlib
import random
import struct
import zlib

import numpy as np
from PIL import Image

_PHOTO_FORMATS = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "BMP": ".bmp", "TIFF": ".tif"}
_PHOTO_MODES = ("RGB", "RGB", "RGB", "L", "RGBA", "P", "1", "CMYK", "LA", "I;16")
_LABEL_MODES = ("L", "L", "L", "P", "1", "RGB", "I;16", "RGBA", "LA", "F", "I")


def write_pair(folder: pathlib.Path, name: str, seed: int) -> tuple[pathlib.Path, pathlib.Path]:
    """Writes a photo and its label map to `folder/images` and `folder/labels`; one is mutated."""
    rng = random.Random(seed)
    size = rng.choice([(16, 16), (24, 18), (40, 30), (3, 50), (1, 1)])
    image = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    labels = image[..., 0] % 3
    photo, suffix = _photo(rng, image)
    label_map = _label_map(rng, labels)
    if rng.random() < 0.5:
        photo = mutate(rng, photo)
    else:
        label_map = mutate(rng, label_map)
    files = folder / "images" / f"{name}{suffix}", folder / "labels" / f"{name}.png"
    for file, content in zip(files, (photo, label_map), strict=True):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return files


def _photo(rng: random.Random, image: np.ndarray) -> tuple[bytes, str]:
    kind = rng.choice([*_PHOTO_FORMATS])
    picture = Image.fromarray(image)
    mode = rng.choice(_PHOTO_MODES)
    if mode == "I;16":
        picture = Image.fromarray(image[..., 0].astype(np.uint16) * 257)
    else:
        picture = picture.convert(mode)
    exif = Image.Exif()
    if rng.random() < 0.3:
        exif[0x0112] = rng.randrange(12)  # orientations above 8 do not exist
    return _encoded(picture, kind, exif), _PHOTO_FORMATS[kind]


def _label_map(rng: random.Random, labels: np.ndarray) -> bytes:
    mode = rng.choice(_LABEL_MODES)
    if rng.random() < 0.2:
        labels = labels * rng.choice([60, 85, 100])
    if rng.random() < 0.1:
        labels = labels[: max(1, labels.shape[0] // 2)]
    if mode in ("I;16", "I", "F"):
        kind = {"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode]
        picture = Image.fromarray(labels.astype(kind) * rng.choice([1, 1, 300, -1 % 2**15]))
    else:
        picture = Image.fromarray(labels).convert(mode)
    kind = rng.choice(["PNG", "PNG", "PNG", "BMP", "TIFF", "JPEG", "GIF"])
    return _encoded(picture, kind, Image.Exif())


def _encoded(picture: Image.Image, kind: str, exif: Image.Exif) -> bytes:
    """Encodes a picture; as PNG or TIFF where the format lacks the mode."""
    for chosen in (kind, "PNG", "TIFF"):
        stream = io.BytesIO()
        try:
            picture.save(stream, format=chosen, exif=exif)
        except (OSError, ValueError, KeyError):
            continue
        return stream.getvalue()
    raise ValueError(f"no format takes {picture.mode}")


def mutate(rng: random.Random, content: bytes) -> bytes:
    """Damages a file in one of the ways in which files are damaged."""
    return rng.choice([_flipped, _cut, _zeroed, _doubled, _empty, _text, _huge, _same])(
        rng, bytearray(content)
    )


def _flipped(rng: random.Random, content: bytearray) -> bytes:
    for _ in range(rng.choice([1, 1, 3, 20])):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    return bytes(content)


def _cut(rng: random.Random, content: bytearray) -> bytes:
    return bytes(content[: rng.randrange(len(content))])


def _zeroed(rng: random.Random, content: bytearray) -> bytes:
    first = rng.randrange(len(content))
    length = min(rng.randrange(1, 200), len(content) - first)
    content[first : first + length] = bytes(length)
    return bytes(content)


def _doubled(rng: random.Random, content: bytearray) -> bytes:
    first = rng.randrange(len(content))
    return bytes(content[:first] + content[first:] + content[first:])


def _empty(rng: random.Random, content: bytearray) -> bytes:
    return b""


def _text(rng: random.Random, content: bytearray) -> bytes:
    return b"<!DOCTYPE html><html><title>404 Not Found</title></html>\n"


def _huge(rng: random.Random, content: bytearray) -> bytes:
    """Claims to be enormous: a PNG's header with another width and height, and a right checksum."""
    side = rng.choice([20_000, 60_000, 2**31 - 1])
    header = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    data = zlib.compress(bytes(1000))
    body = b"IDAT" + data
    packed = struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))
    return b"\x89PNG\r\n\x1a\n" + chunk + packed


def _same(rng: random.Random, content: bytearray) -> bytes:
    return bytes(content)
