"""Random augmentations for training, from examples of any size to examples of the model's size.

An example is `{'image': uint8 [h, w, 3], 'label': uint8 [h, w]}`. Each augmentation cuts a box out
of the example, may mirror it, resizes it to height×width (see `fitting.cut`), and may change the
colours of the image. The random draws depend only on the generator and the size of the example.
Mirroring exchanges labels whose names tell left from right. The authors of SCAM train ADE20K with
"crop". Values that the paper does not give are the defaults of albumentations 1.0.
"""

import math
import re
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageEnhance

from scam_jax.examples import Example, Picture
from scam_jax.inference import fitting
from scam_jax.inference.fitting import Box, central_box

_JITTER_PROBABILITY = 0.4
_FLIP_PROBABILITY = 0.5
# ColorJitter of albumentations 1.0: factors, and hue shift as a fraction of the hue circle.
_FACTORS = (0.8, 1.2)
_HUE_SHIFT = 0.2

# "basic": fractions of the area, and aspect ratios and tries of RandomResizedCrop in albumentations
# 1.0.
_RESIZED_CROP_PROBABILITY = 0.7
_AREAS = (0.5, 1.0)

# "crop": rows of the box in an image with 512 rows, and its width / height.
_PORTRAIT_CROP_PROBABILITY = 0.6
_LARGE_CROP_PROBABILITY = 0.7
_LARGE_CROP_ROWS = (400, 512)
_SMALL_CROP_ROWS = (128, 400)
_ROWS = 512
_PORTRAIT_RATIO = 0.664

# Words of names that mirroring exchanges.
_OTHER_SIDE = {"l": "r", "r": "l", "left": "right", "right": "left"}


def mirrored_labels(parts: Sequence[Sequence[str]]) -> np.ndarray:
    """Returns the label that each label has in a mirrored picture, uint8 `[256]`.

    'l_eye' becomes 'r_eye', and 'left arm' with 'left leg' becomes 'right leg' with 'right arm'.
    All others stay.

    Args:
      parts: the names that each label is made of, from label 0 on, empty if unknown.
    """
    words = [{tuple(re.findall(r"[^\W_]+", name.lower())) for name in names} for names in parts]
    mirrored = np.arange(256, dtype=np.uint8)
    for label, own in enumerate(words):
        other = {tuple(_OTHER_SIDE.get(word, word) for word in name) for name in own}
        if other != own and words.count(own) == words.count(other) == 1:
            mirrored[label] = words.index(other)
    return mirrored


_NO_NAMES = mirrored_labels(())


def none(
    example: Example,
    rng: np.random.Generator,
    height: int,
    width: int,
    mirrored: np.ndarray = _NO_NAMES,
) -> Example:
    """Resizes without keeping the aspect ratio; draws nothing.

    Args:
      example: image and label map of one size.
      rng: random generator, unused.
      height: rows of the result.
      width: columns of the result.
      mirrored: see `mirrored_labels`, unused.

    Returns:
      `{'image': uint8 [height, width, 3], 'label': uint8 [height, width]}`.

    Raises:
      ValueError: image and label map differ in size.
    """
    return _example(fitting.resize(Picture.of(example), height, width))


def basic(
    example: Example,
    rng: np.random.Generator,
    height: int,
    width: int,
    mirrored: np.ndarray = _NO_NAMES,
) -> Example:
    """Mirrors, cuts a large box, and changes colours, each at random.

    The probabilities are 0.5, 0.7 and 0.4. A box has 50–100% of the area of the
    largest one that has the result's shape (`resized_crop_box`).

    Args:
      example: image and label map of one size.
      rng: random generator.
      height: rows of the result.
      width: columns of the result.
      mirrored: see `mirrored_labels`.

    Returns:
      `{'image': uint8 [height, width, 3], 'label': uint8 [height, width]}`.

    Raises:
      ValueError: image and label map differ in size.
    """
    flipped = rng.random() < _FLIP_PROBABILITY
    picture = Picture.of(example)
    box = fitting.whole(picture)
    if rng.random() < _RESIZED_CROP_PROBABILITY:
        box = resized_crop_box(rng, box.height, box.width, width / height)
    picture = fitting.cut(picture, box, height, width, mirrored if flipped else None)
    return _maybe_jittered(picture, rng)


