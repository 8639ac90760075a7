"""How many operations a training step needs: what its speed is measured by."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from jax.sharding import Mesh
from ml_collections import ConfigDict

from scam_jax import models
from scam_jax.devices import sharding
from scam_jax.models.frozen.vgg19 import VGG19
from scam_jax.training import state
from scam_jax.training.loss_weights import is_used
from scam_jax.training.step import make_train_step


def argument_shapes(config: ConfigDict, networks: models.Networks) -> tuple[Any, Any, Any]:
    """Shapes and types of the training step's arguments: state, batch and VGG19's parameters."""
    pixels = (config.train.batch_size, config.data.height, config.data.width)
    batch = {
        "image": jax.ShapeDtypeStruct((*pixels, 3), jnp.uint8),
        "label": jax.ShapeDtypeStruct(pixels, jnp.uint8),
    }
    vgg = None
    if is_used(config, "perceptual"):
        image = jnp.zeros((1, 32, 32, 3))
        vgg = jax.eval_shape(VGG19().init, jax.random.key(0), image)["params"]
    return state.abstract(config, networks), batch, vgg


def model_flops(config: ConfigDict, platform: str) -> float | None:
    """Floating-point operations of one training step on the whole batch.

    Counted before compilation, on one device, with the batch in one piece: computing something
    twice to save memory does not count, nor do copies of the update on other devices.

    Args:
      config: of the run.
      platform: 'cpu', 'cuda' or 'tpu'; the step differs on a CPU.

    Returns:
      the number; None, with a warning, if this process may not use the CPU.
    """
    try:
        # A TPU's or GPU's client cannot count what is not compiled; the CPU's counts for any.
        device = jax.local_devices(backend="cpu")[0]
    except RuntimeError as error:
        logging.warning("a step's FLOPs are not counted: %s; add cpu to JAX_PLATFORMS", error)
        return None
    config = in_one_piece(config)
    networks = models.build(config, batch_axis=sharding.DATA)
    step = make_train_step(config, networks, Mesh(np.array([device]), (sharding.DATA,)))
    traced = step.trace(*argument_shapes(config, networks))
    return traced.lower(lowering_platforms=(platform,)).cost_analysis()["flops"]


def in_one_piece(config: ConfigDict) -> ConfigDict:
    """The same step with nothing computed twice and the batch not taken in parts."""
    config = config.copy_and_resolve_references()
    config.train.rematerialize = False
    # XLA counts a loop's body once, however often it runs.
    config.train.accumulation_steps = 1
    return config
