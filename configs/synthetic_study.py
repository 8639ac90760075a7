"""SCAM and its ablations on synthetic people at 32×32. Less than an hour on 2 CPU cores.

  python main.py --mode=study --config=configs/synthetic_study.py     (or: make reproduce)

This command trains every variant of `config.study.variants` with three seeds, evaluates each run on
the test split, whose true transfers are known, and writes runs/synthetic_study/report. It works
with other configs of the same model as well.
"""

from ml_collections import ConfigDict

from configs import common, synthetic


def get_config(choices: str = "") -> ConfigDict:
    """Returns the config; `choices` are those of `common.base`."""
    config = synthetic.get_config(choices)
    config.data.height = config.data.width = 32
    if config.model.family == "scam":
        config.model.latents_per_label = config.model.background_latents = 8
        config.model.encoder.num_blocks = 3
    # Reconstruction only: a discriminator does not help in such a short run.
    config.losses.gan = 0.0
    del config.losses.schedules.gan
    # The published optimizer, and less momentum: with b1 = 0.9 models get stuck at the mean image.
    published = common.base(choices).optimizer
    for key in ("kind", "warmup_steps", "clip_norm", "decay", "last_rate"):
        config.optimizer[key] = published[key]
    config.train.num_steps = 1500
    config.train.panel_every = 1500
    config.train.checkpoint_every = 500
    config.eval.every = 500
    return config
