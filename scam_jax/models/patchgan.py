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
    """`[B, H, W, C]` to its feature maps; the last is the logit map `[B, h, w, 1]`."""

    features: int = 64
    num_layers: int = 4
    layer: LayerSpec = LayerSpec()

    @nn.compact
    def __call__(self, x: Array) -> list[Array]:
        maps = []
        for i in range(self.num_layers):
            width = min(self.features * 2**i, 512)
            stride = 1 if i == self.num_layers - 1 else 2
            x = Conv(width, 4, stride, padding=2, layer=self.layer, name=f"conv_{i}")(x)
            x = leaky_relu(x if i == 0 else instance_norm(x))
            maps.append(x)
        last = Conv(1, 4, 1, padding=2, layer=self.layer, name="last_conv")
        return [*maps, last(x).astype(jnp.float32)]


class MultiScaleDiscriminator(nn.Module):
    """Image `[B, H, W, 3]` and one-hot labels `[B, H, W, L]` to feature maps, `[scale][layer]`.

    Every scale has its own weights; each sees the image of the one before, average-pooled by two,
    and the labels at that size, nearest.
    """

    num_scales: int = 2
    features: int = 64
    num_layers: int = 4
    layer: LayerSpec = LayerSpec()

    def setup(self):
        self.scales = [
            PatchGAN(self.features, self.num_layers, self.layer, name=f"scale_{i}")
            for i in range(self.num_scales)
        ]

    def at_scale(self, image: Array, one_hot: Array, scale: int) -> list[Array]:
        """Feature maps of one scale, of the full-size image and labels."""
        for _ in range(scale):
            image = average_pool(image)
        small = nearest_resize(one_hot, image.shape[1:3]).astype(image.dtype)
        return self.scales[scale](jnp.concatenate([image, small], axis=-1))

    def __call__(self, image: Array, one_hot: Array) -> list[list[Array]]:
        return [self.at_scale(image, one_hot, scale) for scale in range(self.num_scales)]