def crop(
    example: Example,
    rng: np.random.Generator,
    height: int,
    width: int,
    mirrored: np.ndarray = _NO_NAMES,
) -> Example:
    """Mirrors, cuts a portrait box, and changes colours, each at random.

    The probabilities are 0.5, 0.6 and 0.4. The authors resize first and then cut 400–512 of 256
    rows, which cannot run. Here the box is cut from the image in its own size, and these numbers
    refer to an image with 512 rows (`portrait_crop_box`).

    Args:
      example: image and label map of one size.
      rng: random generator.
      height: rows of the result.
      width: columns of the result.
      mirrored: see `mirrored_labels`.

    Returns:
      `{'image': uint8 [height, width, 3], 'label': uint8 [height, width]}`.

    Raises:
      ValueError: image and label map differ in size.
    """
    flipped = rng.random() < _FLIP_PROBABILITY
    picture = Picture.of(example)
    box = fitting.whole(picture)
    if rng.random() < _PORTRAIT_CROP_PROBABILITY:
        box = portrait_crop_box(rng, box.height, box.width)
    picture = fitting.cut(picture, box, height, width, mirrored if flipped else None)
    return _maybe_jittered(picture, rng)


# Augmentations for training, keyed by `config.data.augmentation`. `fitting.FITTING` has the
# functions for evaluation.
TRAINING = {"none": none, "basic": basic, "crop": crop}


def resized_crop_box(rng: np.random.Generator, height: int, width: int, ratio: float) -> Box:
    """Draws a box of 50–100% of the area of the largest one.

    Args:
      rng: random generator.
      height: rows of the image.
      width: columns of the image.
      ratio: width / height of the box. The authors' is 1, and so are their images'.

    Returns:
      A box anywhere in the image.
    """
    largest, scale = central_box(height, width, ratio), math.sqrt(rng.uniform(*_AREAS))
    sides = (max(1, round(scale * side)) for side in (largest.height, largest.width))
    return _anywhere(rng, height, width, *sides)


def portrait_crop_box(rng: np.random.Generator, height: int, width: int) -> Box:
    """Draws a box with the aspect ratio (width / height) 0.664, up to rounding.

    Args:
      rng: random generator.
      height: rows of the image.
      width: columns of the image.

    Returns:
      A box. Its height is 400–512 (probability 0.7) or 128–400 of 512 parts of the image's height.
      A box that would be wider than the image gets the image's width instead.
    """
    large = rng.random() < _LARGE_CROP_PROBABILITY
    rows = rng.integers(*(_LARGE_CROP_ROWS if large else _SMALL_CROP_ROWS), endpoint=True)
    box_height = max(1, round(rows / _ROWS * height))
    box_width = max(1, round(_PORTRAIT_RATIO * box_height))
    if box_width > width:
        box_height, box_width = round(width / _PORTRAIT_RATIO), width
    return _anywhere(rng, height, width, box_height, box_width)


def jitter(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Changes brightness, contrast, saturation and hue, in random order.

    The factors are 0.8–1.2, and the hue shifts by up to 0.2 of its circle.

    Args:
      image: uint8 `[H, W, 3]`.
      rng: random generator.

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
    # Hue is a byte, so overflow wraps around the circle.
    hue, other = np.roll(np.arange(256), -shift).tolist(), list(range(256))
    return picture.convert("HSV").point(hue + other + other).convert("RGB")


def _maybe_jittered(picture: Picture, rng: np.random.Generator) -> Example:
    # Jittering after resizing is faster. Three of the changes treat each pixel separately; the
    # fourth, contrast, then uses the mean of the visible part.
    if rng.random() < _JITTER_PROBABILITY:
        picture = picture._replace(image=jitter(picture.image, rng))
    return _example(picture)


def _example(picture: Picture) -> Example:
    return {"image": picture.image, "label": picture.labels}


def _anywhere(
    rng: np.random.Generator, height: int, width: int, box_height: int, box_width: int
) -> Box:
    top = rng.integers(height - box_height, endpoint=True)
    left = rng.integers(width - box_width, endpoint=True)
    return Box(int(top), int(left), box_height, box_width)
