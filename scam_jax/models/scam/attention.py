"""Masked attention between pixels and latents (paper, sections 3.1 and 3.2).

Where a map has more pixels than there are latents, all linear layers are folded into the latents:
exact, and no pixel is ever projected. Pixels and latents of different labels never meet.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from scam_jax.models.layers.primitives import AffineParams, Array, LayerSpec, TokenNorm, leaky_relu
from scam_jax.models.scam import regions as by_label
from scam_jax.models.scam.regions import LatentLayout, Regions

MASKED_LOGIT = -1e4


def same_label(to_labels: Array, from_labels: Array) -> Array:
    """Attention mask `[B, T, F]` of label numbers `[B, T]` (or `[1, T]`) and `[B, F]`."""
    return to_labels[:, :, None] == from_labels[:, None, :]


class MaskedAttention(nn.Module):
    """Attention of some tokens over others where a mask or their labels allow.

    Attributes:
      width: attention width A, split among the heads.
      num_heads: heads.
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
        return x.reshape(*x.shape[:-1], self.num_heads, self.width // self.num_heads)

    def _params(self, to: Array, from_: Array):
        """Kernels and biases of query, key, value and out."""
        to, from_ = to.shape[-1], from_.shape[-1]
        return (
            self.query(to, self.width),
            self.key(from_, self.width),
            self.value(from_, self.width),
            self.out(self.width, to),
        )

    def _scale(self, x: Array) -> Array:
        return x / np.float32(np.sqrt(self.width // self.num_heads)).astype(x.dtype)

    def _is_recorded(self) -> bool:
        """Whether the weights between pixels and latents are asked for, to be drawn."""
        return self.is_mutable_collection("intermediates")

    def _record(self, regions: Regions, weights: Array) -> None:
        """Keeps weights `[B, P, K·H]` as `[B, h, w, K]`, the mean over heads."""
        maps = weights.astype(jnp.float32).reshape(len(weights), *regions.size, -1, self.num_heads)
        self.sow("intermediates", "weights", maps.mean(-1))

    def __call__(self, to: Array, from_: Array, mask: Array) -> Array:
        """As written down: `to [B, T, D_to]`, `from [B, F, D_from]` to `[B, T, D_to]`.

        A logit that `mask [B, T, F]` forbids *becomes* -10⁴: a row with nothing allowed attends
        uniformly to everything. The softmax is in fp32.
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
        """Latents `[B, N, S]` attend to those of their own label: `[B, N, S]`."""
        slots = layout.to_slots(latents)
        batch, labels, count = slots.shape[:3]
        mask = np.broadcast_to(layout.filled[:, None], (batch, labels, count, count))
        each_label = slots.reshape(batch * labels, count, -1)
        out = self(each_label, each_label, mask.reshape(-1, count, count))
        return layout.from_slots(out.reshape(slots.shape))

    def gather(
        self, latents: Array, pixels: Array, regions: Regions, layout: LatentLayout
    ) -> Array:
        """Latents `[B, N, S]` attend to their label's `pixels [B, P, C]`: `[B, N, S]`.

        The latents of a label without pixels attend uniformly to all.
        """
        if pixels.shape[1] <= latents.shape[1] and not self._is_recorded():
            return self(latents, pixels, same_label(layout.owners[None], regions.labels))
        latents, pixels = latents.astype(self.layer.dtype), pixels.astype(self.layer.dtype)
        query, (key_kernel, _), (kernel, bias), out = self._params(latents, pixels)
        queries = self._scale(self._heads(_affine(latents, query)))
        # the key's bias adds the same to all of a latent's logits, and so nothing to its softmax
        folded = jnp.einsum("bnhd,chd->bnhc", queries, self._heads(key_kernel))
        averages = self._averages(pixels, regions, layout, folded)
        values = jnp.einsum("bnhc,chd->bnhd", averages, self._heads(kernel)) + self._heads(bias)
        return _affine(values.reshape(*values.shape[:2], self.width), out)

    def _averages(self, pixels, regions, layout, queries) -> Array:
        """Pixels averaged by the softmax over a label's pixels, for each `queries [B, N, H, C]`."""
        slots = layout.to_slots(queries)
        logits = by_label.scores(
            regions, pixels, slots.reshape(*slots.shape[:2], -1, slots.shape[-1])
        )
        top = by_label.highest(regions, logits)
        top = jnp.where(jnp.isfinite(top), top, 0)
        weights = jnp.exp(logits - by_label.spread(regions, top)).astype(pixels.dtype)
        sums = by_label.collect(regions, weights, pixels)
        counts = by_label.total(regions, weights)[..., None]
        present = counts > 0
        if self._is_recorded():
            share = by_label.spread(regions, 1 / jnp.where(present, counts, 1)[..., 0])
            self._record(regions, weights * share)
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
        """`pixels [B, P, C]` attend to the latents `[B, N, S]` of their label: each `[B, P, E]`.

        `then` has the kernel `[C, E]` and bias `[E]` of each linear layer that the output goes to.
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
        weights = self._weights(pixels, regions, layout, folded, constant)
        # each head's weights sum to one: every head's values carry their share of the biases
        share = 1 / self.num_heads
        values = self._heads(_affine(latents, value))
        out_kernel = out[0].reshape(*values.shape[-2:], -1)
        values = jnp.einsum("bnhd,hdc->bnhc", values, out_kernel) + share * out[1]

        def mixed(kernel, bias):
            table = layout.to_slots(values @ kernel + share * bias)
            table = table.reshape(*table.shape[:2], -1, table.shape[-1])
            return by_label.mix(regions, weights, table)

        return [mixed(*layer) for layer in then]

    def _weights(self, pixels, regions, layout, keys, constant) -> Array:
        """Softmax of pixels over the latents of their label, `[B, P, K·H]` in fp32."""
        slots = layout.to_slots(keys)
        constant = layout.to_slots(constant.astype(jnp.float32))
        constant = jnp.where(layout.filled[..., None], constant, MASKED_LOGIT)
        flat = (*slots.shape[:2], -1)
        logits = by_label.scores(regions, pixels, slots.reshape(*flat, slots.shape[-1]))
        logits = logits + by_label.spread(regions, constant.reshape(flat))
        per_head = logits.reshape(*logits.shape[:2], -1, self.num_heads)
        weights = jax.nn.softmax(per_head, axis=2).reshape(logits.shape)
        if self._is_recorded():
            self._record(regions, weights)
        return weights


def _affine(x: Array, params: tuple[Array, Array]) -> Array:
    kernel, bias = params
    return x @ kernel + bias


class MaskedTransformer(nn.Module):
    """Masked attention and a two-layer MLP, each added to its input and normalised.

    `[B, N, D]` to `[B, N, D]`. The norms are over tokens and channels together; the MLP ends in an
    activation.
    """

    width: int
    num_heads: int = 1
    layer: LayerSpec = LayerSpec()

    def setup(self):
        self.attention = MaskedAttention(self.width, self.num_heads, self.layer)
        self.norm_1, self.norm_2 = TokenNorm(), TokenNorm()
        self.mlp_1, self.mlp_2 = AffineParams(self.layer), AffineParams(self.layer)

    def __call__(self, to: Array, from_: Array, mask: Array) -> Array:
        """`to [B, N, D]` attends to `from [B, F, D_from]` where `mask [B, N, F]` allows."""
        return self._finish(to, self.attention(to, from_, mask))

    def among_latents(self, latents: Array, layout: LatentLayout) -> Array:
        """Latents attend to those of their own label."""
        return self._finish(latents, self.attention.among_latents(latents, layout))

    def gather(
        self, latents: Array, pixels: Array, regions: Regions, layout: LatentLayout
    ) -> Array:
        """Latents attend to the pixels `[B, P, C]` of their label."""
        return self._finish(latents, self.attention.gather(latents, pixels, regions, layout))

    def _finish(self, to: Array, attended: Array) -> Array:
        width = to.shape[-1]
        to = self.norm_1(attended + to)
        hidden = to.astype(self.layer.dtype)
        for mlp in (self.mlp_1, self.mlp_2):
            hidden = leaky_relu(_affine(hidden, mlp(width, width)))
        return self.norm_2(hidden + to)
