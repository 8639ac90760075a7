"""Masked attention between pixels and latents (paper, sections 3.1 and 3.2).

Either side of an attention here is a few latents or many pixels. All products are ordered so that
the linear layers act on the fewer side: folding them is exact and never projects a pixel.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from scam_jax.models.primitives import AffineParams, Array, LayerSpec, Linear, TokenNorm, leaky_relu

MASKED_LOGIT = -1e4


def latent_labels(num_labels: int, latents_per_label: int, background_latents: int) -> np.ndarray:
    """Label of each latent, `[N]`: the background's first, then each label's in turn."""
    counts = [background_latents] + [latents_per_label] * (num_labels - 1)
    return np.repeat(np.arange(num_labels), counts)


def same_label(to_labels: Array, from_labels: Array) -> Array:
    """Attention mask `[B, T, F]` of label numbers `[B, T]` (or `[1, T]`) and `[B, F]`."""
    return to_labels[:, :, None] == from_labels[:, None, :]


def attend(logits: Array, mask: Array, values: Array) -> Array:
    """softmax(logits) · values, where a masked logit *becomes* -10⁴.

    A row with nothing allowed so attends uniformly to everything. The exponentials are summed by
    the product itself, of a column of ones: neither they nor their gradients need another pass.

    Args:
      logits: `[B, heads, T, F]`; the softmax is over F, in fp32.
      mask: bool `[B, T, F]`.
      values: `[B, heads, F, C]`.

    Returns:
      `[B, heads, T, C]` of the values' type.
    """
    logits = jnp.where(mask[:, None], logits.astype(jnp.float32), MASKED_LOGIT)
    shift = jax.lax.stop_gradient(logits.max(axis=-1, keepdims=True))
    weights = jnp.exp(logits - shift).astype(values.dtype)
    ones = jnp.ones((*values.shape[:-1], 1), values.dtype)
    sums = jnp.einsum(
        "bhtf,bhfc->bhtc",
        weights,
        jnp.concatenate([values, ones], axis=-1),
        preferred_element_type=jnp.float32,
    )
    return (sums[..., :-1] / sums[..., -1:]).astype(values.dtype)


class MaskedAttention(nn.Module):
    """Attention of `to [B, T, D_to]` over `from [B, F, D_from]` where `mask [B, T, F]` allows.

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

    def _folded_logits(self, few: Array, many: Array, few_params, many_params) -> Array:
        """Logits `[B, heads, few, many]`: both projections folded into the few tokens."""
        kernel, bias = few_params
        projected = self._heads(few @ kernel + bias) / np.float32(
            np.sqrt(self.width // self.num_heads)
        ).astype(few.dtype)
        kernel, bias = (self._heads(p) for p in many_params)
        folded = jnp.einsum("bnhd,chd->bhnc", projected, kernel)
        constant = jnp.einsum("bnhd,hd->bhn", projected, bias)
        return jnp.einsum("bhnc,bmc->bhnm", folded, many) + constant[..., None]

    def look_up(
        self,
        to: Array,
        from_: Array,
        mask: Array,
        then: Callable[[Array], Array] = lambda x: x,
    ) -> Array:
        """For many `to` and few `from`: `then(output) [B, T, ...]`.

        `then` is an affine layer on the output's channels; with one head it acts on the few values
        instead, which is the same since a row's weights sum to one.
        """
        to, from_ = to.astype(self.layer.dtype), from_.astype(self.layer.dtype)
        key, query = self.key(from_.shape[-1], self.width), self.query(to.shape[-1], self.width)
        logits = self._folded_logits(from_, to, key, query).swapaxes(-1, -2)
        kernel, bias = self.value(from_.shape[-1], self.width)
        out_kernel, out_bias = self.out(self.width, to.shape[-1])
        values = self._heads(from_ @ kernel + bias)
        out_kernel = out_kernel.reshape(*values.shape[-2:], -1)
        values = jnp.einsum("bnhd,hdc->bhnc", values, out_kernel)
        if self.num_heads == 1:
            return attend(logits, mask, then(values + out_bias))[:, 0]
        return then(attend(logits, mask, values).sum(axis=1) + out_bias)

    def gather(self, to: Array, from_: Array, mask: Array) -> Array:
        """For few `to` and many `from`: output `[B, T, D_to]`."""
        to, from_ = to.astype(self.layer.dtype), from_.astype(self.layer.dtype)
        query, key = self.query(to.shape[-1], self.width), self.key(from_.shape[-1], self.width)
        logits = self._folded_logits(to, from_, query, key)
        kernel, bias = (self._heads(p) for p in self.value(from_.shape[-1], self.width))
        shared = jnp.broadcast_to(from_[:, None], (len(from_), self.num_heads, *from_.shape[1:]))
        averages = attend(logits, mask, shared)
        values = jnp.einsum("bhtc,chd->bthd", averages, kernel) + bias
        out_kernel, out_bias = self.out(self.width, to.shape[-1])
        return values.reshape(*values.shape[:2], self.width) @ out_kernel + out_bias

    def __call__(self, to: Array, from_: Array, mask: Array) -> Array:
        if to.shape[1] <= from_.shape[1]:
            return self.gather(to, from_, mask)
        return self.look_up(to, from_, mask)


class MaskedTransformer(nn.Module):
    """Masked attention and a two-layer MLP, each added to its input and normalised.

    `to [B, N, D]`, `from [B, F, D_from]`, `mask [B, N, F]` to `[B, N, D]`. The norms are over
    tokens and channels together; the MLP ends in an activation.
    """

    width: int
    num_heads: int = 1
    layer: LayerSpec = LayerSpec()

    @nn.compact
    def __call__(self, to: Array, from_: Array, mask: Array) -> Array:
        attention = MaskedAttention(self.width, self.num_heads, self.layer, name="attention")
        to = TokenNorm(name="norm_1")(attention.gather(to, from_, mask) + to)
        hidden = leaky_relu(Linear(to.shape[-1], self.layer, name="mlp_1")(to))
        hidden = leaky_relu(Linear(to.shape[-1], self.layer, name="mlp_2")(hidden))
        return TokenNorm(name="norm_2")(hidden + to)
