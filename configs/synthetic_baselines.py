"""SCAM and all its baselines on synthetic people at 32×32, trained like configs/synthetic_study.py.

  python main.py --mode=study --config=configs/synthetic_baselines.py     (or: make baselines)

All models have the same data, steps, batch size, rates and losses. Variational models have no KL
loss, because with its published weight their codes carry no information in such a short run.
docs/baselines.md has the values to expect.
"""

from ml_collections import ConfigDict

from configs import synthetic_study
from scam_jax.models import FAMILIES


def get_config(choices: str = "") -> ConfigDict:
    """Returns the config; `choices` are those of `common.base`."""
    config = _without_kl(choices)
    config.study.num_seeds = 1
    config.study.variants = ConfigDict({name: _changes(name) for name in FAMILIES})
    return config


def _without_kl(choices: str) -> ConfigDict:
    config = synthetic_study.get_config(choices)
    config.losses.kl = 0.0
    return config


def _changes(name: str) -> dict[str, ConfigDict]:
    other = _without_kl(f"model={name}")
    return {part: other[part] for part in ("model", "losses", "optimizer")}
