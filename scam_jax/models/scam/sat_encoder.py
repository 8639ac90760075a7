"""SAT: the semantic attention transformer encoder (paper, section 3.1)."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp

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
from scam_jax.models.scam.regions import LatentLayout, find_regions


class SATEncoder(nn.Module):
    """Image `[B, H, W, 3]` in [-1, 1] and labels `[B, H, W]` to latents `[B, N, S]`.

    N is background_latents + (num_labels - 1) * latents_per_label, the background's first, then
    each label's. A latent sees only its label's pixels and, in self-attention, latents.

    Attributes:
      num_labels: labels L, 0 is the background.
      latents_per_label: latents k of each label but the background.
      background_latents: latents k0 of label 0.
      latent_dim: latent width S.
      attention_dim: attention width A.
      num_blocks: blocks; block i ≥ 1 sees the image at 1/2^i of its size.
      num_heads: attention heads.
      position_dim: channels of the position that is concatenated to the image.
      conv_features: nf; the map of block i has nf·2^i channels.
      use_self_attention: latents attend to each other after every block.
      image_conv: False: every block attends to the image itself.
      reverse_conv: the blocks take the maps coarse to fine.
      use_vae: return a `Gaussian`, a linear layer per latent, instead of an array.
      latents: 'learned'; 'fixed_random', drawn once; or 'random', drawn for every example from
        `keys`.
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
    layer: LayerSpec = LayerSpec()

    @nn.compact
    def __call__(self, image: Array, labels: Array, keys: Array | None = None) -> Array | Gaussian:
        layout = self._layout()
        latents = self._initial_latents(image.shape[0], len(layout.owners), keys)
        maps = self._maps(image)
        for i, features in enumerate(maps):
            regions = find_regions(nearest_resize(labels, features.shape[1:3]), self.num_labels)
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
                raise ValueError("latents='random' needs `keys`, one PRNG key an example")
            return jax.vmap(lambda key: jax.random.normal(key, shape))(keys)
        if self.latents == "learned":
            value = self.param("latents", declare, shape)
        else:
            value = self.variable("constants", "latents", jnp.zeros, shape).value
        return jnp.broadcast_to(value, (batch, *shape))

    def _maps(self, image: Array) -> list[Array]:
        """What each block attends to, each `[B, h, w, C]`, position included."""
        position = sinusoidal_position(*image.shape[1:3], self.position_dim)
        position = jnp.broadcast_to(position, (image.shape[0], *position.shape))
        maps = [jnp.concatenate([image, position.astype(image.dtype)], axis=-1)]
        if not self.image_conv:
            return maps * self.num_blocks
        features = image
        for i in range(1, self.num_blocks):
            channels = self.conv_features * 2**i
            conv = Conv(channels, stride=2, layer=self.layer, name=f"conv_{i}")
            features = leaky_relu(conv(features))
            position = sinusoidal_position(*features.shape[1:3], channels)
            maps.append(features + position.astype(features.dtype))
        return maps[::-1] if self.reverse_conv else maps

    def _gaussian(self, latents: Array) -> Gaussian:
        layer = dataclasses.replace(self.layer, dtype=jnp.float32)
        both = LabelLinear(2 * self.latent_dim, layer, name="gaussian")(latents)
        return Gaussian(*jnp.split(both, 2, axis=-1))

    def mix(self, from_subject: Array, subject: Latents, target: Latents) -> Latents:
        """Latents of the labels that are taken, bool `[L]`, from the subject, else the target's."""
        take = from_subject[self._layout().owners][:, None]
        return jax.tree.map(lambda a, b: jnp.where(take, a, b), subject, target)

    def _layout(self) -> LatentLayout:
        return LatentLayout(self.num_labels, self.latents_per_label, self.background_latents)
