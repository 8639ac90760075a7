"""VGG19 up to relu5_1, frozen, for the perceptual loss. Layer widths come from the weights."""

from collections.abc import Mapping

import flax.linen as nn

from scam_jax.models.layers.primitives import Array, Conv, LayerSpec

# Convolutions of each block, up to and including the first of the fifth.
_BLOCKS = (2, 2, 4, 4, 1)
LAYERS = tuple(f"relu{b}_{i}" for b, n in enumerate(_BLOCKS, 1) for i in range(1, n + 1))
WIDTHS = (64, 64, 128, 128, 256, 256, 256, 256, 512, 512, 512, 512, 512)


class VGG19(nn.Module):
    """Image `[B, H, W, 3]` to the activations after relu1_1, 2_1, 3_1, 4_1 and 5_1.

    The image goes in as it is, in [-1, 1] (the authors' perceptual loss does not rescale).
    """

    widths: tuple[int, ...] = WIDTHS
    layer: LayerSpec = LayerSpec()

    @nn.compact
    def __call__(self, x: Array) -> list[Array]:
        activations = []
        for name, width in zip(LAYERS, self.widths, strict=True):
            if name.endswith("_1") and name != "relu1_1":
                x = nn.max_pool(x, (2, 2), (2, 2))
            x = nn.relu(Conv(width, layer=self.layer, name=name)(x))
            if name.endswith("_1"):
                activations.append(x)
        return activations


def widths_of(params: Mapping) -> tuple[int, ...]:
    """Layer widths of a tree of parameters."""
    return tuple(params[name]["kernel"].shape[-1] for name in LAYERS)
