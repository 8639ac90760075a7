"""The model in models/people64: drawn people at 64×64, longer and wider than the demo.

  python main.py --config=configs/people64.py

Two to three hours on 2 CPU cores. Settings were chosen on the validation split.
"""

from ml_collections import ConfigDict

from configs import synthetic


def get_config(choices: str = "") -> ConfigDict:
    """Returns the config; `choices` are those of `common.base`."""
    config = synthetic.get_config(choices)
    config.model.generator.features = 16
    config.model.discriminator.features = 16
    config.optimizer.last_rate = 0.02
    config.losses.schedules.gan = ConfigDict({"start": 0.0, "steps": 7000})
    config.train.batch_size = 16
    config.train.num_steps = 10_000
    config.train.ema_decay = 0.999
    config.train.panel_every = 1000
    config.train.checkpoint_every = 500
    config.eval.every = 2000

    # The release is to be small.
    config.parser.features = 8
    config.parser.num_steps = 3000
    return config
