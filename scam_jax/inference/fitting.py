"""Fits pictures of any size to the model's size, without randomness.

Evaluation, the command line and notebooks all use these functions, so a photo gives the same result
everywhere. Training cuts random boxes with the same `cut` (data/augment.py).
"""

import math
from typing import NamedTuple

import numpy as np
from absl import logging
from ml_collections import ConfigDict

from scam_jax.examples import Picture
from scam_jax.inference.label_map import LabelMap
from scam_jax.inference.resizing import resize_bilinear, resize_nearest

# Largest difference of log aspect ratios between a label map of rounded size and its photo.
SHAPE_TOLERANCE = 0.02
# Logarithm of the change of shape that is worth a word.
_LEAST_STRETCH = math.log(1.1)


class Box(NamedTuple):
    """A part of an image, in pixels."""

    top: int
    left: int
    height: int
    width: int


def same_shape(a: tuple[int, int], b: tuple[int, int]) -> bool:
    """Returns whether two sizes, (rows, columns), have the same aspect ratio up to rounding."""
    return abs(math.log(a[0] * b[1] / (a[1] * b[0]))) <= SHAPE_TOLERANCE


def whole(picture: Picture) -> Box:
    """Returns the box of the whole picture."""
    return Box(0, 0, *picture.image.shape[:2])


