"""A parser: draws the label map of a photo, with the labels of a model.

It is a U-Net (Ronneberger et al. 2015) of residual blocks, whose maps are added instead of
concatenated. Norms are of single images, so that the result does not depend on the batch.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

Array = jax.Array
# Channels of a level, in multiples of the first; each further level has half the size.
WIDTHS = (1, 2, 4, 8, 8)
# Channels of a group in a norm.
_GROUP = 8


class Parser(nn.Module):
    """Classifies the pixels of images.

    Attributes:
      num_labels: number of labels L.
      features: channels at full size, a multiple of 8.
    """

    num_labels: int
    features: int = 32

    @nn.compact
    def __call__(self, image: Array) -> Array:
        """Classifies the pixels of images.

        Args:
          image: `[B, H, W, 3]` in [-1, 1], of any size.

        Returns:
          Logits `[B, H, W, L]`.
        """
        x = jnp.concatenate([image, _position(image.shape)], axis=-1)
        x = nn.Conv(self.features, (3, 3), name="first")(x)
        widths: Sequence[int] = [times * self.features for times in WIDTHS]
        maps = []
        for i, width in enumerate(widths):
            if i:
                x = nn.Conv(width, (3, 3), strides=2, name=f"smaller_{i}")(x)
            x = _Block(width, name=f"down_{i}")(x)
            maps.append(x)
        x = _Block(widths[-1], name="middle")(maps.pop())
        for i, width in reversed([*enumerate(widths[:-1])]):
            skip = maps.pop()
            x = jax.image.resize(
                nn.Conv(width, (1, 1), name=f"larger_{i}")(x), skip.shape, "nearest"
            )
            x = _Block(width, name=f"up_{i}")(x + skip)
        return nn.Conv(self.num_labels, (1, 1), name="last")(nn.silu(_norm(x, "last_norm")))


class _Block(nn.Module):
    """A residual block of two convolutions."""

    features: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        y = nn.Conv(self.features, (3, 3), name="conv_1")(nn.silu(_norm(x, "norm_1")))
        y = nn.Conv(self.features, (3, 3), name="conv_2")(nn.silu(_norm(y, "norm_2")))
        return x + y


def _norm(x: Array, name: str) -> Array:
    return nn.GroupNorm(num_groups=None, group_size=_GROUP, name=name)(x)


def _position(shape: Sequence[int]) -> Array:
    """Returns row and column of each pixel in [-1, 1], `[B, H, W, 2]`."""
    batch, height, width, _ = shape
    rows, columns = jnp.linspace(-1, 1, height), jnp.linspace(-1, 1, width)
    position = jnp.stack(jnp.meshgrid(rows, columns, indexing="ij"), axis=-1)
    return jnp.broadcast_to(position, (batch, height, width, 2))


def build(config: ConfigDict) -> Parser:
    """Returns the parser of a config, without parameters."""
    return Parser(config.data.num_labels, config.parser.features)
