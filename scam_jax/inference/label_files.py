"""Reads the numbers of label maps as they stand in the files, and writes label maps.

A label map is a single-channel picture whose values are label numbers, or a picture whose colours
are those of a list. A file whose numbers cannot be told without doubt raises a ValueError that
names the file and a remedy.
"""

import io
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict
from PIL import Image, PngImagePlugin

from scam_jax import files
from scam_jax.images import palette
from scam_jax.inference.decoding import decode, opened, printable
from scam_jax.inference.label_colors import LabelColors
from scam_jax.inference.label_map import LabelMap

# Pillow's modes of single-channel files. In a palette file ("P") the indices are the labels.
LABEL_MODES = ("1", "L", "P", "I", "I;16", "I;16B", "F")
# Modes of pictures with colours; in a palette file the colours of the palette count.
_COLOR_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA")
# Formats that keep every number.
_EXACT_FORMATS = ("PNG", "BMP", "GIF", "TIFF")
_LOSSY_COMPRESSIONS = ("jpeg", "webp", "tiff_jpeg")
_HIGHEST = 255
_VALUES_SHOWN = 5
# Tags of TIFF files, and the values of them that matter here.
_TIFF_BITS, _TIFF_PHOTOMETRIC, _TIFF_SAMPLE_FORMAT = 258, 262, 339
_WHITE_IS_ZERO, _UNSIGNED, _SIGNED = 0, 1, 2
# A text in a label map, which says that it lies as people see its photo.
_UPRIGHT = ("scam_jax", "upright")


def read_numbers(file: pathlib.Path, colors: LabelColors | None = None) -> np.ndarray:
    """Reads the label numbers of a file.

    Args:
      file: the label map.
      colors: the colours of the label numbers, or None if the values are the numbers.

    Returns:
      uint8 `[H, W]`.

    Raises:
      ValueError: the file cannot be read, its format may have changed its numbers, it has colours
        that are no numbers, or it holds numbers that are not 0 … 255.
    """
    picture = decode(file, file)
    _require_labels(picture, file, colors)
    if colors is not None:
        return colors.numbers(_opaque(picture, file), f"label map {printable(file)}")
    numbers = _as_stored(picture, file)
    _require_range(numbers, file)
    return numbers.astype(np.uint8)


def header(file: pathlib.Path, colors: LabelColors | None = None) -> Image.Image:
    """Reads only the header of a label map, and raises those errors of `read_numbers` it shows.

    The arguments are those of `read_numbers`.

    Returns:
      The picture, which is closed.
    """
    with opened(file, file) as picture:
        pass
    _require_labels(picture, file, colors)
    return picture


def is_upright(file: pathlib.Path) -> bool:
    """Returns whether a label map says that it lies as people see its photo, see `encoded`."""
    with opened(file, file) as picture:
        return picture.info.get(_UPRIGHT[0]) == _UPRIGHT[1]


def write(file: pathlib.Path, labels: np.ndarray, data: ConfigDict) -> None:
    """Writes a label map as a PNG; see `encoded`."""
    files.write(file, encoded(labels, data))


def encoded(labels: np.ndarray, data: ConfigDict) -> bytes:
    """Returns a label map as a PNG that `read_numbers` reads and the data's map takes back.

    Its values are label numbers, with a palette to look at; or it has the colours of `data.colors`.
    The label map is that of an upright photo, and the file says so.

    Args:
      labels: labels, uint8 `[H, W]`. The label after the last marks pixels to leave out, if
        `data.ignore_label` does.
      data: `config.data` of the model.

    Raises:
      ValueError: no number of files has one of the labels.
    """
    label_map = LabelMap.of(data)
    numbers = np.append(label_map.numbers, max(label_map.ignore_label, 0))[labels]
    if numbers.min() < 0:
        raise ValueError(
            f"the label map has label {labels[numbers < 0].min()}, which has no number in files by "
            f"config.data.label_map = {label_map.text!r}: give these pixels another label"
        )
    colors = LabelColors.of(data, label_map)
    if colors is not None:
        picture = Image.fromarray(np.array(colors.colors, np.uint8)[numbers])
    else:
        picture = Image.fromarray(numbers.astype(np.uint8)).convert("L")
        picture.putpalette(_palette(label_map).ravel().tolist())
    mark = PngImagePlugin.PngInfo()
    mark.add_text(*_UPRIGHT)
    stream = io.BytesIO()
    picture.save(stream, format="PNG", pnginfo=mark)
    return stream.getvalue()


def _palette(label_map: LabelMap) -> np.ndarray:
    """Returns the colours of all numbers of a file, uint8 `[256, 3]`."""
    colors = np.zeros((_HIGHEST + 1, 3), np.uint8)
    has_number = label_map.numbers >= 0
    colors[label_map.numbers[has_number]] = palette(label_map.num_labels)[has_number]
    return colors


