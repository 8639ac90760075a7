"""Clothing Co-Parsing: street photos of whole people, with nine labels, at 256×170 as published.

  git clone https://github.com/bearpaw/clothing-co-parsing
  python main.py --config=configs/ccp.py                 256×170, SCAM as published
  python main.py --config=configs/ccp.py:size=small      96×64, a small model for a CPU

The published size needs VGG19's weights first (docs/training.md). If the clone lies elsewhere, give
its parent folder as --config.data.manual_dir. On accelerators add --config.model.dtype=bfloat16.
"""

from absl import flags
from ml_collections import ConfigDict

from configs import common
from scam_jax.inference import label_orders as labels

_SIZES = ("published", "small")


def get_config(choices: str = "") -> ConfigDict:
    """Returns the config; `choices` are those of `common.base`, and 'size=small'."""
    sizes = [choice for choice in choices.split(",") if choice.startswith("size=")]
    size = sizes[-1].removeprefix("size=") if sizes else "published"
    if size not in _SIZES:
        raise flags.IllegalFlagValueError(f"--config=FILE:size={size}: use {' or '.join(_SIZES)}")
    config = common.base(",".join(c for c in choices.split(",") if c not in sizes))
    config.data.name = "ccp"
    config.data.directory = "datasets"
    config.data.manual_dir = "."
    config.data.height = 256
    config.data.width = 170
    config.data.num_labels = len(labels.CCP_CLOTHES_NAMES)
    config.data.label_map = labels.CCP_CLOTHES
    config.data.augmentation = "basic"
    if size == "small":
        _make_small(config)
    return config


def _make_small(config: ConfigDict) -> None:
    config.data.height, config.data.width = 96, 64
    config.model.generator.features = 16
    config.model.discriminator.features = 16
    if config.model.family == "scam":
        config.model.latents_per_label, config.model.background_latents = 8, 16
        config.model.latent_dim = config.model.attention_dim = 96
        config.model.encoder.num_blocks = 4
        config.model.generator.num_up_layers = 4
    else:
        config.model.generator.features = config.model.encoder.conv_features = 8
        config.model.generator.num_up_layers = 6
    if config.model.family == "groupdnet":
        config.model.generator.features = config.data.num_labels  # the fewest that it may have
    if config.model.family in ("sean", "sean_clade"):
        config.model.latent_dim = 96
    # All models have the same losses. With a KL loss, codes carry nothing in a short run.
    config.losses.l1 = 10.0
    config.losses.perceptual = config.losses.feature_matching = config.losses.kl = 0.0
    config.losses.gan = 0.1
    # The model learns colours and shapes first. AdamW with rates of 1e-3 broke down after 2300
    # steps; Muon did not, with one seed and 4800 steps (docs/results.md).
    config.losses.schedules.gan = ConfigDict({"start": 0.0, "steps": 5500})
    common.use_muon(config)
    config.train.batch_size = 8
    config.train.num_steps = 8000
    config.train.ema_decay = 0.998
    config.train.log_every = 50
    config.train.panel_every = 500
    config.train.checkpoint_every = 500
    config.eval.every = 1000
    config.parser.features = 16
    config.parser.learning_rate = 2e-3
    config.parser.batch_size = 8
    config.parser.num_steps = 6000
