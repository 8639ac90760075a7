"""Shapes in the plane, as masks over a grid of points.

The points are the centres of the pixels. One unit is the image height. x is 0 in the middle and
increases to the right; y is 0 at the top and increases downwards. A shape is therefore the same at
every resolution.
"""

import dataclasses
import math

import numpy as np

Points = tuple[np.ndarray, np.ndarray]


def pixel_centres(height: int, width: int) -> Points:
    """Returns x and y of the pixel centres, each float32 `[height, width]`."""
    x = (np.arange(width, dtype=np.float32) + 0.5 - width / 2) / height
    y = (np.arange(height, dtype=np.float32) + 0.5) / height
    return np.broadcast_to(x, (height, width)), np.broadcast_to(y[:, None], (height, width))


@dataclasses.dataclass(frozen=True)
class Frame:
    """A rotated and scaled coordinate system; `angle` is in radians, clockwise in the image."""

    x: float
    y: float
    angle: float = 0.0
    scale: float = 1.0

    def local(self, points: Points) -> Points:
        """Returns the coordinates of the points in this frame."""
        dx, dy = (points[0] - self.x) / self.scale, (points[1] - self.y) / self.scale
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        return cos * dx + sin * dy, cos * dy - sin * dx

    def child(self, u: float, v: float, angle: float = 0.0) -> "Frame":
        """Returns a frame with its origin at (u, v) of this one, rotated further by `angle`."""
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        x = self.x + self.scale * (cos * u - sin * v)
        y = self.y + self.scale * (sin * u + cos * v)
        return Frame(x, y, self.angle + angle, self.scale)


def ellipse(points: Points, centre: tuple[float, float], radii: tuple[float, float]) -> np.ndarray:
    """Returns the bool mask of the points inside an axis-aligned ellipse."""
    u, v = (points[0] - centre[0]) / radii[0], (points[1] - centre[1]) / radii[1]
    return u * u + v * v < 1


def disc(points: Points, centre: tuple[float, float], radius: float) -> np.ndarray:
    """Returns the bool mask of the points inside a circle."""
    return ellipse(points, centre, (radius, radius))


def rounded_box(
    points: Points, centre: tuple[float, float], half: tuple[float, float], radius: float = 0.0
) -> np.ndarray:
    """Returns the bool mask of a box with the given half sizes and corners of radius `radius`."""
    u = np.abs(points[0] - centre[0]) - (half[0] - radius)
    v = np.abs(points[1] - centre[1]) - (half[1] - radius)
    if not radius:
        return (u < 0) & (v < 0)
    u, v = np.maximum(u, 0), np.maximum(v, 0)
    return u * u + v * v < radius * radius


def tapered_box(
    points: Points, top: float, bottom: float, half_top: float, half_bottom: float, radius: float
) -> np.ndarray:
    """Returns the bool mask of an upright trapezoid centred on u = 0, with rounded corners."""
    u, v = points
    share = np.clip((v - top) / (bottom - top), 0, 1)
    half = half_top + (half_bottom - half_top) * share
    across = np.maximum(np.abs(u) - half + radius, 0)
    along = np.maximum(np.abs(v - (top + bottom) / 2) - (bottom - top) / 2 + radius, 0)
    return across * across + along * along < radius * radius


def along_segment(
    points: Points, start: tuple[float, float], end: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Returns each point's position along a segment (0 … its length) and distance from it."""
    length = math.hypot(end[0] - start[0], end[1] - start[1])
    du, dv = (end[0] - start[0]) / length, (end[1] - start[1]) / length
    u, v = points[0] - start[0], points[1] - start[1]
    along = np.clip(u * du + v * dv, 0, length)
    return along, np.hypot(u - along * du, v - along * dv)


def capsule(
    points: Points, start: tuple[float, float], end: tuple[float, float], radius: float
) -> np.ndarray:
    """Returns the bool mask of the points closer to a segment than `radius`."""
    return along_segment(points, start, end)[1] < radius
