"""Examples of any size turned to the size of the model: with chance to train, without to evaluate.

An example is `{'image': uint8 [h, w, 3], 'label': uint8 [h, w]}`, of any size. Every augmentation
cuts a box out of it, mirrors that or not, resizes it to height×width (the image bilinearly with
antialiasing, the label map to the nearest pixel), and last may change the image's colours. What is
drawn depends on the generator and the example's size alone. Mirroring does not exchange labels that
tell left from right. "crop" is what SCAM's authors train ADE20K with; where nothing is set, the
values are the defaults of albumentations 1.0.
"""

import math
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageEnhance

from data.sources import Example
from scam_jax.inference.resizing import resize_bilinear, resize_nearest

_JITTER_PROBABILITY = 0.4
_FLIP_PROBABILITY = 0.5
# ColorJitter of albumentations 1.0: factors, and part of the hue circle.
_FACTORS = (0.8, 1.2)
_HUE_SHIFT = 0.2

# "basic": parts of the area; ratios and tries of RandomResizedCrop, albumentations 1.0.
_RESIZED_CROP_PROBABILITY = 0.7
_AREAS = (0.5, 1.0)
_RATIOS = (3 / 4, 4 / 3)
_TRIES = 10

# "crop": rows of an image 512 rows high, and width / height.
_PORTRAIT_CROP_PROBABILITY = 0.6
_LARGE_CROP_PROBABILITY = 0.7
_LARGE_CROP_ROWS = (400, 512)
_SMALL_CROP_ROWS = (128, 400)
_ROWS = 512
_PORTRAIT_RATIO = 0.664


class Box(NamedTuple):
    """A part of an image, in pixels."""

    top: int
    left: int
    height: int
    width: int


def none(example: Example, rng: np.random.Generator, height: int, width: int) -> Example:
    """Resizes without keeping the aspect ratio; draws nothing.

    Args:
        example: image and label map of one size.
        rng: random numbers, unused.
        height: rows of what is returned.
        width: columns of what is returned.

    Returns:
        `{'image': uint8 [height, width, 3], 'label': uint8 [height, width]}`.

    Raises:
        ValueError: image and label map differ in size.
    """
    return resize(example, height, width)


def basic(example: Example, rng: np.random.Generator, height: int, width: int) -> Example:
    """Mirrors half of the examples, cuts 50–100% of the area of 70%, changes the colours of 40%.

    Args:
        example: image and label map of one size.
        rng: random numbers.
        height: rows of what is returned.
        width: columns of what is returned.

    Returns:
        `{'image': uint8 [height, width, 3], 'label': uint8 [height, width]}`.

    Raises:
        ValueError: image and label map differ in size.
    """
    flipped = rng.random() < _FLIP_PROBABILITY
    box = _whole(example)
    if rng.random() < _RESIZED_CROP_PROBABILITY:
        box = resized_crop_box(rng, box.height, box.width)
    return _maybe_jittered(_cut(example, box, height, width, flipped), rng)


def crop(example: Example, rng: np.random.Generator, height: int, width: int) -> Example:
    """Mirrors half of the examples, cuts portrait boxes of 60%, changes the colours of 40%.

    The authors resize first and then cut 400–512 of 256 rows, which cannot run: here the box is of
    the image at its own size, where those numbers are meant of 512 rows.

    Args:
        example: image and label map of one size.
        rng: random numbers.
        height: rows of what is returned.
        width: columns of what is returned.

    Returns:
        `{'image': uint8 [height, width, 3], 'label': uint8 [height, width]}`.

    Raises:
        ValueError: image and label map differ in size.
    """
    flipped = rng.random() < _FLIP_PROBABILITY
    box = _whole(example)
    if rng.random() < _PORTRAIT_CROP_PROBABILITY:
        box = portrait_crop_box(rng, box.height, box.width)
    return _maybe_jittered(_cut(example, box, height, width, flipped), rng)


def resize(example: Example, height: int, width: int) -> Example:
    """Resizes without keeping the aspect ratio; args, returns and raises as `none`."""
    return _cut(example, _whole(example), height, width)


def center_crop(example: Example, height: int, width: int) -> Example:
    """Cuts the largest central box of the aspect ratio of height×width, and resizes it.

    This is, but for the rounding to pixels, the image scaled until it just covers height×width, and
    the centre of that. Args, returns and raises as `none`.
    """
    whole = _whole(example)
    box = _central_box(whole.height, whole.width, width / height)
    return _cut(example, box, height, width)


# By `config.data.augmentation`: what is trained on, and what is evaluated on.
TRAINING = {"none": none, "basic": basic, "crop": crop}
EVALUATION = {"none": resize, "basic": resize, "crop": center_crop}


