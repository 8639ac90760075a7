"""OASIS (Schönfeld et al. 2021): a discriminator that segments the image.

It classifies each pixel as one of the labels or as generated. It sees the image alone and is
trained with `losses.gan_kind='oasis'`.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from scam_jax.models.layers.primitives import Array, Conv, LayerSpec, leaky_relu, nearest_resize

BLOCKS = 6


class OASISDiscriminator(nn.Module):
    """A U-Net that classifies each pixel as generated or as one of the labels.

    Attributes:
      features: channels of the first block; the others have 1, 2, 2, 4, 4 times as many.
      spectral_norm: whether all convolutions but the last have spectral norm.
      layer: how the layers compute.
    """

    num_scales = 1

    features: int = 128
    spectral_norm: bool = True
    layer: LayerSpec = LayerSpec()

    def at_scale(self, image: Array, one_hot: Array, scale: int) -> list[Array]:
        """Computes the maps of one scale, like `MultiScale.at_scale`; there is only scale 0."""
        return self(image, one_hot)[scale]

    @nn.compact
    def __call__(self, image: Array, one_hot: Array) -> list[list[Array]]:
        """Classifies the pixels of images.

        Args:
          image: `[B, H, W, 3]`, with H and W divisible by 64.
          one_hot: one-hot labels `[B, H, W, L]`; only L is used.

        Returns:
          `[[logits]]`: one scale with one map `[B, H, W, 1 + L]`, whose channel 0 is 'generated'.
        """
        widths = [times * self.features for times in (1, 1, 2, 2, 4, 4)]
        maps, x = [], image
        for i, width in enumerate(widths):
            x = self._down(i, x, width)
            maps.append(x)
        x = self._up(0, x, widths[-2])
        for i, width in enumerate([*widths[-3::-1], self.features // 2], 1):
            x = self._up(i, jnp.concatenate([maps[-1 - i], x], axis=-1), width)
        last = Conv(1 + one_hot.shape[-1], 1, padding=0, layer=self.layer, name="last_conv")
        return [[last(x).astype(jnp.float32)]]

    def _conv(self, name: str, x: Array, features: int, size: int = 3) -> Array:
        padding, spectral = size // 2, self.spectral_norm
        conv = Conv(features, size, padding=padding, spectral=spectral, layer=self.layer, name=name)
        return conv(x)

    def _shortcut(self, name: str, x: Array, features: int) -> Array:
        return x if x.shape[-1] == features else self._conv(f"{name}_conv_res", x, features, 1)

    def _down(self, i: int, x: Array, features: int) -> Array:
        """Applies a residual block that halves the size; the first has no activation before it."""
        name, first = f"down_{i}", i == 0
        y = self._conv(f"{name}_conv_1", x if first else leaky_relu(x), features)
        y = self._conv(f"{name}_conv_2", leaky_relu(y), features)
        if first:
            return self._shortcut(name, _halved(x), features) + _halved(y)
        return _halved(self._shortcut(name, x, features)) + _halved(y)

    def _up(self, i: int, x: Array, features: int) -> Array:
        """Applies a residual block that doubles the size."""
        name, size = f"up_{i}", (2 * x.shape[1], 2 * x.shape[2])
        y = self._conv(f"{name}_conv_1", nearest_resize(leaky_relu(x), size), features)
        y = self._conv(f"{name}_conv_2", leaky_relu(y), features)
        return self._shortcut(name, nearest_resize(x, size), features) + y


def _halved(x: Array) -> Array:
    """Average-pools 2×2 pixels."""
    window = (1, 2, 2, 1)
    return jax.lax.reduce_window(x, 0.0, jax.lax.add, window, window, "VALID") / 4
