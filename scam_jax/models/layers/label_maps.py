"""What a generator's modulations make of a label map and of codes of its labels."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from scam_jax.models.layers.initialization import declare
from scam_jax.models.layers.primitives import Array, Conv, LayerSpec

# One-hot maps select: on accelerators too, to the last digit.
_EXACT = jax.lax.Precision.HIGHEST


class LabelMapEncoder(nn.Module):
    """γ and β, each `[B, h, w, C]`, from a map of label channels `[B, h, w, L]` (SPADE's).

    Attributes:
      features: C.
      hidden: channels between.
      hidden_groups: groups of the convolution to them.
      groups: groups of the two convolutions from them.
    """

    features: int
    hidden: int = 128
    hidden_groups: int = 1
    groups: int = 1
    layer: LayerSpec = LayerSpec()

    @nn.compact
    def __call__(self, label_map: Array) -> tuple[Array, Array]:
        shared = Conv(self.hidden, groups=self.hidden_groups, layer=self.layer, name="shared")
        hidden = nn.relu(shared(label_map))

        def conv(name):
            return Conv(self.features, groups=self.groups, layer=self.layer, name=name)(hidden)

        return conv("gamma"), conv("beta")


class LabelTable(nn.Module):
    """Two learned numbers, weight and bias, for each label and channel: `[L, *shape]` each."""

    num_labels: int
    shape: tuple[int, ...]

    @nn.compact
    def __call__(self) -> tuple[Array, Array]:
        shape = (self.num_labels, *self.shape)
        return self.param("label_weight", declare, shape), self.param("label_bias", declare, shape)


class Blend(nn.Module):
    """γ and β of two sources, mixed by a learned share for each: σ(a)·first + (1 − σ(a))·second."""

    @nn.compact
    def __call__(
        self, first: tuple[Array, Array], second: tuple[Array, Array]
    ) -> tuple[Array, Array]:
        def mixed(name, a, b):
            share = nn.sigmoid(self.param(f"blend_{name}", declare, (1,))).astype(a.dtype)
            return share * a + (1 - share) * b

        return mixed("gamma", first[0], second[0]), mixed("beta", first[1], second[1])


class LabelLinear(nn.Module):
    """A linear layer for each label or latent of its own: `[B, N, S]` to `[B, N, features]`."""

    features: int
    layer: LayerSpec = LayerSpec()

    @nn.compact
    def __call__(self, x: Array) -> Array:
        count, width = x.shape[1:]
        kernel = self.param("kernel", declare, (count, width, self.features))
        bias = self.param("bias", declare, (count, self.features))
        kernel = self.layer.scale(kernel, width).astype(self.layer.dtype)
        out = jnp.einsum("bns,nst->bnt", x.astype(self.layer.dtype), kernel)
        return out + bias.astype(self.layer.dtype)


class CodeConv(nn.Module):
    """A 3×3 convolution of codes laid out over their labels, without laying them out.

    Such a map has only as many values as there are labels, so the kernel is applied to the codes,
    and each pixel adds up what the labels of its nine neighbours give: the same sums for a fraction
    of the products.
    """

    features: int
    layer: LayerSpec = LayerSpec()

    @nn.compact
    def __call__(self, neighbours: Array, codes: Array) -> Array:
        """`neighbours_of` the labels, and codes `[B, L, S]`, to `[B, h, w, features]`."""
        width = codes.shape[-1]
        kernel = self.param("kernel", declare, (3, 3, width, self.features))
        bias = self.param("bias", declare, (self.features,)).astype(self.layer.dtype)
        kernel = self.layer.scale(kernel, 9 * width).astype(self.layer.dtype)
        table = jnp.einsum("bls,yxsc->byxlc", codes.astype(self.layer.dtype), kernel)
        table = table.reshape(len(codes), -1, self.features)
        return jnp.einsum("bhwn,bnc->bhwc", neighbours.astype(table.dtype), table) + bias


def neighbours_of(one_hot: Array) -> Array:
    """The labels of each pixel's 3×3 surroundings, none outside: `[B, h, w, L]` to `[…, 9L]`."""
    height, width = one_hot.shape[1:3]
    padded = jnp.pad(one_hot, ((0, 0), (1, 1), (1, 1), (0, 0)))
    shifts = [padded[:, y : y + height, x : x + width] for y in range(3) for x in range(3)]
    return jnp.concatenate(shifts, axis=-1)


def laid_out(one_hot: Array, table: Array) -> Array:
    """Each pixel's label's entry of `[L, C]` or `[B, L, C]`: `[B, h, w, C]`, of table's type."""
    one_hot = one_hot.astype(table.dtype)
    indices = "bhwl,lc->bhwc" if table.ndim == 2 else "bhwl,blc->bhwc"
    return jnp.einsum(indices, one_hot, table, precision=_EXACT)


def region_means(one_hot: Array, x: Array) -> Array:
    """Means of x `[B, h, w, C]` over each label's pixels, 0 for an absent label: `[B, L, C]`."""
    sums = jnp.einsum("bhwl,bhwc->blc", one_hot, x.astype(jnp.float32), precision=_EXACT)
    return sums / jnp.maximum(one_hot.sum((1, 2)), 1)[..., None]
