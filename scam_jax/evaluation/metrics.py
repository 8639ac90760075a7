"""Metrics of images: per image on the device, put together over a data set on the host.

Per-image values are all that crosses from devices and hosts, and sums are in float64 over the
images in their order: a figure is the same on any number of devices.
"""

from collections.abc import Mapping

import dm_pix
import jax
import jax.numpy as jnp
import numpy as np

from scam_jax.images import to_float

Array = jax.Array
Values = dict[str, Array]
# What of 0 … 255 is at stake.
PEAK = 255.0


def truncated(image: Array) -> Array:
    """Images in [-1, 1] as whole numbers 0 … 255, cut off (the authors' way before FID)."""
    return jnp.floor(jnp.clip((image + 1) / 2 * PEAK, 0, PEAK))


def rounded(image: Array) -> Array:
    """Images in [-1, 1] as whole numbers 0 … 255, rounded: what a picture file holds."""
    return jnp.clip(jnp.round((image + 1) * (PEAK / 2)), 0, PEAK)


def authors_errors(image: Array, target: Array) -> Values:
    """What the authors' PSNR is made of, `[B]` each.

    Args:
      image: `[B, H, W, 3]` in [-1, 1].
      target: `uint8 [B, H, W, 3]`.
    """
    target = to_float(target)
    axes = (1, 2, 3)
    return {
        "squared_error": jnp.square(image - target).mean(axes),
        "minimum": target.min(axes),
        "maximum": target.max(axes),
    }


def authors_psnr(values: Mapping[str, np.ndarray]) -> float:
    """PSNR in dB of one mean squared error over the data set; the peak is max − min of targets."""
    error = values["squared_error"].mean(dtype=np.float64)
    return decibels(error, float(values["maximum"].max()) - float(values["minimum"].min()))


def errors(image: Array, target: Array) -> Values:
    """PSNR (dB), SSIM and L1 (of images in [-1, 1]) of each image as a picture file holds it.

    Args:
      image: `[B, H, W, 3]` in [-1, 1].
      target: `uint8 [B, H, W, 3]`.
    """
    image, target = rounded(image), target.astype(jnp.float32)
    absolute = jnp.abs(image - target).mean((1, 2, 3))
    return {
        "psnr": 10 * jnp.log10(PEAK**2 / jnp.square(image - target).mean((1, 2, 3))),
        "ssim": dm_pix.ssim(image / PEAK, target / PEAK),
        "l1": absolute * (2 / PEAK),
    }


def psnr_within(image: Array, target: Array, weight: Array) -> Array:
    """PSNR in dB of each image over the pixels where `weight [B, H, W]` is 1; NaN without any.

    Args:
      image: `[B, H, W, 3]` in [-1, 1]; counts as a file holds it.
      target: `uint8 [B, H, W, 3]`.
      weight: `[B, H, W]`.
    """
    squared = jnp.square(rounded(image) - target.astype(jnp.float32)).mean(-1)
    error = jnp.sum(weight * squared, (1, 2)) / jnp.sum(weight, (1, 2))
    return 10 * jnp.log10(PEAK**2 / error)


def region_errors(image: Array, target: Array, labels: Array, num_labels: int) -> Values:
    """Sums over each label's pixels, `[B, L]` each.

    Args:
      image: `[B, H, W, 3]` in [-1, 1].
      target: `uint8 [B, H, W, 3]`.
      labels: `[B, H, W]`.
      num_labels: L.

    Returns:
      'region_error': squared differences of 0 … 255, mean over colours; 'region_pixels'.
    """
    squared = jnp.square(rounded(image) - target.astype(jnp.float32)).mean(-1)
    one_hot = jax.nn.one_hot(labels, num_labels)
    return {
        # accelerators would multiply in less than fp32
        "region_error": jnp.einsum("bhw,bhwl->bl", squared, one_hot, precision="highest"),
        "region_pixels": one_hot.sum((1, 2)),
    }


def region_psnr(error: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """PSNR in dB over all of a region's pixels in the data set, `[N, L]` each to `[L]`.

    A region that no image has gives NaN.
    """
    error, pixels = (x.sum(0, dtype=np.float64) for x in (error, pixels))
    return np.array(
        [decibels(e / p, PEAK) if p else np.nan for e, p in zip(error, pixels, strict=True)]
    )


def decibels(squared_error: float, peak: float) -> float:
    """PSNR of a mean squared error; infinite without any error."""
    return float("inf") if squared_error == 0 else float(10 * np.log10(peak**2 / squared_error))
