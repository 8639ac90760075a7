"""The multi-scale PatchGAN discriminator."""

import flax.linen as nn
import jax.numpy as jnp

from scam_jax.models.discriminators.multi_scale import MultiScale
from scam_jax.models.layers.primitives import Array, Conv, LayerSpec, instance_norm, leaky_relu


class PatchGAN(nn.Module):
    """PatchGAN at one scale: one logit per image patch.

    Attributes:
      features: channels after the first convolution; each further one doubles them, up to 512.
      num_layers: number of convolutions before the one that computes the logits.
      spectral_norm: whether all convolutions but the first and the last have spectral norm.
      layer: how the layers compute.
    """

    features: int = 64
    num_layers: int = 4
    spectral_norm: bool = False
    layer: LayerSpec = LayerSpec()

    @nn.compact
    def __call__(self, x: Array) -> list[Array]:
        """Maps `[B, H, W, C]` to feature maps; the last holds the logits `[B, h, w, 1]`."""
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


class MultiScaleDiscriminator(MultiScale):
    """A `PatchGAN` at every scale.

    Attributes:
      num_scales: number of scales.
      features, num_layers, spectral_norm, layer: see `PatchGAN`.
    """

    num_scales: int = 2
    features: int = PatchGAN.features
    num_layers: int = PatchGAN.num_layers
    spectral_norm: bool = PatchGAN.spectral_norm
    layer: LayerSpec = LayerSpec()

    def of_scale(self, scale: int) -> nn.Module:
        options = self.features, self.num_layers, self.spectral_norm, self.layer
        return PatchGAN(*options, name=f"scale_{scale}")
