"""SAT: the semantic attention transformer encoder (paper, section 3.1)."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from scam_jax.models.layers import latents as latent_codes
from scam_jax.models.layers.initialization import declare
from scam_jax.models.layers.label_maps import LabelLinear
from scam_jax.models.layers.latents import Gaussian, Latents
from scam_jax.models.layers.primitives import (
    Array,
    Conv,
    LayerSpec,
    leaky_relu,
    nearest_resize,
    sinusoidal_position,
)
from scam_jax.models.scam.attention import MaskedTransformer
from scam_jax.models.scam.latent_layout import LatentLayout
from scam_jax.models.scam.regions import find_regions


class SATEncoder(nn.Module):
    """Encodes an image and its label map as several latents per label.

    There are N = background_latents + (num_labels - 1) · latents_per_label latents: those of the
    background first, then those of each further label. A latent attends only to the pixels of its
    label and, in self-attention, to the latents of its label.

    Attributes:
      num_labels: number of labels L; label 0 is the background.
      latents_per_label: number of latents k of each label but the background.
      background_latents: number of latents k0 of the background.
      latent_dim: width S of a latent.
      attention_dim: attention width A.
      num_blocks: number of blocks. Block i ≥ 1 sees the image at 1/2^i of its size.
      num_heads: number of attention heads.
      position_dim: channels of the position embedding that is concatenated to the image.
      conv_features: nf; the map of block i has nf·2^i channels.
      use_self_attention: whether latents attend to each other after every block.
      image_conv: whether the blocks attend to maps of a convolutional network. If False, every
        block attends to the image itself.
      reverse_conv: whether the blocks take the maps from coarse to fine.
      use_vae: whether a linear layer per latent turns the result into a `Gaussian`.
      latents: initial latents: 'learned', 'fixed_random' (drawn once) or 'random' (drawn from
        `keys` for every example).
      ignores: whether pixels may have the label L, which belongs to no region.
      layer: how the layers compute.
    """

    num_labels: int
    latents_per_label: int = 8
    background_latents: int = 8
    latent_dim: int = 256
    attention_dim: int = 256
    num_blocks: int = 7
    num_heads: int = 1
    position_dim: int = 40
    conv_features: int = 16
    use_self_attention: bool = True
    image_conv: bool = True
    reverse_conv: bool = False
    use_vae: bool = False
    latents: str = "learned"
    ignores: bool = False
    layer: LayerSpec = LayerSpec()

    @nn.compact
    def __call__(self, image: Array, labels: Array, keys: Array | None = None) -> Array | Gaussian:
        """Encodes images.

        Args:
          image: `[B, H, W, 3]` in [-1, 1].
          labels: `[B, H, W]` integers below num_labels, or num_labels if `ignores` is set.
          keys: PRNG keys `[B]`, needed if `latents` is 'random'.

        Returns:
          Latents `[B, N, S]`, or a `Gaussian` of them.
        """
        layout = self._layout()
        latents = self._initial_latents(image.shape[0], len(layout.owners), keys)
        maps = self._maps(image)
        for i, features in enumerate(maps):
            small = nearest_resize(labels, features.shape[1:3])
            regions = find_regions(small, self.num_labels, self.ignores)
            pixels = features.reshape(*regions.labels.shape, -1)
            cross_attention = self._transformer(f"cross_attention_{i}")
            latents = cross_attention.gather(latents, pixels, regions, layout)
            if self.use_self_attention:
                self_attention = self._transformer(f"self_attention_{i}")
                latents = self_attention.among_latents(latents, layout)
        return self._gaussian(latents) if self.use_vae else latents

    def _transformer(self, name: str) -> MaskedTransformer:
        return MaskedTransformer(self.attention_dim, self.num_heads, self.layer, name=name)

    def _initial_latents(self, batch: int, count: int, keys: Array | None) -> Array:
        shape = (count, self.latent_dim)
        if self.latents == "random":
            if keys is None:
                raise ValueError("latents='random' needs `keys`, one PRNG key per example")
            return jax.vmap(lambda key: jax.random.normal(key, shape))(keys)
        if self.latents == "learned":
            value = self.param("latents", declare, shape)
        else:
            value = self.variable("constants", "latents", jnp.zeros, shape).value
        return jnp.broadcast_to(value, (batch, *shape))

    def _maps(self, image: Array) -> list[Array]:
        """Returns one map `[B, h, w, C]` per block to attend to, with position embedding."""
        batch, height, width, _ = image.shape
        position = sinusoidal_position(height, width, self.position_dim)
        position = jnp.broadcast_to(position, (batch, *position.shape))
        maps = [jnp.concatenate([image, position.astype(image.dtype)], axis=-1)]
        if not self.image_conv:
            return maps * self.num_blocks
        features = image
        for i in range(1, self.num_blocks):
            channels = self.conv_features * 2**i
            conv = Conv(channels, stride=2, layer=self.layer, name=f"conv_{i}")
            features = leaky_relu(conv(features))
            _, height, width, _ = features.shape
            position = sinusoidal_position(height, width, channels)
            maps.append(features + position.astype(features.dtype))
        return maps[::-1] if self.reverse_conv else maps

    def _gaussian(self, latents: Array) -> Gaussian:
        # In float32, and never equalized, as in the authors' code.
        both = LabelLinear(2 * self.latent_dim, LayerSpec(), name="gaussian")(latents)
        return Gaussian(*jnp.split(both, 2, axis=-1))

    def mix(self, sources: Array, subject: Latents, target: Latents) -> Latents:
        """Mixes two images' latents by label, see `latents.mix`.

        The number of latents may differ only for label 0: no other label may take them.
        """
        layout = self._layout()

        def of_leaf(a: Array, b: Array) -> Array:
            mixed = latent_codes.mix(sources, layout.to_slots(a), layout.to_slots(b))
            return layout.from_slots(mixed)

        return jax.tree.map(of_leaf, subject, target)

    def _layout(self) -> LatentLayout:
        return LatentLayout(self.num_labels, self.latents_per_label, self.background_latents)
