"""Multi-scale discriminators: the same kind of discriminator at several image sizes."""

import flax.linen as nn
import jax.numpy as jnp

from scam_jax.models.layers.primitives import Array, average_pool, nearest_resize


class MultiScale(nn.Module):
    """Applies one discriminator per scale, each with its own weights.

    Scale 0 sees the full-size image. Every further scale sees the image of the previous scale,
    average-pooled by two, and the labels resized to it by nearest neighbour. A subclass defines the
    field `num_scales` and the method `of_scale`.
    """

    def of_scale(self, scale: int) -> nn.Module:
        """Returns the discriminator of a scale.

        Args:
          scale: index of the scale, from 0.

        Returns:
          A module named `scale_N` that maps `[B, h, w, 3 + L]` to its list of feature maps.
        """
        raise NotImplementedError

    def setup(self):
        self.scales = [self.of_scale(scale) for scale in range(self.num_scales)]

    def at_scale(self, image: Array, one_hot: Array, scale: int) -> list[Array]:
        """Computes the feature maps of one scale.

        Args:
          image: `[B, H, W, 3]` at full size.
          one_hot: one-hot labels `[B, H, W, L]` at full size.
          scale: index of the scale, from 0.

        Returns:
          Feature maps `[B, h, w, C]`, one per layer, the logits last.
        """
        for _ in range(scale):
            image = average_pool(image)
        small = nearest_resize(one_hot, image.shape[1:3]).astype(image.dtype)
        return self.scales[scale](jnp.concatenate([image, small], axis=-1))

    def __call__(self, image: Array, one_hot: Array) -> list[list[Array]]:
        """Computes the feature maps of every scale, indexed `[scale][layer]`; see `at_scale`."""
        return [self.at_scale(image, one_hot, scale) for scale in range(self.num_scales)]
