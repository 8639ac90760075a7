"""A small untrained model with names of its labels, for the tests of recipes and studio."""

from helpers import small
from scam_jax import models
from scam_jax.inference.model import TrainedModel
from scam_jax.training import state

NAMES = ("background", "hair", "top")


def build() -> TrainedModel:
    config = small.shallow(model__generator__add_noise=False)
    variables = state.create(config, models.build(config)).eval_variables()
    return TrainedModel(config, variables, label_names=NAMES)
