"""A discriminator at several scales, whatever it is at one."""

import flax.linen as nn
import jax.numpy as jnp

from scam_jax.models.layers.primitives import Array, average_pool, nearest_resize


class MultiScale(nn.Module):
    """Image `[B, H, W, 3]` and one-hot labels `[B, H, W, L]` to feature maps, `[scale][layer]`.

    Every scale has its own weights; each sees the image of the one before, average-pooled by two,
    and the labels at that size, nearest. A kind of discriminator adds `num_scales` and `of_scale`.
    """

    def of_scale(self, scale: int) -> nn.Module:
        """The discriminator of a scale, called `scale_N`: `[B, h, w, 3 + L]` to its maps."""
        raise NotImplementedError

    def setup(self):
        self.scales = [self.of_scale(scale) for scale in range(self.num_scales)]

    def at_scale(self, image: Array, one_hot: Array, scale: int) -> list[Array]:
        """Feature maps of one scale, of the full-size image and labels."""
        for _ in range(scale):
            image = average_pool(image)
        small = nearest_resize(one_hot, image.shape[1:3]).astype(image.dtype)
        return self.scales[scale](jnp.concatenate([image, small], axis=-1))

    def __call__(self, image: Array, one_hot: Array) -> list[list[Array]]:
        return [self.at_scale(image, one_hot, scale) for scale in range(self.num_scales)]
