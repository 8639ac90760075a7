"""The multi-scale PatchGAN discriminator."""

import flax.linen as nn
import jax.numpy as jnp

from scam_jax.models.primitives import (
    Array,
    Conv,
    LayerSpec,
    average_pool,
    instance_norm,
    leaky_relu,
    nearest_resize,
)


class PatchGAN(nn.Module):
    """`[B, H, W, C]` to its feature maps; the last is the logit map `[B, h, w, 1]`.

    Attributes:
      features: channels after the first convolution, doubled by each up to 512.
      num_layers: convolutions but the last.
      spectral_norm: of all convolutions but the first and the last.
    """

    features: int = 64
    num_layers: int = 4
    spectral_norm: bool = False
    layer: LayerSpec = LayerSpec()

    @nn.compact
    def __call__(self, x: Array) -> list[Array]:
        maps = []
        for i in range(self.num_layers):
            width = min(self.features * 2**i, 512)
            stride = 1 if i == self.num_layers - 1 else 2
            spectral = self.spectral_norm and i > 0
            name = f"conv_{i}"
            x = Conv(width, 4, stride, 2, spectral=spectral, layer=self.layer, name=name)(x)
            x = leaky_relu(x if i == 0 else instance_norm(x))
            maps.append(x)
        last = Conv(1, 4, 1, padding=2, layer=self.layer, name="last_conv")
        return [*maps, last(x).astype(jnp.float32)]


def at_scale_of_pyramid(image: Array, one_hot: Array, scale: int) -> Array:
    """What a scale sees: the image halved so often, and the labels at its size: `[B, h, w, 3 + L]`.

    Args:
      image: `[B, H, W, 3]`.
      one_hot: `[B, H, W, L]`.
      scale: 0 sees them as they are.
    """
    for _ in range(scale):
        image = average_pool(image)
    small = nearest_resize(one_hot, image.shape[1:3]).astype(image.dtype)
    return jnp.concatenate([image, small], axis=-1)


class MultiScaleDiscriminator(nn.Module):
    """Image `[B, H, W, 3]` and one-hot labels `[B, H, W, L]` to feature maps, `[scale][layer]`.

    Every scale has its own weights; each sees the image of the one before, average-pooled by two,
    and the labels at that size, nearest.
    """

    num_scales: int = 2
    features: int = 64
    num_layers: int = 4
    spectral_norm: bool = False
    layer: LayerSpec = LayerSpec()

    def setup(self):
        options = self.features, self.num_layers, self.spectral_norm, self.layer
        self.scales = [PatchGAN(*options, name=f"scale_{i}") for i in range(self.num_scales)]

    def at_scale(self, image: Array, one_hot: Array, scale: int) -> list[Array]:
        """Feature maps of one scale, of the full-size image and labels."""
        return self.scales[scale](at_scale_of_pyramid(image, one_hot, scale))

    def __call__(self, image: Array, one_hot: Array) -> list[list[Array]]:
        return [self.at_scale(image, one_hot, scale) for scale in range(self.num_scales)]
