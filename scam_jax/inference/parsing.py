"""Makes the label maps of photos that have none, with a run's parser."""

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from scam_jax.images import to_float
from scam_jax.inference.label_map import LabelMap
from scam_jax.inference.resizing import resize_bilinear
from scam_jax.models.parser import Parser, build

Array = jax.Array


class Parsed(NamedTuple):
    """A label map of a parser.

    Attributes:
      labels: uint8 `[H, W]`, of the photo's size.
      confidence: mean probability of the labels, in the parser's own estimate.
    """

    labels: np.ndarray
    confidence: float


class PhotoParser:
    """A trained parser.

    Attributes:
      config: the config of the parser, or of its run.
      label_names: names of its labels, empty if unknown.
    """

    def __init__(self, config: ConfigDict, params: Any, label_names: Sequence[str] = ()):
        """Builds the network.

        Args:
          config: the config of the parser, or of its run.
          params: the parser's parameters.
          label_names: names of its labels, empty if unknown.
        """
        self.config, self.params, self.label_names = config, params, label_names
        # A label without a number cannot stand in a file. No label map of the data has it either.
        self._possible = LabelMap.of(config.data).numbers >= 0

    def __call__(self, photo: np.ndarray) -> Parsed:
        """Draws the label map of a photo.

        The parser sees the photo as training does: at the model's size, or, if the model crops
        photos (`data.augmentation` is 'crop'), with the photo's own shape.

        Args:
          photo: uint8 `[H, W, 3]`.
        """
        size = _size_to_see(photo.shape[:2], self.config.data)
        image = resize_bilinear(photo, *size)
        given = np.asarray(_probabilities(build(self.config), self.params, image[None])[0])
        labels, best = np.zeros(photo.shape[:2], np.uint8), np.full(photo.shape[:2], -1.0)
        # One label at a time: the probabilities of all, at a photo's size, would need gigabytes.
        for label in np.flatnonzero(self._possible):
            probability = _enlarged(given[..., label], *photo.shape[:2])
            labels = np.where(probability > best, np.uint8(label), labels)
            best = np.maximum(best, probability)
        return Parsed(labels, float(best.mean()))

    def draw_batch(self, image: Array) -> Array:
        """Draws the label maps of images of the model's size.

        Args:
          image: uint8 `[B, H, W, 3]`.

        Returns:
          Labels `[B, H, W]`.
        """
        probabilities = _probabilities(build(self.config), self.params, image)
        return jnp.where(self._possible, probabilities, -1).argmax(-1)


@functools.partial(jax.jit, static_argnums=0)
def _probabilities(network: Parser, params: Any, image: Array) -> Array:
    return jax.nn.softmax(cast(Array, network.apply({"params": params}, to_float(image))))


def _enlarged(map_: np.ndarray, height: int, width: int) -> np.ndarray:
    """Enlarges a map of the size of label maps, so that it lies where their labels come from.

    A label map is resized to its pixels `floor(i * in / out)`, which lie half a pixel of the small
    map before the middle. Resizing about the middle would move a drawn label map by that much.

    Args:
      map_: float32 `[h, w]`.
      height: rows of the result.
      width: columns of the result.
    """
    rows, columns = map_.shape
    down, right = rows / height, columns / width
    by = math.ceil(max(down, right) / 2)
    padded = Image.fromarray(np.pad(map_, by, mode="edge"))
    top, left = by + (1 - down) / 2, by + (1 - right) / 2
    box = (left, top, left + columns, top + rows)
    return np.asarray(padded.resize((width, height), Image.Resampling.BILINEAR, box))


def _size_to_see(size: tuple[int, int], data: ConfigDict) -> tuple[int, int]:
    if data.augmentation != "crop":
        return data.height, data.width
    times = max(data.height / size[0], data.width / size[1])
    return round(times * size[0]), round(times * size[1])
