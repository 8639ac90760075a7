"""The frozen VGG19 of the perceptual loss, up to relu5_1."""

from collections.abc import Mapping

import flax.linen as nn

from scam_jax.models.layers.primitives import Array, Conv, LayerSpec

# Convolutions per block; the fifth block ends after its first convolution.
_BLOCKS = (2, 2, 4, 4, 1)
LAYERS = tuple(f"relu{b}_{i}" for b, n in enumerate(_BLOCKS, 1) for i in range(1, n + 1))
WIDTHS = (64, 64, 128, 128, 256, 256, 256, 256, 512, 512, 512, 512, 512)


class VGG19(nn.Module):
    """VGG19 up to relu5_1.

    Attributes:
      widths: output channels of each layer of `LAYERS`, see `widths_of`.
      layer: how the layers compute.
    """

    widths: tuple[int, ...] = WIDTHS
    layer: LayerSpec = LayerSpec()

    @nn.compact
    def __call__(self, x: Array) -> list[Array]:
        """Computes the activations of the perceptual loss.

        Args:
          x: images `[B, H, W, 3]` in [-1, 1]. Like the authors' loss, this does not rescale them.

        Returns:
          The activations after relu1_1, relu2_1, relu3_1, relu4_1 and relu5_1, `[B, h, w, C]` each.
        """
        activations = []
        for name, width in zip(LAYERS, self.widths, strict=True):
            if name.endswith("_1") and name != "relu1_1":
                x = nn.max_pool(x, (2, 2), (2, 2))
            x = nn.relu(Conv(width, layer=self.layer, name=name)(x))
            if name.endswith("_1"):
                activations.append(x)
        return activations


def widths_of(params: Mapping) -> tuple[int, ...]:
    """Returns the layer widths of a VGG19 from its parameters, for `VGG19.widths`."""
    return tuple(params[name]["kernel"].shape[-1] for name in LAYERS)
