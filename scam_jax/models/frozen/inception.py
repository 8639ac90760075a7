"""The frozen Inception v3 of FID.

This is the network of the TensorFlow graph of 2015-12-05, which torch-fidelity calls
`inception-v3-compat`. It differs from Szegedy et al. 2016 (arXiv:1512.00567) in its pools, see
`_average` and the last block, and in its image resize, which is TensorFlow 1's.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from scam_jax.models.frozen.resnet import ConvNorm

Array = jax.Array

IMAGE_SIZE = 299


class _Unit(NamedTuple):
    """Convolution, batch norm, ReLU. At stride 1, padding keeps the size."""

    features: int
    size: tuple[int, int] = (1, 1)
    stride: int = 1
    padded: bool = True


# A branch is a sequence of units and pools. The two units of a pair take the same input.
_Step = _Unit | tuple[_Unit, _Unit] | Callable[[Array], Array]
_Branches = Mapping[str, Sequence[_Step]]


def _average(x: Array) -> Array:
    """3×3 average pool that does not count the padding."""
    return nn.avg_pool(x, (3, 3), (1, 1), "SAME", count_include_pad=False)


def _maximum(x: Array) -> Array:
    return nn.max_pool(x, (3, 3), (1, 1), "SAME")


def _half(x: Array) -> Array:
    return nn.max_pool(x, (3, 3), (2, 2))


def _square(features: int) -> _Unit:
    return _Unit(features, (3, 3))


def _down(features: int) -> _Unit:
    return _Unit(features, (3, 3), stride=2, padded=False)


def _row(features: int, length: int = 7) -> _Unit:
    return _Unit(features, (1, length))


def _column(features: int, length: int = 7) -> _Unit:
    return _Unit(features, (length, 1))


def _fork(features: int) -> tuple[_Unit, _Unit]:
    return _row(features, 3), _column(features, 3)


def _at_35(pooled: int) -> _Branches:
    return {
        "1x1": [_Unit(64)],
        "5x5": [_Unit(48), _Unit(64, (5, 5))],
        "3x3dbl": [_Unit(64), _square(96), _square(96)],
        "pool": [_average, _Unit(pooled)],
    }


def _at_17(inner: int) -> _Branches:
    turns = [_column(inner), _row(inner), _column(inner), _row(192)]
    return {
        "1x1": [_Unit(192)],
        "7x7": [_Unit(inner), _row(inner), _column(192)],
        "7x7dbl": [_Unit(inner), *turns],
        "pool": [_average, _Unit(192)],
    }


def _at_8(pool: Callable[[Array], Array]) -> _Branches:
    return {
        "1x1": [_Unit(320)],
        "3x3": [_Unit(384), _fork(384)],
        "3x3dbl": [_Unit(448), _square(384), _fork(384)],
        "pool": [pool, _Unit(192)],
    }


_BLOCKS: Mapping[str, _Branches] = {
    "mixed_5b": _at_35(32),
    "mixed_5c": _at_35(64),
    "mixed_5d": _at_35(64),
    "mixed_6a": {
        "3x3": [_down(384)],
        "3x3dbl": [_Unit(64), _square(96), _down(96)],
        "pool": [_half],
    },
    "mixed_6b": _at_17(128),
    "mixed_6c": _at_17(160),
    "mixed_6d": _at_17(160),
    "mixed_6e": _at_17(192),
    "mixed_7a": {
        "3x3": [_Unit(192), _down(320)],
        "7x7x3": [_Unit(192), _row(192), _column(192), _down(192)],
        "pool": [_half],
    },
    "mixed_7b": _at_8(_average),
    # FID's graph has a maximum pool here, unlike the paper
    "mixed_7c": _at_8(_maximum),
}


class InceptionV3(nn.Module):
    """Inception v3 with FID's features as output.

    Attributes:
      antialias: whether to resize images with `resize_antialiased` instead of `resize`.
    """

    antialias: bool = False

    @nn.compact
    def __call__(self, images: Array) -> Array:
        """Computes the features of images.

        Args:
          images: `[B, H, W, 3]`, integer values 0 … 255 of any type.

        Returns:
          Features `[B, 2048]`, float32.
        """
        resized = (resize_antialiased if self.antialias else resize)(
            images.astype(jnp.float32), IMAGE_SIZE
        )
        x = (resized - 128) / 128
        with jax.default_matmul_precision("float32"):
            x = _apply(_down(32), "conv_1a_3x3", x)
            x = _apply(_Unit(32, (3, 3), padded=False), "conv_2a_3x3", x)
            x = _half(_apply(_square(64), "conv_2b_3x3", x))
            x = _apply(_Unit(80), "conv_3b_1x1", x)
            x = _half(_apply(_Unit(192, (3, 3), padded=False), "conv_4a_3x3", x))
            for name, branches in _BLOCKS.items():
                outputs = [_branch(f"{name}_{b}", steps, x) for b, steps in branches.items()]
                x = jnp.concatenate(outputs, -1)
        return x.mean((1, 2))


def _branch(name: str, steps: Sequence[_Step], x: Array) -> Array:
    """Applies a branch. Units have numbers if there are several, and letters in a pair."""
    several = sum(not callable(step) for step in steps) > 1
    number = 0
    for step in steps:
        if callable(step):
            x = step(x)
            continue
        number += 1
        unit_name = f"{name}_{number}" if several else name
        if isinstance(step, _Unit):
            x = _apply(step, unit_name, x)
        else:
            both = [_apply(u, unit_name + c, x) for u, c in zip(step, "ab", strict=True)]
            x = jnp.concatenate(both, -1)
    return x


def _apply(unit: _Unit, name: str, x: Array) -> Array:
    height, width = (size // 2 if unit.padded else 0 for size in unit.size)
    conv = ConvNorm(unit.features, unit.size, unit.stride, (height, width), eps=1e-3, name=name)
    return nn.relu(conv(x))


def resize_antialiased(images: Array, size: int) -> Array:
    """Resizes images bicubically with antialiasing, as clean-fid does (Parmar et al. 2022).

    Args:
      images: `[B, H, W, C]`, float, 0 … 255.
      size: height and width of the result.

    Returns:
      `[B, size, size, C]`, 0 … 255.
    """
    shape = images.shape[0], size, size, images.shape[-1]
    return jnp.clip(jax.image.resize(images, shape, "cubic"), 0, 255)


def resize(images: Array, size: int) -> Array:
    """Resizes images as TensorFlow 1's bilinear resize does.

    Pixel i is sampled at position i·H/size, without a half-pixel offset. There is no antialiasing.
    Positions beyond the last pixel take its value.

    Args:
      images: `[B, H, W, C]`, float.
      size: height and width of the result.

    Returns:
      `[B, size, size, C]`.
    """
    for axis in (2, 1):
        old = images.shape[axis]
        position = np.arange(size, dtype=np.float32) * np.float32(old / size)
        low = position.astype(np.int32)
        weight = (position - low.astype(np.float32)).reshape(-1, *[1] * (3 - axis))
        start = images.take(low, axis)
        end = images.take(np.minimum(low + 1, old - 1), axis)
        images = start + (end - start) * weight
    return images
