"""Image metrics: computed per image on the device, and combined over a data set on the host.

Only per-image values leave the devices. The host sums them in float64 in the order of the images,
so a figure does not depend on the number of devices.
"""

from collections.abc import Mapping

import dm_pix
import jax
import jax.numpy as jnp
import numpy as np

from scam_jax.images import to_float

Array = jax.Array
Values = dict[str, Array]
# Largest possible difference of uint8 values.
PEAK = 255.0


def truncated(image: Array) -> Array:
    """Converts images from [-1, 1] to whole numbers 0 … 255, truncated, as the authors do."""
    return jnp.floor(jnp.clip((image + 1) / 2 * PEAK, 0, PEAK))


def rounded(image: Array) -> Array:
    """Converts images from [-1, 1] to whole numbers 0 … 255, rounded, as an image file does."""
    return jnp.clip(jnp.round((image + 1) * (PEAK / 2)), 0, PEAK)


def _mean(values: Array, seen: Array | None) -> Array:
    """Averages values `[B, H, W, 3]` over the pixels that count, to `[B]`; NaN without any."""
    if seen is None:
        return values.mean((1, 2, 3))
    return (values.mean(-1) * seen).sum((1, 2)) / seen.sum((1, 2))


def or_worst(values: Array, image: Array, worst: float) -> Array:
    """Gives images that are not finite the worst value, which NaN, for no pixel, would hide.

    Args:
      values: a metric's values of images, `[B]`.
      image: the images `[B, H, W, 3]`.
      worst: `-inf` or `inf`.
    """
    return jnp.where(jnp.isfinite(image).all((1, 2, 3)), values, worst)


def authors_errors(image: Array, target: Array, seen: Array | None = None) -> Values:
    """Computes the per-image values of the authors' PSNR, see `authors_psnr`.

    Args:
      image: images `[B, H, W, 3]` in [-1, 1].
      target: images `uint8 [B, H, W, 3]`.
      seen: bool `[B, H, W]`, whether a pixel counts; None if all do.

    Returns:
      `[B]` values: 'squared_error', and 'minimum' and 'maximum' of the target.
    """
    target = to_float(target)
    counts = None if seen is None else seen[..., None]
    axes = (1, 2, 3)
    return {
        "squared_error": or_worst(_mean(jnp.square(image - target), seen), image, jnp.inf),
        "minimum": target.min(axes, where=counts, initial=None if seen is None else jnp.inf),
        "maximum": target.max(axes, where=counts, initial=None if seen is None else -jnp.inf),
    }


def authors_psnr(values: Mapping[str, np.ndarray]) -> float:
    """Computes the authors' PSNR, from one mean squared error over the data set.

    Args:
      values: `[N]` values of `authors_errors`, over the data set.

    Returns:
      PSNR in dB. Its peak is the range of all targets, max − min. Images without pixels that count
      (NaN) do not count.
    """
    errors = values["squared_error"]
    error = errors[~np.isnan(errors)].mean(dtype=np.float64)
    return decibels(error, float(values["maximum"].max()) - float(values["minimum"].min()))


def errors(image: Array, target: Array, seen: Array | None = None) -> Values:
    """Computes PSNR, SSIM and L1 of each image, after rounding it as an image file does.

    Args:
      image: images `[B, H, W, 3]` in [-1, 1].
      target: images `uint8 [B, H, W, 3]`.
      seen: bool `[B, H, W]`, whether a pixel counts; None if all do. SSIM averages the windows
        around these pixels. Other pixels of these windows are black in both images.

    Returns:
      `[B]` values: 'psnr' in dB, 'ssim', and 'l1', the mean absolute difference on the scale
      [-1, 1]. NaN for an image without pixels that count; infinitely bad for one that is not
      finite.
    """
    drawn, image, target = image, rounded(image), target.astype(jnp.float32)
    absolute = _mean(jnp.abs(image - target), seen)
    psnr = 10 * jnp.log10(PEAK**2 / _mean(jnp.square(image - target), seen))
    return {
        "psnr": or_worst(psnr, drawn, -jnp.inf),
        "ssim": or_worst(_ssim(image / PEAK, target / PEAK, seen), drawn, -jnp.inf),
        "l1": or_worst(absolute * (2 / PEAK), drawn, jnp.inf),
    }


def _ssim(image: Array, target: Array, seen: Array | None) -> Array:
    if seen is None:
        return dm_pix.ssim(image, target)
    image, target = (jnp.where(seen[..., None], x, 0) for x in (image, target))
    windows = dm_pix.ssim(image, target, return_map=True)
    rows, columns = ((a - b) // 2 for a, b in zip(seen.shape[1:], windows.shape[1:3], strict=True))
    centres = seen[:, rows : rows + windows.shape[1], columns : columns + windows.shape[2]]
    return _mean(windows, centres)


def psnr_within(image: Array, target: Array, weight: Array) -> Array:
    """Computes the PSNR of each image over some pixels, after rounding the image.

    Args:
      image: images `[B, H, W, 3]` in [-1, 1].
      target: images `uint8 [B, H, W, 3]`.
      weight: `[B, H, W]`, 1 for the pixels that count and 0 for others.

    Returns:
      PSNR in dB, `[B]`; NaN for an image without such pixels, −∞ for one that is not finite.
    """
    squared = jnp.square(rounded(image) - target.astype(jnp.float32)).mean(-1)
    error = jnp.sum(weight * squared, (1, 2)) / jnp.sum(weight, (1, 2))
    return or_worst(10 * jnp.log10(PEAK**2 / error), image, -jnp.inf)


def region_errors(image: Array, target: Array, labels: Array, num_labels: int) -> Values:
    """Sums squared differences over the pixels of each label, after rounding the images.

    Args:
      image: images `[B, H, W, 3]` in [-1, 1].
      target: images `uint8 [B, H, W, 3]`.
      labels: labels `[B, H, W]`.
      num_labels: L.

    Returns:
      `[B, L]` values: 'region_error', the sum of squared differences on the scale 0 … 255, averaged
      over channels; and 'region_pixels', the number of pixels.
    """
    squared = jnp.square(rounded(image) - target.astype(jnp.float32)).mean(-1)
    one_hot = jax.nn.one_hot(labels, num_labels)
    return {
        # By default, accelerators multiply with less than float32 precision.
        "region_error": jnp.einsum("bhw,bhwl->bl", squared, one_hot, precision="highest"),
        "region_pixels": one_hot.sum((1, 2)),
    }


def region_psnr(error: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Computes the PSNR of each label over all of its pixels in the data set.

    Args:
      error: 'region_error' of `region_errors`, `[N, L]`.
      pixels: 'region_pixels' of `region_errors`, `[N, L]`.

    Returns:
      PSNR in dB, `[L]`; NaN for a label without pixels.
    """
    error, pixels = (x.sum(0, dtype=np.float64) for x in (error, pixels))
    return np.array(
        [decibels(e / p, PEAK) if p else np.nan for e, p in zip(error, pixels, strict=True)]
    )


def decibels(squared_error: float, peak: float) -> float:
    """Converts a mean squared error to PSNR in dB; an error of 0 gives infinity."""
    return float("inf") if squared_error == 0 else float(10 * np.log10(peak**2 / squared_error))


@jax.jit
def cosine(a: Array, b: Array) -> Array:
    """Returns the cosine similarities `[B]` of features `[B, D]`."""
    norms = jnp.linalg.norm(a, axis=1) * jnp.linalg.norm(b, axis=1)
    return jnp.sum(a * b, axis=1) / jnp.maximum(norms, 1e-12)
