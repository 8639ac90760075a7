"""Synthetic people at 64×64: the demo. About ten minutes on 2 CPU cores.

  python main.py --config=configs/synthetic.py

The true result of every transfer in the validation and test splits is known. The README has the
values to expect. Settings were chosen on the validation split.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(choices: str = "") -> ConfigDict:
    """Returns the config; `choices` are those of `common.base`."""
    config = common.base(choices)

    config.data.name = "synthetic_people"
    config.data.directory = "datasets"
    config.data.height = config.data.width = 64
    config.data.num_labels = 6

    config.model.generator.features = 8
    config.model.discriminator.features = 8
    if config.model.family == "scam":
        config.model.latents_per_label = 4
        config.model.background_latents = 8
        config.model.latent_dim = config.model.attention_dim = 64
        config.model.encoder.num_blocks = 4
        config.model.encoder.conv_features = 16
        config.model.generator.num_up_layers = 4
    else:
        config.model.encoder.conv_features = 8
        config.model.generator.num_up_layers = 6
    if config.model.family in ("sean", "sean_clade"):
        config.model.latent_dim = 64

    # No pretrained weights are needed without the perceptual loss. All models have the same losses,
    # except that variational ones keep their KL loss.
    config.losses.perceptual = 0.0
    config.losses.feature_matching = 0.0
    config.losses.l1 = 10.0

    # The model learns colours first; the GAN loss starts in the second half. With weight 1 it would
    # destabilize a short run with high rates.
    config.losses.gan = 0.1
    config.losses.schedules.gan = ConfigDict({"start": 0.0, "steps": 2600})

    common.use_muon(config)

    config.train.batch_size = 8
    config.train.num_steps = 4500
    config.train.ema_decay = 0.99
    config.eval.every = 1500

    # About five minutes on 2 CPU cores.
    config.parser.features = 16
    config.parser.learning_rate = 2e-3
    config.parser.batch_size = 8
    config.parser.num_steps = 1600
    return config
