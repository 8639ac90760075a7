"""A discriminator of residual blocks with one logit an image, in the manner of StyleGAN2's.

As the authors of SCAM have it (Karras et al. 2020 without blur and minibatch statistics).
"""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from scam_jax.models.discriminators.multi_scale import MultiScale
from scam_jax.models.layers.primitives import Array, Conv, LayerSpec, Linear, leaky_relu


class StyleGAN2Discriminator(nn.Module):
    """`[B, H, W, C]` to its blocks' maps and the logit, `[B, 1, 1, 1]`.

    Attributes:
      features: channels after the first block, doubled by each up to max_features.
      num_layers: blocks that halve the map; one more does not.
    """

    features: int = 64
    num_layers: int = 7
    max_features: int = 512
    spectral_norm: bool = False
    layer: LayerSpec = LayerSpec()

    @nn.compact
    def __call__(self, x: Array) -> list[Array]:
        maps = []
        for i in range(self.num_layers + 1):
            features = min(self.features * 2**i, self.max_features)
            x = self._block(i, x, features, halves=i < self.num_layers)
            maps.append(x)
        x = Conv(x.shape[-1], layer=self.layer, name="final_conv")(x)
        # channels first, as the weights of PyTorch's linear layers lie
        flat = x.transpose(0, 3, 1, 2).reshape(len(x), -1)
        logit = Linear(1, self.layer, name="final_linear")(flat).astype(jnp.float32)
        return [*maps, logit[:, None, None]]

    def _block(self, i: int, x: Array, features: int, *, halves: bool) -> Array:
        def conv(name, x, **options):
            spectral = self.spectral_norm
            name = f"block_{i}_{name}"
            return Conv(features, spectral=spectral, layer=self.layer, name=name, **options)(x)

        shortcut = conv("conv_res", x, size=1, padding=0, stride=2 if halves else 1)
        x = leaky_relu(conv("conv_0", x))
        x = leaky_relu(conv("conv_1", x))
        if halves:
            x = conv("down", x, stride=2)
        return (x + shortcut) / np.float32(np.sqrt(2)).astype(x.dtype)


class MultiScaleStyleGAN2Discriminator(MultiScale):
    """A `StyleGAN2Discriminator` at every scale, each with a layer less than the one before."""

    num_scales: int = 1
    features: int = StyleGAN2Discriminator.features
    num_layers: int = StyleGAN2Discriminator.num_layers
    max_features: int = StyleGAN2Discriminator.max_features
    spectral_norm: bool = StyleGAN2Discriminator.spectral_norm
    layer: LayerSpec = LayerSpec()

    def of_scale(self, scale: int) -> nn.Module:
        layers, name = self.num_layers - scale, f"scale_{scale}"
        options = self.features, layers, self.max_features, self.spectral_norm, self.layer
        return StyleGAN2Discriminator(*options, name=name)
