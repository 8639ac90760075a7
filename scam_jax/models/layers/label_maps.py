"""Layers that turn label maps and per-label codes into modulations γ and β."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from scam_jax.models.layers.initialization import declare
from scam_jax.models.layers.primitives import Array, Conv, LayerSpec

# Products with one-hot maps select values, which must be exact on accelerators too.
_EXACT = jax.lax.Precision.HIGHEST


class LabelMapEncoder(nn.Module):
    """SPADE's network from a label map to γ and β.

    Attributes:
      features: channels C of γ and β.
      hidden: channels of the hidden layer.
      hidden_groups: groups of the convolution that computes the hidden layer.
      groups: groups of the convolutions that compute γ and β.
      layer: how the layers compute.
    """

    features: int
    hidden: int = 128
    hidden_groups: int = 1
    groups: int = 1
    layer: LayerSpec = LayerSpec()

    @nn.compact
    def __call__(self, label_map: Array) -> tuple[Array, Array]:
        """Maps one-hot labels `[B, h, w, L]` to γ and β, each `[B, h, w, C]`."""
        shared = Conv(self.hidden, groups=self.hidden_groups, layer=self.layer, name="shared")
        hidden = nn.relu(shared(label_map))

        def conv(name):
            return Conv(self.features, groups=self.groups, layer=self.layer, name=name)(hidden)

        return conv("gamma"), conv("beta")


class LabelTable(nn.Module):
    """A table of learned weights and biases of each label.

    Attributes:
      num_labels: number of labels L.
      shape: shape of a label's weights and of its biases.
    """

    num_labels: int
    shape: tuple[int, ...]

    @nn.compact
    def __call__(self) -> tuple[Array, Array]:
        """Returns the weights and the biases, each `[L, *shape]`."""
        shape = (self.num_labels, *self.shape)
        return self.param("label_weight", declare, shape), self.param("label_bias", declare, shape)


class Blend(nn.Module):
    """Blends γ and β of two sources with learned weights: σ(a)·first + (1 − σ(a))·second."""

    @nn.compact
    def __call__(
        self, first: tuple[Array, Array], second: tuple[Array, Array]
    ) -> tuple[Array, Array]:
        def mixed(name, a, b):
            share = nn.sigmoid(self.param(f"blend_{name}", declare, (1,))).astype(a.dtype)
            return share * a + (1 - share) * b

        return mixed("gamma", first[0], second[0]), mixed("beta", first[1], second[1])


class LabelLinear(nn.Module):
    """A separate linear layer for each label or latent: `[B, N, S]` to `[B, N, features]`."""

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
    """A 3×3 convolution of a map of codes, computed without the map.

    Each pixel of the map holds the code of its label, so the map has only L different values. The
    kernel is applied to these L codes, and each pixel sums the results for the labels of its 3×3
    neighbourhood: the same sums with a fraction of the products.

    Attributes:
      features: output channels.
      layer: how the layer computes.
    """

    features: int
    layer: LayerSpec = LayerSpec()

    @nn.compact
    def __call__(self, neighbours: Array, codes: Array) -> Array:
        """Convolves the map of codes.

        Args:
          neighbours: labels around each pixel, `[B, h, w, 9L]`, from `neighbours_of`.
          codes: `[B, L, S]`.

        Returns:
          `[B, h, w, features]`.
        """
        width = codes.shape[-1]
        kernel = self.param("kernel", declare, (3, 3, width, self.features))
        bias = self.param("bias", declare, (self.features,)).astype(self.layer.dtype)
        kernel = self.layer.scale(kernel, 9 * width).astype(self.layer.dtype)
        table = jnp.einsum("bls,yxsc->byxlc", codes.astype(self.layer.dtype), kernel)
        table = table.reshape(codes.shape[0], -1, self.features)
        return jnp.einsum("bhwn,bnc->bhwc", neighbours.astype(table.dtype), table) + bias


def neighbours_of(one_hot: Array) -> Array:
    """Returns the labels in the 3×3 neighbourhood of each pixel.

    Args:
      one_hot: one-hot labels `[B, h, w, L]`.

    Returns:
      `[B, h, w, 9L]`, zero for neighbours outside the map.
    """
    height, width = one_hot.shape[1:3]
    padded = jnp.pad(one_hot, ((0, 0), (1, 1), (1, 1), (0, 0)))
    shifts = [padded[:, y : y + height, x : x + width] for y in range(3) for x in range(3)]
    return jnp.concatenate(shifts, axis=-1)


def laid_out(one_hot: Array, table: Array) -> Array:
    """Looks up each pixel's label in a table.

    Args:
      one_hot: one-hot labels `[B, h, w, L]`.
      table: `[L, C]`, or `[B, L, C]` for a table per example.

    Returns:
      `[B, h, w, C]` of the table's type.
    """
    one_hot = one_hot.astype(table.dtype)
    indices = "bhwl,lc->bhwc" if table.ndim == 2 else "bhwl,blc->bhwc"
    return jnp.einsum(indices, one_hot, table, precision=_EXACT)


def region_means(one_hot: Array, x: Array) -> Array:
    """Averages a map over the pixels of each label.

    Args:
      one_hot: one-hot labels `[B, h, w, L]`.
      x: `[B, h, w, C]`.

    Returns:
      Means `[B, L, C]`, float32; 0 for an absent label.
    """
    sums = jnp.einsum("bhwl,bhwc->blc", one_hot, x.astype(jnp.float32), precision=_EXACT)
    return sums / jnp.maximum(one_hot.sum((1, 2)), 1)[..., None]
