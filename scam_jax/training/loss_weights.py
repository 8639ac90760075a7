"""Loss weights as functions of the step, from `config.losses`.

`config.losses.NAME` is the weight, a number; 0 turns the loss off. A weight changes during training
only if `config.losses.schedules.NAME` exists. `{'start': 0.0, 'steps': 2600}` means that the weight
is `start` at first and `config.losses.NAME` from step `steps` on. The weights `gan` and `swapped`
switch at that step; the other weights change by an equal factor per step.
"""

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

Array = jax.Array

# The generator's losses that the discriminator's loss opposes.
GAN_TERMS = ("gan", "swapped")
# The losses that compare the reconstruction with its image.
RECONSTRUCTION = ("l1", "perceptual", "feature_matching")
# The losses that need the discriminator.
ADVERSARIAL = (*GAN_TERMS, "feature_matching", "r1")
LOSSES = (*GAN_TERMS, "l1", "perceptual", "feature_matching", "kl", "r1")


def start_of(config: ConfigDict, name: str) -> float:
    """Returns the weight of a loss at the first step."""
    schedule = config.losses.schedules.get(name)
    return config.losses[name] if schedule is None or not schedule.steps else schedule.start


def is_used(config: ConfigDict, name: str) -> bool:
    """Whether a loss has a weight above 0 at any step."""
    return max(config.losses[name], start_of(config, name)) > 0


def discriminator_start(config: ConfigDict) -> int:
    """Returns the number of steps before a GAN loss has a weight above 0.

    Feature matching and R1 begin then, too: without it the discriminator knows nothing.
    """
    used = [name for name in GAN_TERMS if is_used(config, name)]
    waiting = [config.losses.schedules[n].steps for n in used if not start_of(config, n)]
    return min(waiting) if waiting and len(waiting) == len(used) else 0


def loss_weights(config: ConfigDict, step: Array) -> dict[str, Array]:
    """Returns the weights of all losses at `step`, float32 scalars by name."""
    return {name: _weight(config, name, step) for name in LOSSES}


def _weight(config: ConfigDict, name: str, step: Array) -> Array:
    end, schedule = config.losses[name], config.losses.schedules.get(name)
    if schedule is None:
        return jnp.float32(end)
    function = switched if name in GAN_TERMS else geometric
    return function(schedule.start, end, schedule.steps, step)


def geometric(start: float, end: float, steps: int, step: Array) -> Array:
    """Returns a weight that changes from `start` to `end` by an equal factor per step.

    Args:
      start: the weight at step 0.
      end: the weight from step `steps` on.
      steps: number of steps over which the weight changes.
      step: the current step.
    """
    if start == end or steps == 0:
        return jnp.float32(end)
    progress = jnp.clip(step / steps, 0, 1)
    return jnp.float32(start) * jnp.float32(np.float64(end) / start) ** progress


def switched(start: float, end: float, steps: int, step: Array) -> Array:
    """Returns a weight that is `start` before step `steps` and `end` from then on."""
    return jnp.where(step < steps, jnp.float32(start), jnp.float32(end))
