"""Reads photos together with their label maps.

A pair that cannot be read without doubt raises a ValueError that names the file and a remedy. What
can be read but is probably not meant is part of the result, for the reader to say.
"""

import dataclasses
import os
import pathlib
from collections.abc import Callable
from typing import Literal

import numpy as np
from absl import logging
from ml_collections import ConfigDict
from PIL import Image

from scam_jax.examples import Picture
from scam_jax.inference import label_files
from scam_jax.inference.decoding import opened, printable
from scam_jax.inference.fitting import fit, same_shape, stretches
from scam_jax.inference.label_colors import LabelColors
from scam_jax.inference.label_map import LabelMap
from scam_jax.inference.resizing import resize_nearest

# Maps the label numbers of a file, uint8 `[H, W]`, to labels. The string names the label map.
Relabel = Callable[[np.ndarray, str], np.ndarray]
# Rows and columns.
Size = tuple[int, int]
# How the size of a label map relates to that of its photo.
Relation = Literal["same", "resized", "misshapen"]
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
# Transposition that undoes this.
_AS_STORED = {**_UPRIGHT, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
_ON_ITS_SIDE = (5, 6, 7, 8)


@dataclasses.dataclass(frozen=True)
class Pair:
    """A photo and its label map, read and upright.

    Attributes:
      image: uint8 `[H, W, 3]`.
      labels: uint8 `[H, W]`, resized to the photo's size.
      labels_size: size of the label map before.
      transparent: number of the photo's pixels that are transparent or partly so. They lie on
        white.
    """

    image: np.ndarray
    labels: np.ndarray
    labels_size: Size
    transparent: int

    @property
    def photo_size(self) -> Size:
        """Size of the photo."""
        return self.labels.shape[0], self.labels.shape[1]

    @property
    def relation(self) -> Relation:
        """How the size of the label map relates to that of the photo."""
        return relation(self.photo_size, self.labels_size)

    def transparency_note(self, image_file: os.PathLike) -> str:
        """Returns a line about the transparent pixels."""
        return (
            f"{printable(image_file)} is transparent at {self.transparent} of {self.labels.size} "
            "pixels: they are read as on white"
        )

    def shape_note(self, image_file: os.PathLike, label_file: os.PathLike) -> str:
        """Returns a line about a label map that is misshapen."""
        return (
            f"label map {printable(label_file)} has the shape {_text(self.labels_size)}, but "
            f"{printable(image_file)} has {_text(self.photo_size)}: it is stretched, and may not "
            "lie where the photo's regions are; make it from the photo as it is"
        )


def read_picture(
    image_file: str | os.PathLike, label_file: str | os.PathLike, data: ConfigDict
) -> Picture:
    """Reads a photo and its label map in the form that a model takes.

    This turns both upright, maps label numbers, and fits the picture to the model's size.
    `TrainedModel.read` uses it, and evaluation applies the same functions. The log says what is
    probably not meant.

    Args:
      image_file: the photo.
      label_file: its label map.
      data: `config.data` of the model.

    Raises:
      ValueError: see `read_pair`.
    """
    files = pathlib.Path(image_file), pathlib.Path(label_file)
    label_map = LabelMap.of(data)
    pair = read_pair(*files, label_map, LabelColors.of(data, label_map))
    if pair.transparent:
        logging.warning("%s", pair.transparency_note(files[0]))
    if pair.relation == "misshapen":
        logging.warning("%s", pair.shape_note(*files))
    tell_stretched(image_file, pair.image.shape[:2], data)
    if label_map.ignores and (ignored := int((pair.labels == label_map.num_labels).sum())):
        logging.warning(
            "label map %s leaves %d of %d pixels out (config.data.ignore_label = %d): what a model "
            "draws there is arbitrary",
            *(printable(label_file), ignored, pair.labels.size, label_map.ignore_label),
        )
    return fit(Picture(pair.image, pair.labels), data)


def tell_stretched(file: str | os.PathLike, size: Size, data: ConfigDict) -> None:
    """Warns if a photo has not the model's shape, see `fitting.stretches`."""
    if stretches(size, data):
        logging.warning(
            "%s is %s, so it is stretched to %s: crop it first, framed like the photos that the "
            "model was trained on",
            *(printable(file), _text(size), _text((data.height, data.width))),
        )


def read_pair(
    image_file: pathlib.Path,
    label_file: pathlib.Path,
    label_map: Relabel,
    colors: LabelColors | None = None,
) -> Pair:
    """Reads a photo and its label map, upright, in the photo's own size.

    Photos of any colour mode become RGB. Transparent pixels lie on white. A label map of another
    size is resized to the photo's size, to the nearest pixel. If EXIF data turns the photo by 90°,
    the shape of the label map tells whether the label map fits the stored or the upright pixels, or
    the file says that it is upright (`label_files.write`). If neither tells, this raises an error.

    Args:
      image_file: the photo.
      label_file: its label map.
      label_map: maps the label numbers of files to the model's labels, such as a `LabelMap`.
      colors: the colours of the label numbers, or None if the values of files are the numbers.

    Raises:
      ValueError: a file cannot be read, the label map has a colour or a value without a label, or
        EXIF data leaves the orientation of the label map open.
    """
    photo, orientation = _stored(image_file)
    numbers = label_files.read_numbers(label_file, colors)
    if orientation in _UPRIGHT:
        of_photo = photo, numbers.shape, orientation, image_file, label_file
        if not label_files.is_upright(label_file) and _lies_as_stored(*of_photo):
            upright = Image.fromarray(numbers).transpose(_UPRIGHT[orientation])
            numbers = np.asarray(upright)
        photo = photo.transpose(_UPRIGHT[orientation])
    image, transparent = _to_rgb(photo, image_file)
    labels = label_map(numbers, f"label map {printable(label_file)}")
    labels = resize_nearest(labels, *image.shape[:2])
    return Pair(image, labels, numbers.shape, transparent)


def read_photo(image_file: str | os.PathLike) -> np.ndarray:
    """Reads a photo that has no label map, upright, in its own size.

    Args:
      image_file: the photo.

    Returns:
      uint8 `[H, W, 3]`. Transparent pixels lie on white, which the log says.

    Raises:
      ValueError: the file cannot be read; names it.
    """
    file = pathlib.Path(image_file)
    photo, orientation = _stored(file)
    if orientation in _UPRIGHT:
        photo = photo.transpose(_UPRIGHT[orientation])
    image, transparent = _to_rgb(photo, file)
    if transparent:
        logging.warning(
            "%s", Pair(image, image[..., 0], image.shape[:2], transparent).transparency_note(file)
        )
    return image


def compare(
    image_file: pathlib.Path, label_file: pathlib.Path, colors: LabelColors | None = None
) -> Relation:
    """Compares the size of a label map with that of its photo, by the files' headers.

    Args:
      image_file: the photo. Its size may be the stored or the upright one.
      label_file: its label map.
      colors: see `read_pair`.

    Raises:
      ValueError: a header cannot be read, or the file cannot hold label numbers; names the file.
    """
    with opened(image_file, image_file) as picture:
        photo = picture.height, picture.width
    label_map = label_files.header(label_file, colors)
    labels = label_map.height, label_map.width
    found = relation(photo, labels)
    turned = relation(photo[::-1], labels)
    if found != "misshapen" or turned == "misshapen":
        return found
    # Decodes the whole file only in this case: the EXIF data of a PNG may follow the pixels.
    is_turned = _stored(image_file)[1] in _ON_ITS_SIDE
    return turned if is_turned else found


def relation(photo: Size, labels: Size) -> Relation:
    """Returns how the size of a label map relates to the size of its photo."""
    if photo == labels:
        return "same"
    return "resized" if same_shape(photo, labels) else "misshapen"


def _stored(file: pathlib.Path) -> tuple[Image.Image, int]:
    """Decodes a photo as it is stored; returns it and its EXIF orientation, 1 if it has none."""
    with opened(file, file) as photo:
        # Pillow turns TIFF files upright, and forgets that it did.
        before = photo.getexif().get(_EXIF_ORIENTATION) if photo.format == "TIFF" else None
        photo.load()
    if before in _AS_STORED:
        return photo.transpose(_AS_STORED[before]), before
    return photo, _orientation(photo, file)


def _orientation(photo: Image.Image, file: pathlib.Path) -> int:
    """Returns the EXIF orientation of a decoded photo, 1 if it has none."""
    try:
        orientation = photo.getexif().get(_EXIF_ORIENTATION, 1)
    # As for damaged files, Pillow raises exceptions of many types.
    except Exception as error:
        raise ValueError(
            f"the EXIF data of {printable(file)} cannot be read: save it without them"
        ) from error
    return orientation if isinstance(orientation, int) else 1


def _lies_as_stored(
    photo: Image.Image,
    labels: Size,
    orientation: int,
    image_file: pathlib.Path,
    label_file: pathlib.Path,
) -> bool:
    """Returns whether a label map fits the photo's stored pixels instead of the upright ones."""
    stored = photo.height, photo.width
    if orientation in _ON_ITS_SIDE:
        as_stored, as_upright = same_shape(stored, labels), same_shape(stored[::-1], labels)
        if as_stored != as_upright:
            return as_stored
    raise ValueError(
        f"{printable(image_file)} says in its EXIF data that it must be turned (orientation "
        f"{orientation}), and the shape of {printable(label_file)} does not tell whether its "
        "labels are turned already: save the photo upright without EXIF orientation (mogrify "
        "-auto-orient), and the label map to match"
    )


def _to_rgb(photo: Image.Image, file: pathlib.Path) -> tuple[np.ndarray, int]:
    """Returns the pixels uint8 `[H, W, 3]` of a photo, and how many of them were transparent."""
    if photo.mode in ("I", "I;16", "I;16B", "F"):
        return _grey_to_rgb(photo, file)
    try:
        if photo.has_transparency_data:
            rgba = photo.convert("RGBA")
            alpha = rgba.getchannel("A")
            transparent = rgba.width * rgba.height - alpha.histogram()[255]
            if transparent:
                photo = Image.new("RGB", rgba.size, "white")
                photo.paste(rgba, mask=alpha)
                return np.asarray(photo), transparent
        return np.asarray(photo if photo.mode == "RGB" else photo.convert("RGB")), 0
    except Exception as error:
        raise ValueError(
            f"{printable(file)} cannot be converted to RGB (its mode is {photo.mode}): save it as "
            "an RGB picture"
        ) from error


def _grey_to_rgb(photo: Image.Image, file: pathlib.Path) -> tuple[np.ndarray, int]:
    """Does the same for a grey photo of 16 bits, which Pillow would clip to 255."""
    grey = np.asarray(photo)
    if photo.mode == "F" or grey.min() < 0 or grey.max() >= 2**16:
        raise ValueError(
            f"{printable(file)} has grey values {grey.min():g} … {grey.max():g}, of which white is "
            "unknown: save it with 8 or 16 bits"
        )
    value = photo.info.get("transparency")
    transparent = grey == (value if isinstance(value, int) else -1)
    image = np.where(transparent, 255, grey >> 8).astype(np.uint8)
    return np.repeat(image[..., None], 3, axis=2), int(transparent.sum())


def _text(size: Size) -> str:
    return f"{size[0]}×{size[1]}"
