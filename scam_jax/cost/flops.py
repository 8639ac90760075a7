"""How many operations a training step needs: what its speed is measured by."""

from typing import Any

import jax
import numpy as np
from absl import logging
from jax.sharding import Mesh
from ml_collections import ConfigDict

from scam_jax import models
from scam_jax.devices import sharding
from scam_jax.training import step as steps


def model_flops(config: ConfigDict, platform: str, *args: Any) -> float | None:
    """Floating-point operations of one training step on the whole batch.

    Counted before compilation, of the step in one piece: neither what is computed twice to save
    memory nor any copy of the update on further devices counts.

    Args:
      config: of the run.
      platform: that the step runs on: 'cpu', 'cuda', 'tpu'; the CPU's differs.
      *args: of the training step, arrays or shapes; only shapes are read.

    Returns:
      the number, or None, with a warning, if this process may not use the CPU.
    """
    try:
        # A TPU's or GPU's client cannot count what is not compiled; the CPU's counts for any.
        device = jax.local_devices(backend="cpu")[0]
    except RuntimeError as error:
        logging.warning("a step's FLOPs are not counted: %s; add cpu to JAX_PLATFORMS", error)
        return None
    config = in_one_piece(config)
    networks = models.build(config, batch_axis=sharding.DATA)
    step = steps.make_train_step(config, networks, Mesh(np.array([device]), (sharding.DATA,)))
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), args)
    lowered = step.trace(*shapes).lower(lowering_platforms=(platform,))
    return lowered.cost_analysis()["flops"]


def in_one_piece(config: ConfigDict) -> ConfigDict:
    """The same step with nothing computed twice and the batch not taken in parts."""
    config = config.copy_and_resolve_references()
    config.train.rematerialize = False
    # XLA counts a loop's body once, however often it runs.
    config.train.accumulation_steps = 1
    return config
