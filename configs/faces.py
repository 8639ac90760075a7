"""A small model for a folder of photos and label maps at 128×128. Half an hour on a CPU.

  python main.py --config=configs/faces.py --config.data.directory=DIRECTORY \\
      --config.data.num_labels=19

DIRECTORY holds {train,test}/{images,labels}/NAME.{jpg|png}; labels are 0 … num_labels - 1.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(choices: str = "") -> ConfigDict:
    """Returns the config; `choices` are those of `common.base`."""
    config = common.base(choices)
    config.data.directory = "datasets/faces"
    config.data.height = config.data.width = 128
    config.data.num_labels = 19

    config.model.generator.features = 8
    if config.model.family == "scam":
        config.model.latents_per_label = config.model.background_latents = 4
        config.model.latent_dim = config.model.attention_dim = 64
        config.model.encoder.num_blocks = 5
        config.model.generator.num_up_layers = 5
    else:
        config.model.encoder.conv_features = 16
        config.losses.l1 = 10.0
    if config.model.family == "groupdnet":
        config.model.generator.features = config.data.num_labels
    config.model.discriminator.features = 16

    config.losses.perceptual = 0.0

    # As in configs/synthetic.py: colours and shapes first, the GAN loss in the second half.
    config.losses.gan = 0.1
    config.losses.schedules.gan = ConfigDict({"start": 0.0, "steps": 1200})
    common.use_muon(config)

    config.train.batch_size = 4
    config.train.num_steps = 2000
    config.train.ema_decay = 0.99
    config.train.log_every = 20
    config.train.panel_every = 100
    config.train.checkpoint_every = 200
    config.eval.every = 500

    config.parser.features = 16
    config.parser.learning_rate = 2e-3
    config.parser.batch_size = 8
    config.parser.num_steps = 3000
    return config
