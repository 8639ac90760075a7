"""SCAM (ECCV 2022): several latents per label, which exchange information with the image."""

from ml_collections import ConfigDict

from scam_jax.models.family import Family
from scam_jax.models.layers.primitives import start_size
from scam_jax.models.scam.sat_encoder import SATEncoder
from scam_jax.models.scam.scam_generator import SCAMGenerator


def _faults(config: ConfigDict) -> list[tuple[str, str]]:
    """Returns a (key, remedy) pair for each value that SCAM cannot use."""
    model, encoder, generator = config.model, config.model.encoder, config.model.generator
    size = config.data.height, config.data.width
    heads = f"must divide model.attention_dim = {model.attention_dim}"
    empty = f"the first map of a {size[0]}×{size[1]} image would be empty: use fewer up layers"
    with_maps = encoder.image_conv and encoder.num_blocks > 1
    possible = {
        "model.encoder.num_heads": (model.attention_dim % encoder.num_heads == 0, heads),
        "model.generator.num_heads": (model.attention_dim % generator.num_heads == 0, heads),
        "model.encoder.position_dim": (
            encoder.position_dim % 4 == 0,
            "a position embedding needs channels divisible by 4",
        ),
        "model.encoder.conv_features": (
            encoder.conv_features % 2 == 0 or not with_maps,
            "a position embedding needs twice this number divisible by 4: use an even number",
        ),
        "model.generator.features": (
            generator.features % 4 == 0,
            "every map has a position embedding: use a number divisible by 4",
        ),
        "model.generator.num_up_layers": (
            min(start_size(*size, generator.num_up_layers)) >= 1,
            empty,
        ),
        "model.generator.mask_adain_layers": (
            generator.mask_adain_layers <= generator.num_up_layers,
            f"use at most num_up_layers = {generator.num_up_layers}",
        ),
    }
    return [(key, remedy) for key, (holds, remedy) in possible.items() if not holds]


FAMILY = Family(
    SATEncoder,
    SCAMGenerator,
    shared_keys=("latents_per_label", "background_latents", "latent_dim", "attention_dim"),
    variational=lambda model: model.encoder.use_vae,
    means_in_use=True,
    faults=_faults,
    batch_norm=lambda model: model.generator.norm == "batch",
    has_attention=True,
)
