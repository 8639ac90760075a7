"""A config file for a study of one run, of the real program."""

from ml_collections import ConfigDict

from helpers import small_run


def get_config():
    config = small_run.get_config()
    config.train.num_steps = 2
    config.eval.every = 0
    config.eval.num_seeds = 1
    config.study.num_seeds = 1
    config.study.variants = ConfigDict({"two_latents": {"model": {"latents_per_label": 2}}})
    return config
