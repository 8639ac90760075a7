"""Resizes photos and label maps."""

import numpy as np
from PIL import Image


def resize_bilinear(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resizes a photo bilinearly, with antialiasing (Pillow's BILINEAR).

    Args:
      image: uint8 `[h, w, 3]`, or float32 `[h, w]`.
      height: rows of the result.
      width: columns of the result.

    Returns:
      `[height, width, ...]` of the same type; `image` itself if it has this size already.
    """
    if image.shape[:2] == (height, width):
        return image
    picture = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(picture)


def resize_nearest(labels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resizes a label map to the nearest pixel, with source index `floor(dst * in / out)`.

    Args:
      labels: uint8 `[h, w]`.
      height: rows of the result.
      width: columns of the result.

    Returns:
      uint8 `[height, width]`; `labels` itself if it has this size already.
    """
    if labels.shape == (height, width):
        return labels
    rows = np.arange(height) * labels.shape[0] // height
    columns = np.arange(width) * labels.shape[1] // width
    return labels.take(rows, axis=0).take(columns, axis=1)
