"""The StyleGAN2-style discriminator of the SCAM authors: residual blocks, one logit per image.

It is the discriminator of Karras et al. 2020 without blur and minibatch statistics.
"""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from scam_jax.models.discriminators.multi_scale import MultiScale
from scam_jax.models.layers.primitives import Array, Conv, LayerSpec, Linear, leaky_relu


class StyleGAN2Discriminator(nn.Module):
    """StyleGAN2-style discriminator at one scale.

    Attributes:
      features: channels after the first block; each further block doubles them.
      num_layers: number of blocks that halve the size; one more block keeps it.
      max_features: upper limit of the channels.
      spectral_norm: whether the convolutions of the blocks have spectral norm.
      layer: how the layers compute.
    """

    features: int = 64
    num_layers: int = 7
    max_features: int = 512
    spectral_norm: bool = False
    layer: LayerSpec = LayerSpec()

    @nn.compact
    def __call__(self, x: Array) -> list[Array]:
        """Maps `[B, H, W, C]` to the feature maps of the blocks and the logit `[B, 1, 1, 1]`."""
        maps = []
        for i in range(self.num_layers + 1):
            features = min(self.features * 2**i, self.max_features)
            x = self._block(i, x, features, halves=i < self.num_layers)
            maps.append(x)
        x = Conv(x.shape[-1], layer=self.layer, name="final_conv")(x)
        # channels first, as PyTorch flattens a map
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
    """A `StyleGAN2Discriminator` at every scale, with one layer fewer at each further scale.

    Attributes:
      num_scales: number of scales.
      num_layers: layers of the discriminator at scale 0.
      features, max_features, spectral_norm, layer: see `StyleGAN2Discriminator`.
    """

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
