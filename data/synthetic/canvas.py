"""The picture under way, and the patterns that clothes and hair are painted with."""

import dataclasses

import numpy as np

from data.synthetic import shapes
from data.synthetic.scene_factors import Colour, Pattern
from data.synthetic.shapes import Points


@dataclasses.dataclass(frozen=True)
class Canvas:
    """An image and its label map, filled from back to front: later fills cover earlier ones."""

    points: Points
    image: np.ndarray  # float32 [H, W, 3] in 0 … 1
    labels: np.ndarray  # uint8 [H, W]

    def fill(self, mask: np.ndarray, label: int, colour: np.ndarray | Colour) -> None:
        """Gives the masked pixels a label and a colour: one, or one per masked pixel `[n, 3]`."""
        self.image[mask] = colour
        self.labels[mask] = label


def blank(height: int, width: int) -> Canvas:
    """Returns a black canvas on which every pixel is labelled 0."""
    return Canvas(
        points=shapes.pixel_centres(height, width),
        image=np.zeros((height, width, 3), np.float32),
        labels=np.zeros((height, width), np.uint8),
    )


def paint(pattern: Pattern, u: np.ndarray, v: np.ndarray, extent: float) -> np.ndarray:
    """Returns a pattern's colours at points of a part's own frame.

    Args:
        pattern: what to paint.
        u: across the part, 0 on its axis, `[n]`.
        v: down the part from its top, 0 … extent, `[n]`.
        extent: the length of the part.

    Returns:
        Colours in 0 … 1, `[n, 3]`.

    Raises:
        ValueError: if the kind of pattern is unknown.
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
            # Shifted by half a cell, so that a column of cells lies on the axis.
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
    raise ValueError(f"unknown pattern {pattern.kind!r}; data/scene_factors.py lists the patterns")
