"""Images as numbers and as pictures: value ranges, colours of label maps, grids, files."""

import colorsys
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from etils import epath
from PIL import Image, ImageDraw, ImageFont

from scam_jax import files

# Formats of written pictures, by suffix.
FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".bmp": "BMP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
}

if TYPE_CHECKING:  # the checker of photos starts without JAX
    import jax


def palette(num_labels: int) -> np.ndarray:
    """Returns uint8 colours `[num_labels, 3]` that are easy to tell apart; label 0 is dark grey."""
    golden_ratio = 0.618
    hues = (np.arange(num_labels) * golden_ratio) % 1
    shades = [(0.65 + 0.35 * (i % 2), 1 - 0.25 * (i % 3)) for i in range(num_labels)]
    colours = [colorsys.hsv_to_rgb(hue, *shade) for hue, shade in zip(hues, shades, strict=True)]
    colours[0] = (0.15, 0.15, 0.15)
    return (np.array(colours) * 255).round().astype(np.uint8)


def colorize(labels: np.ndarray, num_labels: int) -> np.ndarray:
    """Colours a label map: `[..., H, W]` to uint8 `[..., H, W, 3]`.

    Pixels of the label `num_labels`, which are left out of losses and metrics, become white.
    """
    return np.concatenate([palette(num_labels), np.full((1, 3), 255, np.uint8)])[labels]


def to_float(image: "jax.Array") -> "jax.Array":
    """Converts uint8 images to float32 in [-1, 1]; float images pass unchanged."""
    return image / np.float32(127.5) - 1 if image.dtype == np.uint8 else image


def to_uint8(image: np.ndarray) -> np.ndarray:
    """Converts images from [-1, 1] to uint8, rounded."""
    return np.clip(np.round((np.asarray(image, np.float32) + 1) * 127.5), 0, 255).astype(np.uint8)


def grid(rows: Sequence[Sequence[np.ndarray]], gap: int = 2) -> np.ndarray:
    """Arranges images of one size in a grid.

    Args:
      rows: images `uint8 [H, W, 3]`, one list per row.
      gap: width of the white gaps between images, in pixels.

    Returns:
      `uint8 [H', W', 3]`, white where a row is shorter than the longest.
    """
    height, width = rows[0][0].shape[:2]
    columns = max(len(row) for row in rows)
    shape = (len(rows) * (height + gap) - gap, columns * (width + gap) - gap, 3)
    picture = np.full(shape, 255, np.uint8)
    for i, row in enumerate(rows):
        for j, image in enumerate(row):
            y, x = i * (height + gap), j * (width + gap)
            picture[y : y + height, x : x + width] = image
    return picture


def captioned(image: np.ndarray, caption: str, least_height: int = 128) -> np.ndarray:
    """Adds a line of text above an image.

    Args:
      image: `uint8 [H, W, 3]`.
      caption: the text.
      least_height: a lower image is enlarged by a whole number, to this height or more.

    Returns:
      `uint8 [H', W', 3]`.
    """
    times = max(1, -(-least_height // image.shape[0]))
    image = image.repeat(times, axis=0).repeat(times, axis=1)
    strip = Image.new("RGB", (image.shape[1], 14), "white")
    ImageDraw.Draw(strip).text((0, 1), caption, fill="black", font=ImageFont.load_default(10))
    return np.concatenate([np.asarray(strip), image])


def stacked(parts: Sequence[np.ndarray], gap: int = 10) -> np.ndarray:
    """Stacks pictures of any sizes vertically.

    Args:
      parts: pictures `uint8 [H, W, 3]`, from top to bottom.
      gap: height of the white gaps between pictures, in pixels.

    Returns:
      `uint8 [H', W', 3]`, white to the right of narrower pictures.
    """
    width = max(part.shape[1] for part in parts)
    height = sum(part.shape[0] + gap for part in parts) - gap
    picture = np.full((height, width, 3), 255, np.uint8)
    top = 0
    for part in parts:
        picture[top : top + part.shape[0], : part.shape[1]] = part
        top += part.shape[0] + gap
    return picture


def save(path: epath.Path, image: np.ndarray, enlarge: int = 1) -> None:
    """Writes an image and creates the file's folder if needed.

    Args:
      path: the file; its suffix says the format, see `FORMATS`.
      image: `uint8 [H, W, 3]`.
      enlarge: factor by which the image is enlarged.
    """
    height, width = image.shape[:2]
    picture = Image.fromarray(image)
    picture = picture.resize((width * enlarge, height * enlarge), Image.Resampling.NEAREST)
    with files.replaced(path) as stream:
        picture.save(stream, format=FORMATS[path.suffix.lower()])


def check_output(path: pathlib.Path) -> None:
    """Checks, before the work, that an image can be written to a file.

    Raises:
      ValueError: the suffix names no format, it is a folder, or nothing can be written there.
    """
    if path.suffix.lower() not in FORMATS:
        raise ValueError(f"--output={path}: the name must end in {', '.join(FORMATS)}")
    if path.is_dir():
        raise ValueError(f"--output={path} is a folder: give the name of a file")
    files.check_writable("--output", path.parent)