def _require_labels(picture: Image.Image, file: pathlib.Path, colors: LabelColors | None) -> None:
    """Checks that a picture's format and mode can hold labels."""
    require_exact(picture, file)
    name = f"label map {printable(file)}"
    if colors is None and picture.mode not in LABEL_MODES:
        raise ValueError(
            f"{name} has colour or transparency (mode {picture.mode}): save it as a single-channel "
            "PNG whose values are label numbers, or, if each colour is a label, list the colours "
            "in a file and set config.data.colors to it"
        )
    if colors is not None and picture.mode not in _COLOR_MODES:
        raise ValueError(
            f"{name} has numbers instead of colours (mode {picture.mode}), and config.data.colors "
            f"= {colors.file}: save it as an RGB PNG, or leave config.data.colors empty"
        )


def _opaque(picture: Image.Image, file: pathlib.Path) -> np.ndarray:
    """Returns the colours uint8 `[H, W, 3]` of a picture without transparent pixels."""
    if picture.has_transparency_data:
        alpha = np.asarray(picture.convert("RGBA").getchannel("A"))
        if hidden := int((alpha < 255).sum()):
            raise ValueError(
                f"label map {printable(file)} is transparent at {hidden} of {alpha.size} pixels, "
                "whose label is unknown: give them a colour, and save it without transparency"
            )
    return np.asarray(picture.convert("RGB"))


def require_exact(picture: Image.Image, file: pathlib.Path) -> None:
    """Checks that the format of a label map keeps every number; raises ValueError otherwise."""
    stored_as = "JPEG" if picture.format == "MPO" else str(picture.format)
    if stored_as == "TIFF":
        compression = str(picture.info.get("compression"))
        if compression in _LOSSY_COMPRESSIONS:
            stored_as = f"TIFF with {compression.removeprefix('tiff_').upper()} compression"
        elif _tag(picture, _TIFF_PHOTOMETRIC) == _WHITE_IS_ZERO:
            stored_as = "TIFF with white as 0"
    if stored_as not in _EXACT_FORMATS:
        raise ValueError(
            f"label map {printable(file)} is stored as {stored_as}, which can change label "
            "numbers: make it again and save it as PNG; converting this file would keep the "
            "changed numbers"
        )


def _as_stored(picture: Image.Image, file: pathlib.Path) -> np.ndarray:
    """Returns the numbers of a decoded picture, without what Pillow does to them.

    Pillow scales grey values of 2 and 4 bits to 0 … 255, and reads signed bytes as unsigned ones
    and unsigned 32-bit numbers as signed ones.
    """
    numbers = np.asarray(picture)
    bits, kind = _bits(picture, file), _tag(picture, _TIFF_SAMPLE_FORMAT)
    if picture.mode == "L" and 1 < bits < 8:
        return numbers // (_HIGHEST // (2**bits - 1))
    if picture.mode == "L" and kind == _SIGNED:
        return numbers.view(np.int8)
    if picture.mode == "I" and kind == _UNSIGNED:
        return numbers.view(np.uint32)
    return numbers


def _bits(picture: Image.Image, file: pathlib.Path) -> int:
    """Returns the bits per pixel of a grey PNG or TIFF file, and 8 for other files."""
    if picture.format == "TIFF":
        return _tag(picture, _TIFF_BITS) or 1
    with file.open("rb") as opened_file:
        start = opened_file.read(26)
    is_grey_png = picture.format == "PNG" and len(start) == 26 and start[25] == 0
    return start[24] if is_grey_png else 8


def _tag(picture: Image.Image, tag: int) -> int | None:
    """Returns the first value of a TIFF file's tag, None if it has none."""
    value: Any = getattr(picture, "tag_v2", {}).get(tag)
    return value[0] if isinstance(value, tuple) else value


def _require_range(numbers: np.ndarray, file: pathlib.Path) -> None:
    """Checks that numbers are whole and 0 … 255, before a conversion to bytes hides it."""
    if numbers.dtype in (np.uint8, np.bool_):
        return
    fits = (numbers >= 0) & (numbers <= _HIGHEST) & (numbers == np.floor(numbers))
    if fits.all():
        return
    wrong = np.unique(numbers[~fits]).tolist()
    plural, them = ("s", "them") if len(wrong) > 1 else ("", "it")
    raise ValueError(
        f"label map {printable(file)} holds the value{plural} {listed(wrong)}: correct {them}, "
        f"label numbers are whole and 0 … {_HIGHEST}"
    )


def listed(values: Sequence[float]) -> str:
    """Formats the first five values, with an ellipsis if there are more."""
    shown = (f"{value:g}" if value % 1 else f"{value:.0f}" for value in values[:_VALUES_SHOWN])
    return ", ".join(shown) + (", …" if len(values) > _VALUES_SHOWN else "")
