"""The canvas that a scene is drawn on, and the patterns of clothes and hair."""

import dataclasses

import numpy as np

from data.synthetic import shapes
from data.synthetic.scene_factors import Colour, Pattern
from data.synthetic.shapes import Points


@dataclasses.dataclass(frozen=True)
class Canvas:
    """An image and its label map, filled from back to front: later fills cover earlier ones.

    Attributes:
      points: x and y of the pixel centres, see `shapes.pixel_centres`.
      image: float32 `[H, W, 3]` in 0 … 1.
      labels: uint8 `[H, W]`.
    """

    points: Points
    image: np.ndarray
    labels: np.ndarray

    def fill(self, mask: np.ndarray, label: int, colour: np.ndarray | Colour) -> None:
        """Sets the label and the colour of the masked pixels.

        Args:
          mask: bool `[H, W]`.
          label: the label of all masked pixels.
          colour: one RGB colour in 0 … 1, or one per masked pixel, `[N, 3]`.
        """
        self.image[mask] = colour
        self.labels[mask] = label


def blank(height: int, width: int) -> Canvas:
    """Returns a black canvas whose pixels all have label 0."""
    return Canvas(
        points=shapes.pixel_centres(height, width),
        image=np.zeros((height, width, 3), np.float32),
        labels=np.zeros((height, width), np.uint8),
    )


def paint(pattern: Pattern, u: np.ndarray, v: np.ndarray, extent: float) -> np.ndarray:
    """Returns the colours of a pattern at points in the frame of a body part.

    Args:
      pattern: the pattern.
      u: positions across the part, 0 on its axis, `[N]`.
      v: positions down the part from where the pattern begins, `[N]`; may be negative or beyond
        `extent`.
      extent: the length that the pattern is scaled to.

    Returns:
      Colours in 0 … 1, `[N, 3]`.

    Raises:
      ValueError: the kind of pattern is unknown.
    """
    colours = np.array(pattern.colours, np.float32)
    if pattern.kind == "gradient":
        share = np.clip(v / extent, 0, 1)[:, None]
        return (1 - share) * colours[0] + share * colours[1]
    return colours[_colour_index(pattern, u * pattern.mirror, v, extent)]


def _colour_index(pattern: Pattern, u: np.ndarray, v: np.ndarray, extent: float) -> np.ndarray:
    width = pattern.width
    match pattern.kind:
        case "bands":
            return np.floor(v / (1.5 * width)).astype(np.int32) % 3
        case "split" | "halves":
            return (u > 0).astype(np.int32)
        case "checks":
            # Shift by half a cell, so that a column of cells is centred on the axis.
            return (np.floor(u / width + 0.5) + np.floor(v / width)).astype(np.int32) % 2
        case "emblem":
            distance = np.hypot(u, v - 0.5 * extent)
            return np.where(distance < width, 1, 0)
        case "diagonal":
            return np.digitize(u + 0.7 * (v - 0.5 * extent), (-0.6 * width, 0.6 * width))
        case "streaks":
            return (np.floor(u / width + 0.5).astype(np.int32) % 2 != 0).astype(np.int32)
        case "tips":
            return (v > 0.5 * extent).astype(np.int32)
        case "trim":
            return (v > extent).astype(np.int32)
    raise ValueError(
        f"unknown pattern {pattern.kind!r}; data/synthetic/scene_factors.py lists the patterns"
    )
