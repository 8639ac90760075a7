"""The number of floating-point operations of a training step."""

from collections.abc import Callable, Collection
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
from scam_jax.training.loss_weights import ADVERSARIAL, discriminator_start, is_used
from scam_jax.training.step import make_train_step


def argument_shapes(config: ConfigDict, networks: models.Networks) -> tuple[Any, Any, Any]:
    """Returns the shapes and types of the training step's arguments.

    Args:
      config: the whole config.
      networks: the run's networks.

    Returns:
      State, batch and VGG19's parameters; the latter are None if the perceptual loss is off.
    """
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


def model_flops(config: ConfigDict, platform: str) -> Callable[[int], float] | None:
    """Counts the floating-point operations of a training step on the whole batch.

    The step is counted before compilation, on one device and with the batch in one piece.
    Recomputation that saves memory is therefore not included, nor are copies of the update on other
    devices. R1, which is not added at every step, counts with its mean over the steps.

    Args:
      config: the whole config.
      platform: 'cpu', 'cuda' or 'tpu'; the step differs on a CPU.

    Returns:
      A function of the step, counted from 1: the discriminator's losses may begin later. Or None,
      with a warning, if this process may not use the CPU.
    """
    try:
        # Only the CPU client can count operations before compilation, for any platform.
        device = jax.local_devices(backend="cpu")[0]
    except RuntimeError as error:
        logging.warning("cannot count the FLOPs of a step: %s; add cpu to JAX_PLATFORMS", error)
        return None
    begin = discriminator_start(config)
    later = _mean_of_steps(config, device, platform)
    first = _counted(_without(config, ADVERSARIAL), device, platform) if begin else later
    return lambda step: later if step > begin else first


def _mean_of_steps(config: ConfigDict, device: jax.Device, platform: str) -> float:
    whole = _counted(config, device, platform)
    if not is_used(config, "r1"):
        return whole
    # Of the branches of a condition, XLA counts the one with more operations.
    without = _counted(_without(config, ["r1"]), device, platform)
    return without + (whole - without) / config.losses.lazy_r1_step


def _without(config: ConfigDict, losses: Collection[str]) -> ConfigDict:
    """Returns the config without some losses."""
    config = config.copy_and_resolve_references()
    schedules = {n: s for n, s in config.losses.schedules.items() if n not in losses}
    config.losses.update({name: 0.0 for name in losses})
    with config.unlocked():
        config.losses.schedules = ConfigDict(schedules)
    return config


def _counted(config: ConfigDict, device: jax.Device, platform: str) -> float:
    """Counts the operations of a step; of a condition's branches, those of the dearest."""
    config = in_one_piece(config)
    networks = models.build(config, batch_axis=sharding.DATA)
    step = make_train_step(config, networks, Mesh(np.array([device]), (sharding.DATA,)))
    traced = step.trace(*argument_shapes(config, networks))
    return traced.lower(lowering_platforms=(platform,)).cost_analysis()["flops"]


def in_one_piece(config: ConfigDict) -> ConfigDict:
    """Returns the config without rematerialization and gradient accumulation."""
    config = config.copy_and_resolve_references()
    config.train.rematerialize = False
    # XLA counts the body of a loop once, however often it runs.
    config.train.accumulation_steps = 1
    return config