def central_box(height: int, width: int, ratio: float) -> Box:
    """Returns the largest central box of an aspect ratio.

    Args:
      height: rows of the image.
      width: columns of the image.
      ratio: width / height of the box.
    """
    box_height = min(height, max(1, round(width / ratio)))
    box_width = min(width, max(1, round(height * ratio)))
    return Box((height - box_height) // 2, (width - box_width) // 2, box_height, box_width)


def cut(
    picture: Picture, box: Box, height: int, width: int, mirrored: np.ndarray | None = None
) -> Picture:
    """Cuts a box out of a picture, optionally mirrors it, and resizes it.

    Images are resized bilinearly with antialiasing, label maps to the nearest pixel.

    Args:
      picture: image and label map of the same size.
      box: the part to keep.
      height: rows of the result.
      width: columns of the result.
      mirrored: to mirror left and right: the label of each label in the mirror, `[256]`.

    Returns:
      Image `uint8 [height, width, 3]` and labels `uint8 [height, width]`.

    Raises:
      ValueError: image and label map differ in size.
    """
    image, labels = picture
    if labels.shape != image.shape[:2]:
        raise ValueError(
            f"label map of shape {labels.shape}, image of shape {image.shape}: make both the same "
            "size before cutting"
        )
    part = np.s_[box.top : box.top + box.height, box.left : box.left + box.width]
    image, labels = resize_bilinear(image[part], height, width), labels[part]
    if mirrored is not None:
        # The result equals mirroring first. Bilinear resizing commutes with mirroring, and the
        # resized image is cheaper to mirror. Nearest resizing rounds down and does not commute.
        image, labels = image.take(np.arange(width)[::-1], axis=1), mirrored[labels[:, ::-1]]
    return Picture(image, resize_nearest(labels, height, width))


def resize(picture: Picture, height: int, width: int) -> Picture:
    """Resizes a picture without keeping its aspect ratio; raises the same errors as `cut`."""
    return cut(picture, whole(picture), height, width)


def center_crop(picture: Picture, height: int, width: int) -> Picture:
    """Cuts the largest central box with the aspect ratio of height×width, and resizes it.

    Up to rounding, this scales the image until it just covers height×width and keeps the centre.
    It raises the same errors as `cut`.
    """
    rows, columns = picture.image.shape[:2]
    return cut(picture, central_box(rows, columns, width / height), height, width)


# Functions that fit pictures for evaluation, keyed by `config.data.augmentation`.
FITTING = {"none": resize, "basic": resize, "crop": center_crop}


def fit(picture: Picture, data: ConfigDict) -> Picture:
    """Fits a picture to the size of a model.

    Args:
      picture: an image and a label map with the model's labels. If their sizes differ, the label
        map is first resized to the image's size, to the nearest pixel.
      data: `config.data` of the model.

    Returns:
      Image `uint8 [data.height, data.width, 3]` and labels `uint8 [data.height, data.width]`.
    """
    labels = resize_nearest(picture.labels, *picture.image.shape[:2])
    function = FITTING[data.augmentation]
    return function(Picture(picture.image, labels), data.height, data.width)


def stretches(size: tuple[int, int], data: ConfigDict) -> bool:
    """Returns whether `fit` changes the shape of a photo by more than a tenth.

    Args:
      size: rows and columns of the photo.
      data: `config.data` of the model.
    """
    ratio = size[0] * data.width / (size[1] * data.height)
    return data.augmentation != "crop" and abs(math.log(ratio)) > _LEAST_STRETCH


def check_batch(labels: np.ndarray, data: ConfigDict, image: np.ndarray | None = None) -> None:
    """Checks a batch of a caller, which is not fitted.

    Args:
      labels: labels `[B, H, W]` of the model's size.
      data: `config.data` of the model.
      image: images `uint8 [B, H, W, 3]` of the model's size, if there are any.

    Raises:
      ValueError: wrong shapes or types, or a label that the model does not know.
    """
    size = data.height, data.width
    if labels.ndim != 3 or labels.shape[1:] != size or np.dtype(labels.dtype).kind not in "uib":
        found = f"{labels.dtype} {labels.shape}"
        raise ValueError(f"label maps are {found}: need whole numbers [B, {size[0]}, {size[1]}]")
    if image is not None and (image.shape != (*labels.shape, 3) or image.dtype != np.uint8):
        found = f"{image.dtype} {image.shape}"
        raise ValueError(f"images are {found}: need uint8 {(*labels.shape, 3)}")
    _check_labels("a", labels, data)


def check_image(name: str, image: np.ndarray) -> None:
    """Raises ValueError if an array is no image uint8 `[H, W, 3]`."""
    if image.ndim != 3 or image.shape[-1] != 3 or image.dtype != np.uint8 or not image.size:
        raise ValueError(f"{name} image is {image.dtype} {image.shape}: need uint8 [H, W, 3]")


def _check_labels(name: str, labels: np.ndarray, data: ConfigDict) -> None:
    highest = data.num_labels - 1 + LabelMap.of(data).ignores
    if labels.size and (labels.min() < 0 or labels.max() > highest):
        raise ValueError(
            f"{name} label map has values {labels.min()} … {labels.max()}: need [H, W] with "
            f"labels 0 … {highest}"
        )


def fit_given(name: str, picture: Picture, data: ConfigDict) -> Picture:
    """Checks the arrays of a caller and fits them; warns if their size changes.

    Args:
      name: name of the picture in errors and in the log.
      picture: image and label map of any size.
      data: `config.data` of the model.

    Returns:
      The picture in the model's size, see `fit`.

    Raises:
      ValueError: wrong shapes, or a label that the model does not know.
    """
    image, labels = (np.asarray(array) for array in picture)
    check_image(name, image)
    if labels.ndim != 2 or not labels.size or labels.dtype.kind not in "uib":
        kind = f"{labels.dtype} {labels.shape}"
        raise ValueError(f"{name} label map is {kind}: need uint8 [H, W]")
    _check_labels(name, labels, data)
    height, width = data.height, data.width
    for what, shape in (("image", image.shape[:2]), ("label map", labels.shape)):
        if shape != (height, width):
            logging.warning("%s %s resized from %s to %d×%d", name, what, shape, height, width)
    if not same_shape(image.shape[:2], labels.shape):
        logging.warning(
            "%s label map has the shape %d×%d, but its image %d×%d: it is stretched, and may "
            "not lie where the image's regions are",
            *(name, *labels.shape, *image.shape[:2]),
        )
    return fit(Picture(image, labels.astype(np.uint8)), data)
