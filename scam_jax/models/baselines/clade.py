"""CLADE (Tan et al. 2021): SPADE with γ and β looked up in a table of labels."""

import flax.linen as nn
import jax

from scam_jax.models.baselines import spade
from scam_jax.models.layers.label_maps import LabelTable, laid_out
from scam_jax.models.layers.latents import Latents
from scam_jax.models.layers.primitives import Array, BatchNorm


class CLADEModulation(nn.Module):
    """Computes γ·BN(x) + β, with γ and β looked up by label."""

    num_labels: int
    batch_axis: str | None

    @nn.compact
    def __call__(
        self, x: Array, labels: Array, latents: Latents, keys: Array | None, train: bool
    ) -> Array:
        table = LabelTable(self.num_labels, (x.shape[-1],), name="label_table")
        one_hot = jax.nn.one_hot(labels, self.num_labels)
        gamma, beta = (laid_out(one_hot, part.astype(x.dtype)) for part in table())
        return gamma * BatchNorm(self.batch_axis, name="batch_norm")(x, train) + beta


class CLADEGenerator(spade.SPADEGenerator):
    """`SPADEGenerator` with tables in place of the label-map encoders."""

    def modulation(self, name: str, i: int) -> nn.Module:
        return self.recomputed(CLADEModulation)(self.num_labels, self.batch_axis, name=name)


FAMILY = spade.FAMILY._replace(generator_class=CLADEGenerator)
