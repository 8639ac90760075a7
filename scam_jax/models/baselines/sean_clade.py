"""SEAN-CLADE: SEAN with CLADE's tables in place of the label-map encoders (Tan et al. 2021)."""

from scam_jax.models.baselines import sean
from scam_jax.models.layers.label_maps import LabelTable, laid_out
from scam_jax.models.layers.primitives import Array


class SEANCLADEModulation(sean.SEANModulation):
    """As `SEANModulation`, what it takes from the label map looked up by label."""

    def of_label_map(self, one_hot: Array, x: Array) -> tuple[Array, Array]:
        table = LabelTable(self.num_labels, (x.shape[-1],), name="label_table")
        gamma, beta = (laid_out(one_hot, part.astype(x.dtype)) for part in table())
        return gamma, beta


class SEANCLADEGenerator(sean.SEANGenerator):
    """As `SEANGenerator`, with tables."""

    modulation_class = SEANCLADEModulation


FAMILY = sean.FAMILY._replace(generator_class=SEANCLADEGenerator)
