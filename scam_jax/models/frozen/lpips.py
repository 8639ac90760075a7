"""LPIPS 0.1 with AlexNet: the perceptual distance of Zhang et al. 2018 (arXiv:1801.03924)."""

import functools
import operator
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from scam_jax.models.layers.primitives import Conv

Array = jax.Array

# Mean and standard deviation of AlexNet's training images, for values in [-1, 1].
_SHIFT = (-0.030, -0.088, -0.188)
_SCALE = (0.458, 0.448, 0.450)
_EPS = 1e-10

WIDTHS = (64, 192, 384, 256, 256)
_SIZES = (11, 5, 3, 3, 3)
_POOLED_BEFORE = (1, 2)


class AlexNet(nn.Module):
    """The convolutions of AlexNet."""

    @nn.compact
    def __call__(self, x: Array) -> list[Array]:
        """Maps normalized images `[B, H, W, 3]` to the activations after each of the five ReLUs."""
        activations = []
        for i, (width, size) in enumerate(zip(WIDTHS, _SIZES, strict=True)):
            if i in _POOLED_BEFORE:
                x = nn.max_pool(x, (3, 3), (2, 2))
            stride, padding = (4, 2) if i == 0 else (1, size // 2)
            x = nn.relu(Conv(width, size, stride, padding, name=f"conv_{i + 1}")(x))
            activations.append(x)
        return activations


class ChannelWeights(nn.Module):
    """Learned weights of the channels of the five layers."""

    @nn.compact
    def __call__(self, maps: Sequence[Array]) -> Array:
        """Maps layers `[B, H, W, C]` to `[B]`: weighted over C, averaged over H×W, summed."""
        layers = [
            Conv(1, size=1, padding=0, use_bias=False, name=f"layer_{i}")(x).mean((1, 2, 3))
            for i, x in enumerate(maps, 1)
        ]
        return functools.reduce(operator.add, layers)


class LPIPS(nn.Module):
    """The distance LPIPS, with the parameters of its two networks, `alexnet` and `lpips_alex`."""

    @nn.compact
    def __call__(self, a: Array, b: Array) -> Array:
        """Computes distances between two batches of images.

        Args:
          a, b: `[B, H, W, 3]` in [-1, 1].

        Returns:
          Distances `[B]`, float32.
        """
        images = jnp.concatenate([a, b]).astype(jnp.float32)
        images = (images - np.array(_SHIFT, np.float32)) / np.array(_SCALE, np.float32)
        with jax.default_matmul_precision("float32"):
            maps = AlexNet(name="alexnet")(images)
            units = [x / (jnp.linalg.norm(x, axis=-1, keepdims=True) + _EPS) for x in maps]
            halves = [jnp.split(x, 2) for x in units]
            return ChannelWeights(name="lpips_alex")([jnp.square(x - y) for x, y in halves])
