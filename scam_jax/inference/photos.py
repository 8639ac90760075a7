"""Reads photos and their label maps from image files.

A label map is a single-channel picture whose values are label numbers. A file that cannot be read
without doubt raises a ValueError that names the file and a remedy.
"""

import io
import math
import os
import pathlib
import struct
import zlib
from collections.abc import Callable

import numpy as np
from ml_collections import ConfigDict
from PIL import Image, UnidentifiedImageError

from scam_jax.examples import Picture
from scam_jax.inference.fitting import fit
from scam_jax.inference.label_map import LabelMap
from scam_jax.inference.resizing import resize_nearest

# Maps the label numbers of a file, uint8 `[H, W]`, to labels. The string names the label map.
Relabel = Callable[[np.ndarray, str], np.ndarray]
# Pillow's modes of single-channel files. In a palette file ("P") the indices are the labels.
LABEL_MODES = ("1", "L", "P", "I", "I;16")
# Exceptions that Pillow raises for damaged files.
_UNREADABLE = (
    OSError,
    SyntaxError,
    ValueError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
_REMEDY = "replace or remove it"
_EXIF_ORIENTATION = 0x0112
# Transposition that turns the stored pixels upright, keyed by EXIF orientation.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ON_ITS_SIDE = (5, 6, 7, 8)
# Largest difference of log aspect ratios between a label map of rounded size and its photo.
SHAPE_TOLERANCE = 0.02


def read_picture(
    image_file: str | os.PathLike, label_file: str | os.PathLike, data: ConfigDict
) -> Picture:
    """Reads a photo and its label map in the form that a model takes.

    This turns both upright, maps label numbers, and fits the picture to the model's size.
    `TrainedModel.read` uses it, and evaluation applies the same functions.

    Args:
      image_file: the photo.
      label_file: its label map.
      data: `config.data` of the model.

    Raises:
      ValueError: see `read_pair`.
    """
    label_map = LabelMap(data.label_map, data.num_labels)
    pair = read_pair(pathlib.Path(image_file), pathlib.Path(label_file), label_map)
    return fit(Picture(*pair), data)


def read_pair(
    image_file: pathlib.Path, label_file: pathlib.Path, label_map: Relabel
) -> tuple[np.ndarray, np.ndarray]:
    """Reads a photo and its label map, upright, in the photo's own size.

    Photos of any colour mode become RGB. A label map of another size is resized to the photo's
    size, to the nearest pixel. If EXIF data turns the photo by 90°, the shape of the label map
    tells whether the label map fits the stored or the upright pixels. If it does not tell, this
    raises an error.

    Args:
      image_file: the photo.
      label_file: its label map.
      label_map: maps the label numbers of files to the model's labels, such as a `LabelMap`.

    Returns:
      Image uint8 `[H, W, 3]` and labels uint8 `[H, W]`.

    Raises:
      ValueError: a file cannot be read, the label map has colours or a value without a label, or
        EXIF data leaves the orientation of the label map open.
    """
    photo, labels = decode(image_file, image_file, _REMEDY), _open_labels(label_file)
    orientation = photo.getexif().get(_EXIF_ORIENTATION, 1)
    if orientation in _UPRIGHT:
        if _lies_as_stored(photo, labels, orientation, image_file, label_file):
            labels = labels.transpose(_UPRIGHT[orientation])
        photo = photo.transpose(_UPRIGHT[orientation])
    image = _to_rgb(photo)
    numbers = _to_numbers(labels, label_map, label_file)
    return image, resize_nearest(numbers, *image.shape[:2])


def same_size(image_file: pathlib.Path, label_file: pathlib.Path) -> bool:
    """Returns whether a label map has the size of its photo, according to the files' headers.

    Args:
      image_file: the photo. Its size may be the stored or the upright one.
      label_file: its label map.

    Raises:
      ValueError: a header cannot be read; names the file.
    """
    photo, labels = _stored_size(image_file), _stored_size(label_file)
    if photo == labels or photo != labels[::-1]:
        return photo == labels
    # Decodes the whole file only in this case: the EXIF data of a PNG may follow the pixels.
    picture = decode(image_file, image_file, _REMEDY)
    return picture.getexif().get(_EXIF_ORIENTATION, 1) in _ON_ITS_SIDE


def decode(source: pathlib.Path | io.BytesIO, file: os.PathLike, remedy: str) -> Image.Image:
    """Decodes a whole picture.

    Args:
      source: the file, or its content.
      file: path of the file, for errors.
      remedy: advice about a damaged file, for errors.

    Returns:
      The picture in its own mode.

    Raises:
      ValueError: the file is damaged; names it.
    """
    try:
        with Image.open(source) as picture:
            picture.load()
            return picture
    except _UNREADABLE as error:
        raise _unreadable(file, error, remedy) from error


def _stored_size(file: pathlib.Path) -> tuple[int, int]:
    try:
        with Image.open(file) as picture:
            return picture.size
    except _UNREADABLE as error:
        raise _unreadable(file, error, _REMEDY) from error


def _unreadable(file: os.PathLike, error: Exception, remedy: str) -> ValueError:
    path = pathlib.Path(file)
    if path.is_symlink() and not path.exists():
        return ValueError(f"{file} links to {path.readlink()}, which is not there: fix the link")
    reason = str(error)
    if path.is_file() and path.stat().st_size == 0:
        reason = "it is empty"
    elif isinstance(error, UnidentifiedImageError):
        reason = "it is not a picture"  # Pillow's own message would repeat the file.
    return ValueError(f"cannot read {file} ({reason}): {remedy}")


def _open_labels(file: pathlib.Path) -> Image.Image:
    labels = decode(file, file, _REMEDY)
    if labels.mode not in LABEL_MODES:
        raise ValueError(
            f"label map {file} has colour or transparency (mode {labels.mode}): save it as a "
            "single-channel PNG whose values are label numbers"
        )
    bits = _bits(file)
    # Pillow scales grey values of 2 and 4 bits to 0 … 255.
    return labels.point(lambda value: value * (2**bits - 1) // 255) if 1 < bits < 8 else labels


def _bits(file: pathlib.Path) -> int:
    """Returns the bits per pixel of a grey PNG file, and 8 for other files."""
    with file.open("rb") as opened:
        header = opened.read(26)
    is_grey_png = header.startswith(b"\x89PNG") and header[25] == 0
    return header[24] if is_grey_png else 8


def _lies_as_stored(
    photo: Image.Image,
    labels: Image.Image,
    orientation: int,
    image_file: pathlib.Path,
    label_file: pathlib.Path,
) -> bool:
    """Returns whether a label map fits the photo's stored pixels instead of the upright ones."""
    if orientation in _ON_ITS_SIDE:
        shape, stored = (math.log(p.width / p.height) for p in (labels, photo))
        as_stored, as_upright = abs(shape - stored), abs(shape + stored)
        if max(as_stored, as_upright) > SHAPE_TOLERANCE >= min(as_stored, as_upright):
            return as_stored < as_upright
    raise ValueError(
        f"{image_file} says in its EXIF data that it must be turned (orientation {orientation}), "
        f"and the shape of {label_file} does not tell whether its labels are turned already: save "
        "the photo upright without EXIF orientation (mogrify -auto-orient), and the label map to "
        "match"
    )


def _to_rgb(photo: Image.Image) -> np.ndarray:
    # Pillow would clip 16-bit grey values to 255 instead of scaling them.
    if photo.mode in ("I", "I;16"):
        photo = Image.fromarray((np.asarray(photo) >> 8).astype(np.uint8))
    return np.asarray(photo.convert("RGB"))


def _to_numbers(labels: Image.Image, label_map: Relabel, file: pathlib.Path) -> np.ndarray:
    numbers = np.asarray(labels)
    if numbers.dtype != np.uint8:
        highest = int(numbers.max())
        if highest > 255:
            raise ValueError(f"label map {file} holds the value {highest}: correct it, at most 255")
        numbers = numbers.astype(np.uint8)
    return label_map(numbers, f"label map {file}")