def resized_crop_box(rng: np.random.Generator, height: int, width: int) -> Box:
    """Draws a box of 50–100% of the area and an aspect ratio (width / height) of 3/4–4/3.

    Args:
        rng: random numbers.
        height: rows of the image.
        width: columns of the image.

    Returns:
        The first box of ten that fits into the image; if none does, the largest central one whose
        aspect ratio is in the range.
    """
    for _ in range(_TRIES):
        area = rng.uniform(*_AREAS) * height * width
        ratio = math.exp(rng.uniform(*map(math.log, _RATIOS)))
        box_height, box_width = round(math.sqrt(area / ratio)), round(math.sqrt(area * ratio))
        if 1 <= box_height <= height and 1 <= box_width <= width:
            return _anywhere(rng, height, width, box_height, box_width)
    return _central_box(height, width, min(max(width / height, _RATIOS[0]), _RATIOS[1]))


def portrait_crop_box(rng: np.random.Generator, height: int, width: int) -> Box:
    """Draws a box of aspect ratio (width / height) 0.664, but for the rounding to pixels.

    Args:
        rng: random numbers.
        height: rows of the image.
        width: columns of the image.

    Returns:
        A box of 400–512 (probability 0.7) or 128–400 of 512 parts of the image's height, or, where
        that is wider than the image, of the image's width.
    """
    large = rng.random() < _LARGE_CROP_PROBABILITY
    rows = rng.integers(*(_LARGE_CROP_ROWS if large else _SMALL_CROP_ROWS), endpoint=True)
    box_height = max(1, round(rows / _ROWS * height))
    box_width = max(1, round(_PORTRAIT_RATIO * box_height))
    if box_width > width:
        box_height, box_width = round(width / _PORTRAIT_RATIO), width
    return _anywhere(rng, height, width, box_height, box_width)


def jitter(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Changes brightness, contrast, saturation by 0.8–1.2 and hue by up to 0.2 of its circle.

    Args:
        image: uint8 `[H, W, 3]`.
        rng: random numbers, also of the order of the four changes.

    Returns:
        uint8 `[H, W, 3]`.
    """
    brightness, contrast, saturation = rng.uniform(*_FACTORS, 3)
    shift = round(256 * rng.uniform(-_HUE_SHIFT, _HUE_SHIFT))
    changes = (
        lambda picture: ImageEnhance.Brightness(picture).enhance(brightness),
        lambda picture: ImageEnhance.Contrast(picture).enhance(contrast),
        lambda picture: ImageEnhance.Color(picture).enhance(saturation),
        lambda picture: _shift_hue(picture, shift),
    )
    picture = Image.fromarray(image)
    for index in rng.permutation(len(changes)):
        picture = changes[index](picture)
    return np.asarray(picture)


def _shift_hue(picture: Image.Image, shift: int) -> Image.Image:
    # Hue is a byte, whose overflow is the wrap around the circle.
    hue, other = np.roll(np.arange(256), -shift).tolist(), list(range(256))
    return picture.convert("HSV").point(hue + other + other).convert("RGB")


def _maybe_jittered(example: Example, rng: np.random.Generator) -> Example:
    # After resizing, where pixels are fewer: three of the changes are of each pixel by itself, and
    # contrast then goes by the mean of the part that is seen.
    if rng.random() >= _JITTER_PROBABILITY:
        return example
    return example | {"image": jitter(example["image"], rng)}


def _whole(example: Example) -> Box:
    return Box(0, 0, *example["image"].shape[:2])


def _anywhere(
    rng: np.random.Generator, height: int, width: int, box_height: int, box_width: int
) -> Box:
    top = rng.integers(height - box_height, endpoint=True)
    left = rng.integers(width - box_width, endpoint=True)
    return Box(int(top), int(left), box_height, box_width)


def _central_box(height: int, width: int, ratio: float) -> Box:
    """The largest central box of an aspect ratio (width / height)."""
    box_height = min(height, max(1, round(width / ratio)))
    box_width = min(width, max(1, round(height * ratio)))
    return Box((height - box_height) // 2, (width - box_width) // 2, box_height, box_width)


def _cut(example: Example, box: Box, height: int, width: int, flipped: bool = False) -> Example:
    """A part of an example, mirrored or not, resized."""
    image, labels = example["image"], example["label"]
    if labels.shape != image.shape[:2]:
        raise ValueError(
            f"label map of shape {labels.shape}, image of shape {image.shape}: make both of one "
            "size before augmentation"
        )
    part = np.s_[box.top : box.top + box.height, box.left : box.left + box.width]
    image, labels = resize_bilinear(image[part], height, width), labels[part]
    if flipped:
        # As if mirrored before: bilinear resizing commutes with mirroring, which costs less of the
        # result; nearest, which rounds down, does not.
        image, labels = image.take(np.arange(width)[::-1], axis=1), labels[:, ::-1]
    return {"image": image, "label": resize_nearest(labels, height, width)}
