"""The frozen ResNet-50 of person re-identification, whose features identify people.

It is built as fastreid (He et al. 2020, arXiv:2006.02631) builds it for the weights of LUPerson
(Fu et al., CVPR 2021): plain batch norm, stride 1 in the last stage, and one pixel of padding in
the pool of the stem.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from scam_jax.models.layers.initialization import declare

Array = jax.Array

# Statistics of LUPerson's images, RGB 0 … 255, from its configs for these weights.
PIXEL_MEAN = (89.896, 79.200, 80.073)
PIXEL_STD = (63.872, 64.305, 63.839)
CROP_SIZE = (256, 128)

_BLOCKS = (3, 4, 6, 3)
_STRIDES = (1, 2, 2, 1)
_EXPANSION = 4


class FrozenBatchNorm(nn.Module):
    """Batch norm with stored statistics; scale, bias, mean and variance are parameters."""

    eps: float = 1e-5

    @nn.compact
    def __call__(self, x: Array) -> Array:
        names = ("scale", "bias", "mean", "variance")
        scale, bias, mean, variance = (self.param(n, declare, x.shape[-1:]) for n in names)
        scale = scale * jax.lax.rsqrt(variance + self.eps)
        return x * scale + (bias - mean * scale)


class ConvNorm(nn.Module):
    """Zero-padded convolution without bias, then frozen batch norm, of `[B, H, W, C]`."""

    features: int
    size: tuple[int, int] = (1, 1)
    stride: int = 1
    padding: tuple[int, int] = (0, 0)
    eps: float = 1e-5

    @nn.compact
    def __call__(self, x: Array) -> Array:
        x = nn.Conv(
            self.features,
            self.size,
            strides=self.stride,
            padding=[(p, p) for p in self.padding],
            use_bias=False,
            kernel_init=declare,
            name="conv",
        )(x)
        return FrozenBatchNorm(self.eps, name="norm")(x)


class Bottleneck(nn.Module):
    """Residual block: convolutions 1×1, 3×3 with the stride, and 1×1 to four times the width."""

    features: int
    stride: int = 1

    @nn.compact
    def __call__(self, x: Array) -> Array:
        wide = self.features * _EXPANSION
        y = nn.relu(ConvNorm(self.features, name="unit_1")(x))
        y = ConvNorm(self.features, (3, 3), self.stride, (1, 1), name="unit_2")(y)
        y = ConvNorm(wide, name="unit_3")(nn.relu(y))
        if x.shape[-1] != wide:
            x = ConvNorm(wide, stride=self.stride, name="shortcut")(x)
        return nn.relu(y + x)


class ReIDResNet50(nn.Module):
    """ResNet-50 whose features are the spatial mean of the last stage."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Computes the features of crops of people.

        Args:
          x: `[B, 256, 128, 3]`, RGB 0 … 255 of any type.

        Returns:
          Features `[B, 2048]`, float32.
        """
        x = (x.astype(jnp.float32) - np.array(PIXEL_MEAN, np.float32)) / np.array(
            PIXEL_STD, np.float32
        )
        with jax.default_matmul_precision("float32"):
            x = nn.relu(ConvNorm(64, (7, 7), 2, (3, 3), name="unit_1")(x))
            x = nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))
            for stage, (blocks, stride) in enumerate(zip(_BLOCKS, _STRIDES, strict=True)):
                for block in range(blocks):
                    name = f"layer_{stage + 1}_{block}"
                    x = Bottleneck(64 * 2**stage, stride if block == 0 else 1, name=name)(x)
        return x.mean((1, 2))


def person_crops(images: Array, labels: Array) -> Array:
    """Crops images to the bounding box of the foreground and resizes them for `ReIDResNet50`.

    The resize is that of PyTorch's `interpolate` with `align_corners=False`: bilinear between pixel
    centres, without antialiasing.

    Args:
      images: `[B, H, W, 3]`, of any range and type.
      labels: `[B, H, W]` label maps, where 0 is the background. If an image is all background, the
        whole image is used.

    Returns:
      `[B, 256, 128, 3]` float32, in the range of the images.
    """
    return jax.vmap(_crop)(images.astype(jnp.float32), labels > 0)


def _crop(image: Array, foreground: Array) -> Array:
    for axis, size in enumerate(CROP_SIZE):
        start, stop = _extent(foreground.any(1 - axis))
        low, high, weight = _samples(start, stop, size)
        weight = weight.reshape(-1, *[1] * (2 - axis))
        image = image.take(low, axis) * (1 - weight) + image.take(high, axis) * weight
    return image


def _extent(occupied: Array) -> tuple[Array, Array]:
    """Returns the range (start, stop) of the occupied positions; all positions if none is."""
    stop = occupied.size - occupied[::-1].argmax()
    return occupied.argmax(), stop


def _samples(start: Array, stop: Array, size: int) -> tuple[Array, Array, Array]:
    """Spreads `size` samples over start … stop: pixel below, pixel above, weight of the latter."""
    scale = (stop - start).astype(jnp.float32) / size
    position = jnp.maximum((jnp.arange(size) + 0.5) * scale - 0.5, 0)
    low = jnp.minimum(position.astype(jnp.int32), stop - start - 1)
    high = jnp.minimum(low + 1, stop - start - 1)
    return start + low, start + high, position - low
