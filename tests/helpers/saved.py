"""Checkpoints of a state with few arrays, which are saved and read in a moment."""

import jax
import jax.numpy as jnp

from scam_jax.training.checkpoints import Checkpoints
from scam_jax.training.state import TrainState

DEVICE = jax.sharding.SingleDeviceSharding(jax.devices()[0])


def state(step: int) -> TrainState:
    """A state whose arrays depend on the step."""
    networks = ("encoder", "generator", "discriminator")
    params = {name: {"kernel": jnp.arange(6.0) + 10 * i + step} for i, name in enumerate(networks)}
    extra = {name: {} for name in networks}
    opt_state = {"generator": {"mu": jnp.full((3, 4), step, jnp.bfloat16)}}
    return TrainState(jnp.int32(step), params, extra, opt_state, None)


def shapes(_) -> TrainState:
    """What `Checkpoints.restore` takes."""
    return jax.eval_shape(lambda: state(0))


def save(folder, *steps: int, **options) -> None:
    """Saves states of some steps as one process does."""
    checkpoints = Checkpoints(folder, **options)
    for step in steps:
        checkpoints.save(state(step))
    checkpoints.close()


def resume(folder) -> TrainState | None:
    return Checkpoints(folder).resume(shapes, DEVICE)
