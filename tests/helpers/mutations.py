"""Damaged and odd picture files, always the same ones: a sound picture, changed by chance.

Bits are flipped, parts are cut out or doubled, and sizes in headers become huge. Checksums of PNG
files are mended half of the time, so that the damage reaches the decoder.
"""

import functools
import io
import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from PIL import Image

HEIGHT, WIDTH, NUM_LABELS = 24, 16, 4
# Format, mode, options of saving.
_PHOTOS = [
    ("JPEG", "RGB", {}),
    ("JPEG", "RGB", {"progressive": True, "quality": 30}),
    ("JPEG", "L", {}),
    ("JPEG", "CMYK", {}),
    *[("PNG", mode, {}) for mode in ("RGB", "RGBA", "L", "LA", "P", "1", "I;16")],
    ("PNG", "P", {"transparency": 0}),
    ("PNG", "L", {"transparency": 3}),
    ("WEBP", "RGB", {}),
    ("WEBP", "RGBA", {"lossless": True}),
    ("GIF", "P", {}),
    ("BMP", "RGB", {}),
    ("TIFF", "RGB", {"compression": "tiff_lzw"}),
    ("TIFF", "F", {}),
    ("TIFF", "LAB", {}),
    ("JPEG2000", "RGB", {}),
    ("AVIF", "RGB", {}),
]
_LABELS = [
    *[("PNG", mode, {}) for mode in ("L", "L", "L", "P", "P", "1", "I;16", "RGB")],
    ("PNG", "P", {"transparency": 0}),
    ("TIFF", "I", {}),
    ("TIFF", "F", {}),
    ("TIFF", "L", {"compression": "packbits"}),
    ("BMP", "L", {}),
    ("GIF", "L", {}),
    ("JPEG", "L", {}),
]
_WITH_EXIF = ("JPEG", "PNG", "WEBP", "TIFF")
_ORIENTATION = 0x0112


class Mutation(NamedTuple):
    """The content of a photo and of its label map, each of any kind and perhaps damaged."""

    name: str
    photo: bytes
    labels: bytes


def mutations(count: int) -> Iterator[Mutation]:
    """Yields pairs. The first are the same for every count."""
    for index in range(count):
        rng = np.random.default_rng(index)
        photo, labels = _sound(rng, _PHOTOS), _sound(rng, _LABELS)
        damaged = rng.integers(4)  # nothing, the photo, the label map, or both
        if damaged & 1:
            photo = _damaged(rng, photo)
        if damaged & 2:
            labels = _damaged(rng, labels)
        yield Mutation(f"{index:05}", photo, labels)


def _sound(rng: np.random.Generator, kinds: list) -> bytes:
    kind, orientation = int(rng.integers(len(kinds))), int(rng.integers(-24, 9))
    return _encoded(kinds is _LABELS, kind, orientation)


@functools.cache
def _encoded(is_labels: bool, kind: int, orientation: int) -> bytes:
    picture_format, mode, options = (_LABELS if is_labels else _PHOTOS)[kind]
    rng = np.random.default_rng(kind)
    numbers = rng.integers(0, NUM_LABELS if is_labels else 256, (HEIGHT, WIDTH), dtype=np.uint8)
    if mode in ("I;16", "I", "F"):
        dtype = {"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode]
        picture = Image.fromarray(numbers.astype(dtype))
    elif mode == "LAB":
        picture = Image.merge("LAB", [Image.fromarray(numbers)] * 3)
    elif is_labels and mode == "P":
        picture = Image.fromarray(numbers)
        picture.putpalette(bytes(range(30)))
    else:
        picture = Image.fromarray(numbers).convert("RGB").convert(mode)
    if orientation > 0 and picture_format in _WITH_EXIF:
        exif = Image.Exif()
        exif[_ORIENTATION] = orientation
        options = {**options, "exif": exif}
    stream = io.BytesIO()
    picture.save(stream, picture_format, **options)
    return stream.getvalue()


def _damaged(rng: np.random.Generator, content: bytes) -> bytes:
    ways = (
        *(_flipped, _cut, _without_part, _doubled, _huge_numbers, _other_header, _rewritten),
        _other_metadata,
    )
    for _ in range(rng.integers(1, 3)):
        content = ways[rng.integers(len(ways))](rng, bytearray(content))
    return _with_checksums(content) if rng.random() < 0.5 else content


def _flipped(rng: np.random.Generator, content: bytearray) -> bytes:
    for place in rng.integers(0, 8 * len(content), rng.integers(1, 6)) if content else ():
        content[place // 8] ^= 1 << place % 8
    return bytes(content)


def _cut(rng: np.random.Generator, content: bytearray) -> bytes:
    return bytes(content[: rng.integers(len(content) + 1)])


def _part(rng: np.random.Generator, content: bytearray) -> slice:
    start = int(rng.integers(len(content) + 1))
    return slice(start, start + int(rng.integers(1, 64)))


def _without_part(rng: np.random.Generator, content: bytearray) -> bytes:
    del content[_part(rng, content)]
    return bytes(content)


def _doubled(rng: np.random.Generator, content: bytearray) -> bytes:
    part = _part(rng, content)
    return bytes(content[: part.stop] + content[part] + content[part.stop :])


def _huge_numbers(rng: np.random.Generator, content: bytearray) -> bytes:
    """Writes a large or odd number over one in the first bytes, where sizes stand."""
    number = int(rng.choice([0, 1, 255, 0x7FFF, 0xFFFF, 10**5, 2**31 - 1, 2**32 - 1]))
    order, width = rng.choice(["<", ">"]), rng.choice(["H", "I"])
    packed = struct.pack(order + width, number & (0xFFFF if width == "H" else 0xFFFFFFFF))
    start = int(rng.integers(0, 80))
    content[start : start + len(packed)] = packed
    return bytes(content)


def _other_header(rng: np.random.Generator, content: bytearray) -> bytes:
    """Puts the beginning of another format before the rest."""
    other = _encoded(False, int(rng.integers(len(_PHOTOS))), 0)
    return other[:64] + bytes(content[64:])


def _rewritten(rng: np.random.Generator, content: bytearray) -> bytes:
    part = _part(rng, content)
    content[part] = rng.bytes(len(content[part]))
    return bytes(content)


def _other_metadata(rng: np.random.Generator, content: bytearray) -> bytes:
    """Writes noise over EXIF data, or over the directory of a TIFF file."""
    start = max(content.find(b"II*\0"), content.find(b"MM\0*"))
    if start >= 0:
        for place in rng.integers(start, min(start + 40, len(content)), rng.integers(1, 6)):
            content[place] = rng.integers(256)
    return bytes(content)


def _with_checksums(content: bytes) -> bytes:
    """Mends the checksums of a PNG file's chunks, as far as there are chunks."""
    if not content.startswith(b"\x89PNG\r\n\x1a\n"):
        return content
    mended, place = content[:8], 8
    while place + 12 <= len(content):
        length = struct.unpack(">I", content[place : place + 4])[0]
        end = place + 8 + length
        if end + 4 > len(content):
            break
        body = content[place + 4 : end]
        mended += content[place : place + 4] + body + struct.pack(">I", zlib.crc32(body))
        place = end + 4
    return mended + content[place:]
