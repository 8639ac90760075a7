"""ResNet-50 of person re-identification, frozen: features that tell persons apart.

As fastreid builds it (He et al. 2020, arXiv:2006.02631) for the weights of LUPerson (Fu et al.,
CVPR 2021): plain batch norm, stride 1 in the last stage, a stem pool padded by one pixel.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from scam_jax.models.layers.initialization import declare

Array = jax.Array

# Of LUPerson's images, in 0…255 RGB, as its configs for these weights have them.
PIXEL_MEAN = (89.896, 79.200, 80.073)
PIXEL_STD = (63.872, 64.305, 63.839)
CROP_SIZE = (256, 128)

_BLOCKS = (3, 4, 6, 3)
_STRIDES = (1, 2, 2, 1)
_EXPANSION = 4


class FrozenBatchNorm(nn.Module):
    """Batch norm by stored statistics, all four vectors parameters."""

    eps: float = 1e-5

    @nn.compact
    def __call__(self, x: Array) -> Array:
        names = ("scale", "bias", "mean", "variance")
        scale, bias, mean, variance = (self.param(n, declare, x.shape[-1:]) for n in names)
        scale = scale * jax.lax.rsqrt(variance + self.eps)
        return x * scale + (bias - mean * scale)


class ConvNorm(nn.Module):
    """Convolution without bias, zero padding, then frozen batch norm: `[B, H, W, C]`."""

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
    """1×1, 3×3 with the stride, 1×1 to four times the width, added to the input."""

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
    """Crops `[B, 256, 128, 3]` of persons, 0…255 RGB, to features `[B, 2048]`, in fp32.

    The features are the spatial mean of the last stage.
    """

    @nn.compact
    def __call__(self, x: Array) -> Array:
        x = (x.astype(jnp.float32) - np.float32(PIXEL_MEAN)) / np.float32(PIXEL_STD)
        with jax.default_matmul_precision("float32"):
            x = nn.relu(ConvNorm(64, (7, 7), 2, (3, 3), name="unit_1")(x))
            x = nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))
            for stage, (blocks, stride) in enumerate(zip(_BLOCKS, _STRIDES, strict=True)):
                for block in range(blocks):
                    name = f"layer_{stage + 1}_{block}"
                    x = Bottleneck(64 * 2**stage, stride if block == 0 else 1, name=name)(x)
        return x.mean((1, 2))


def person_crops(images: Array, labels: Array) -> Array:
    """The bounding boxes of the persons, resized for `ReIDResNet50`.

    Bilinear between pixel centres, no antialiasing, as PyTorch's `interpolate` with
    `align_corners=False`.

    Args:
      images: `[B, H, W, 3]`, of any range and type.
      labels: `[B, H, W]` label maps, 0 the background. Without any other, the whole image is taken.

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
    """First of the positions that are occupied and the one after the last; all, if none is."""
    stop = occupied.size - occupied[::-1].argmax()
    return occupied.argmax(), stop


def _samples(start: Array, stop: Array, size: int) -> tuple[Array, Array, Array]:
    """Of `size` positions over start … stop: the pixels below and above, and the upper's weight."""
    scale = (stop - start).astype(jnp.float32) / size
    position = jnp.maximum((jnp.arange(size) + 0.5) * scale - 0.5, 0)
    low = jnp.minimum(position.astype(jnp.int32), stop - start - 1)
    high = jnp.minimum(low + 1, stop - start - 1)
    return start + low, start + high, position - low
