"""SEAN-CLADE (Tan et al. 2021): SEAN with CLADE's tables in place of the label-map encoders."""

from scam_jax.models.baselines import sean
from scam_jax.models.layers.label_maps import LabelTable, laid_out
from scam_jax.models.layers.primitives import Array


class SEANCLADEModulation(sean.SEANModulation):
    """`SEANModulation` that looks up the label map's γ and β in a table of labels."""

    def of_label_map(self, one_hot: Array, x: Array) -> tuple[Array, Array]:
        table = LabelTable(self.num_labels, (x.shape[-1],), name="label_table")
        gamma, beta = (laid_out(one_hot, part.astype(x.dtype)) for part in table())
        return gamma, beta


class SEANCLADEGenerator(sean.SEANGenerator):
    """`SEANGenerator` with tables in place of the label-map encoders."""

    modulation_class = SEANCLADEModulation


FAMILY = sean.FAMILY._replace(generator_class=SEANCLADEGenerator)
