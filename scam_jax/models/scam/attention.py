"""Masked attention between pixels and latents (paper, sections 3.1 and 3.2).

Pixels and latents of different labels never interact. If a map has more pixels than there are
latents, all linear layers are folded into the latents, so no pixel is projected. The result is the
same.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from scam_jax.models.layers.primitives import AffineParams, Array, LayerSpec, TokenNorm, leaky_relu
from scam_jax.models.scam import region_products
from scam_jax.models.scam.latent_layout import LatentLayout
from scam_jax.models.scam.regions import Regions

MASKED_LOGIT = -1e4


def same_label(to_labels: Array | np.ndarray, from_labels: Array | np.ndarray) -> Array:
    """Returns the attention mask between tokens of the same label.

    Args:
      to_labels: labels of the tokens that attend, `[B, T]` or `[1, T]`.
      from_labels: labels of the tokens that they attend to, `[B, F]` or `[1, F]`.

    Returns:
      bool `[B, T, F]`.
    """
    return jnp.equal(to_labels[:, :, None], from_labels[:, None, :])


class MaskedAttention(nn.Module):
    """Multi-head attention restricted by a mask or by the labels of the tokens.

    Attributes:
      width: attention width A, split among the heads.
      num_heads: number of heads H.
      layer: how the layers compute.
    """

    width: int
    num_heads: int = 1
    layer: LayerSpec = LayerSpec()

    def setup(self):
        self.query = AffineParams(self.layer)
        self.key = AffineParams(self.layer)
        self.value = AffineParams(self.layer)
        self.out = AffineParams(self.layer)

    def _heads(self, x: Array) -> Array:
        """Splits the last axis among the heads: `[..., A]` to `[..., H, A/H]`."""
        return x.reshape(*x.shape[:-1], self.num_heads, self.width // self.num_heads)

    def _params(self, to: Array, from_: Array):
        """Returns the (kernel, bias) pairs of query, key, value and out."""
        to_width, from_width = to.shape[-1], from_.shape[-1]
        return (
            self.query(to_width, self.width),
            self.key(from_width, self.width),
            self.value(from_width, self.width),
            self.out(self.width, to_width),
        )

    def _scale(self, x: Array) -> Array:
        """Divides by the square root of the width of a head."""
        return x / np.float32(np.sqrt(self.width // self.num_heads)).astype(x.dtype)

    def _is_recorded(self) -> bool:
        """Returns whether the caller collects the attention weights, in order to draw them."""
        return self.is_mutable_collection("intermediates")

    def _record(self, regions: Regions, weights: Array) -> None:
        """Stores weights `[B, P, K·H]` as `[B, h, w, K]`, averaged over the heads."""
        maps = weights.astype(jnp.float32).reshape(
            weights.shape[0], *regions.size, -1, self.num_heads
        )
        self.sow("intermediates", "weights", maps.mean(-1))

    def __call__(self, to: Array, from_: Array, mask: Array | np.ndarray) -> Array:
        """Computes attention with an explicit mask, as in the paper.

        Forbidden logits are replaced by -10⁴, so a token that may attend to nothing attends
        uniformly to everything. The softmax is computed in fp32.

        Args:
          to: tokens that attend, `[B, T, D_to]`.
          from_: tokens that they attend to, `[B, F, D_from]`.
          mask: bool `[B, T, F]`, True where attention is allowed.

        Returns:
          `[B, T, D_to]`.
        """
        to, from_ = to.astype(self.layer.dtype), from_.astype(self.layer.dtype)
        query, key, value, (out_kernel, out_bias) = self._params(to, from_)
        queries = self._scale(self._heads(_affine(to, query)))
        keys, values = self._heads(_affine(from_, key)), self._heads(_affine(from_, value))
        logits = jnp.einsum("bthd,bfhd->bhtf", queries, keys).astype(jnp.float32)
        weights = jax.nn.softmax(jnp.where(mask[:, None], logits, MASKED_LOGIT), axis=-1)
        averages = jnp.einsum("bhtf,bfhd->bthd", weights.astype(values.dtype), values)
        return averages.reshape(*averages.shape[:2], self.width) @ out_kernel + out_bias

    def among_latents(self, latents: Array, layout: LatentLayout) -> Array:
        """Lets each latent attend to the latents of its label.

        Args:
          latents: `[B, N, S]`.
          layout: the order of the latents.

        Returns:
          `[B, N, S]`.
        """
        slots = layout.to_slots(latents)
        batch, labels, count = slots.shape[:3]
        mask = jnp.broadcast_to(layout.filled[:, None], (batch, labels, count, count))
        each_label = slots.reshape(batch * labels, count, -1)
        out = self(each_label, each_label, mask.reshape(-1, count, count))
        return layout.from_slots(out.reshape(slots.shape))

    def gather(
        self, latents: Array, pixels: Array, regions: Regions, layout: LatentLayout
    ) -> Array:
        """Lets each latent attend to the pixels of its label.

        The latents of a label without pixels attend uniformly to all pixels.

        Args:
          latents: `[B, N, S]`.
          pixels: `[B, P, C]`.
          regions: regions of the pixels.
          layout: the order of the latents.

        Returns:
          `[B, N, S]`.
        """
        if pixels.shape[1] <= latents.shape[1] and not self._is_recorded():
            return self(latents, pixels, same_label(layout.owners[None], regions.labels))
        latents, pixels = latents.astype(self.layer.dtype), pixels.astype(self.layer.dtype)
        query, (key_kernel, _), (kernel, bias), out = self._params(latents, pixels)
        queries = self._scale(self._heads(_affine(latents, query)))
        # the key's bias shifts all logits of a latent equally, which the softmax ignores
        folded = jnp.einsum("bnhd,chd->bnhc", queries, self._heads(key_kernel))
        averages = self._averages(pixels, regions, layout, folded)
        values = jnp.einsum("bnhc,chd->bnhd", averages, self._heads(kernel)) + self._heads(bias)
        return _affine(values.reshape(*values.shape[:2], self.width), out)

    def _averages(self, pixels, regions, layout, queries) -> Array:
        """Averages the pixels of a label by softmax, for each of the queries `[B, N, H, C]`."""
        slots = layout.to_slots(queries)
        keys = slots.reshape(*slots.shape[:2], -1, slots.shape[-1])
        sums, counts = region_products.collect(regions, pixels, keys)
        if self._is_recorded():
            self._record(regions, region_products.collect_shares(regions, pixels, keys))
        counts = counts[..., None]
        present = counts > 0
        uniform = pixels.mean(1, dtype=jnp.float32)[:, None, None]
        averages = jnp.where(present, sums / jnp.where(present, counts, 1), uniform)
        return layout.from_slots(averages.reshape(slots.shape)).astype(pixels.dtype)

    def look_up(
        self,
        pixels: Array,
        latents: Array,
        regions: Regions,
        layout: LatentLayout,
        then: Sequence[tuple[Array, Array]],
    ) -> list[Array]:
        """Lets each pixel attend to the latents of its label, then applies linear layers.

        Args:
          pixels: `[B, P, C]`.
          latents: `[B, N, S]`.
          regions: regions of the pixels.
          layout: the order of the latents.
          then: kernel `[C, E]` and bias `[E]` of each linear layer to apply to the result.

        Returns:
          The output of each layer in `then`, `[B, P, E]`.
        """
        if pixels.shape[1] <= latents.shape[1] and not self._is_recorded():
            mask = same_label(regions.labels, layout.owners[None])
            attended = self(pixels, latents, mask)
            return [_affine(attended, layer) for layer in then]
        pixels, latents = pixels.astype(self.layer.dtype), latents.astype(self.layer.dtype)
        (query_kernel, query_bias), key, value, out = self._params(pixels, latents)
        keys = self._scale(self._heads(_affine(latents, key)))
        folded = jnp.einsum("bnhd,chd->bnhc", keys, self._heads(query_kernel))
        constant = jnp.einsum("bnhd,hd->bnh", keys, self._heads(query_bias))
        slots = layout.to_slots(folded)
        constant = layout.to_slots(constant.astype(jnp.float32))
        constant = jnp.where(layout.filled[..., None], constant, MASKED_LOGIT)
        by_label = (*slots.shape[:2], -1)
        rows = pixels, slots.reshape(*by_label, slots.shape[-1]), constant.reshape(by_label)
        if self._is_recorded():
            self._record(regions, region_products.mix_weights(regions, self.num_heads, *rows))
        # the weights of each head sum to one, so the values of each head carry 1/H of the biases
        share = 1 / self.num_heads
        values = self._heads(_affine(latents, value))
        out_kernel = out[0].reshape(*values.shape[-2:], -1)
        values = jnp.einsum("bnhd,hdc->bnhc", values, out_kernel) + share * out[1]
        tables = [layout.to_slots(values @ kernel + share * bias) for kernel, bias in then]
        tables = [table.reshape(*by_label, table.shape[-1]) for table in tables]
        return region_products.mix(regions, self.num_heads, *rows, tables)


def _affine(x: Array, params: tuple[Array, Array]) -> Array:
    kernel, bias = params
    return x @ kernel + bias


class MaskedTransformer(nn.Module):
    """Masked attention, then a two-layer MLP, each added to its input and normalized.

    The norms are over tokens and channels together. The MLP ends in an activation. All methods map
    `[B, N, D]` to `[B, N, D]`.

    Attributes:
      width: attention width A, split among the heads.
      num_heads: number of heads H.
      layer: how the layers compute.
    """

    width: int
    num_heads: int = 1
    layer: LayerSpec = LayerSpec()

    def setup(self):
        self.attention = MaskedAttention(self.width, self.num_heads, self.layer)
        self.norm_1, self.norm_2 = TokenNorm(), TokenNorm()
        self.mlp_1, self.mlp_2 = AffineParams(self.layer), AffineParams(self.layer)

    def __call__(self, to: Array, from_: Array, mask: Array | np.ndarray) -> Array:
        """Applies attention with an explicit mask, see `MaskedAttention`."""
        return self._finish(to, self.attention(to, from_, mask))

    def among_latents(self, latents: Array, layout: LatentLayout) -> Array:
        """Lets each latent attend to the latents of its label, see `MaskedAttention`."""
        return self._finish(latents, self.attention.among_latents(latents, layout))

    def gather(
        self, latents: Array, pixels: Array, regions: Regions, layout: LatentLayout
    ) -> Array:
        """Lets each latent attend to the pixels of its label, see `MaskedAttention`."""
        return self._finish(latents, self.attention.gather(latents, pixels, regions, layout))

    def _finish(self, to: Array, attended: Array) -> Array:
        width = to.shape[-1]
        to = self.norm_1(attended + to)
        hidden = to.astype(self.layer.dtype)
        for mlp in (self.mlp_1, self.mlp_2):
            hidden = leaky_relu(_affine(hidden, mlp(width, width)))
        return self.norm_2(hidden + to)
