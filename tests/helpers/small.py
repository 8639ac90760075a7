"""A small config that every test of training starts from: 16×16 images, three labels.

Simplex attention compiles in half the time of duplex, which the golden steps cover.
"""

import numpy as np
from ml_collections import ConfigDict

from configs import common


def config(choices: str = "", schedules: dict | None = None, **overrides) -> ConfigDict:
    """The base config of `choices` made tiny; overrides by dotted name with `__` for the dot.

    `schedules` are those of loss weights, by loss.
    """
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
    c.losses.perceptual = 0.0
    c.losses.schedules = ConfigDict(schedules or {})
    c.parser.features, c.parser.batch_size, c.parser.num_steps = 8, 4, 4
    c.train.batch_size = 4
    c.train.num_steps = 4
    c.train.log_every = 2
    c.train.panel_every = 1000
    c.train.checkpoint_every = 1000
    c.eval.every = 1000
    c.update_from_flattened_dict({k.replace("__", "."): v for k, v in overrides.items()})
    return c


def shallow(**overrides) -> ConfigDict:
    """SCAM with two blocks in the generator: fewer than a run may have, quick to compile."""
    return config(model__generator__num_up_layers=2, **overrides)


def of_golden_steps() -> ConfigDict:
    """The config of the golden steps: no noise, 64×48, three labels."""
    c = config(
        data__height=64,
        data__width=48,
        model__encoder__num_blocks=4,
        model__encoder__use_self_attention=True,
        model__generator__attention="duplex",
        model__generator__add_noise=False,
        model__discriminator__features=8,
        model__discriminator__num_layers=4,
        train__batch_size=2,
    )
    c.losses.perceptual = 10.0
    return c


def batch(config: ConfigDict, seed: int = 0) -> dict[str, np.ndarray]:
    """A random batch of a config."""
    random = np.random.default_rng(seed)
    shape = config.train.batch_size, config.data.height, config.data.width
    return {
        "image": random.integers(0, 256, (*shape, 3), dtype=np.uint8),
        "label": random.integers(0, config.data.num_labels, shape, dtype=np.uint8),
    }
