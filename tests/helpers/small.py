"""A small config that every test of training starts from: 16×16 images, three labels.

Simplex attention compiles in half the time of duplex, which the golden steps cover.
"""

from ml_collections import ConfigDict

from configs import common


def config(choices: str = "", **overrides) -> ConfigDict:
    """The base config of `choices` made tiny; overrides by dotted name with `__` for the dot."""
    c = common.base(choices)
    c.data.height, c.data.width, c.data.num_labels = 16, 16, 3
    if c.model.family == "scam":
        c.model.latents_per_label, c.model.background_latents = 2, 3
        c.model.latent_dim = c.model.attention_dim = 16
        c.model.encoder.num_blocks = 2
        c.model.encoder.use_self_attention = False
        c.model.generator.attention = "simplex"
        c.model.encoder.position_dim = 8
    elif "latent_dim" in c.model:
        c.model.latent_dim = 8
    c.model.encoder.conv_features = 4
    c.model.generator.features = 4
    c.model.generator.num_up_layers = 5 if c.model.family == "groupdnet" else 4
    c.model.discriminator.features = 4
    if "num_layers" in c.model.discriminator:
        c.model.discriminator.num_layers = 2
    c.losses.perceptual.start = c.losses.perceptual.end = 0.0
    c.train.batch_size = 4
    c.train.num_steps = 4
    c.train.log_every = 2
    c.train.panel_every = 1000
    c.train.checkpoint_every = 1000
    c.eval.every = 1000
    c.update_from_flattened_dict({k.replace("__", "."): v for k, v in overrides.items()})
    return c
