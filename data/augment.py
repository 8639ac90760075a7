"""Random augmentations of training: examples of any size become examples of the model's size.

An example is `{'image': uint8 [h, w, 3], 'label': uint8 [h, w]}`. Each augmentation cuts a box out
of the example, mirrors it or not, resizes it to height×width (see `fitting.cut`), and may change
the colours of the image. The random draws depend only on the generator and the size of the example.
Mirroring does not exchange labels that tell left from right. SCAM's authors train ADE20K with
"crop"; values that the paper does not give are the defaults of albumentations 1.0.
"""

import math

import numpy as np
from PIL import Image, ImageEnhance

from scam_jax.examples import Example, Picture
from scam_jax.inference import fitting
from scam_jax.inference.fitting import Box, central_box

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
    return _example(fitting.resize(Picture.of(example), height, width))


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
    picture = Picture.of(example)
    box = fitting.whole(picture)
    if rng.random() < _RESIZED_CROP_PROBABILITY:
        box = resized_crop_box(rng, box.height, box.width)
    return _maybe_jittered(fitting.cut(picture, box, height, width, flipped), rng)


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
    picture = Picture.of(example)
    box = fitting.whole(picture)
    if rng.random() < _PORTRAIT_CROP_PROBABILITY:
        box = portrait_crop_box(rng, box.height, box.width)
    return _maybe_jittered(fitting.cut(picture, box, height, width, flipped), rng)


# Augmentations of training, by `config.data.augmentation`; `fitting.FITTING` has evaluation's.
TRAINING = {"none": none, "basic": basic, "crop": crop}


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
    return central_box(height, width, min(max(width / height, _RATIOS[0]), _RATIOS[1]))


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


def _maybe_jittered(picture: Picture, rng: np.random.Generator) -> Example:
    # After resizing there are fewer pixels. Three of the changes treat each pixel by itself, and
    # the fourth, contrast, then uses the mean of the visible part.
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
