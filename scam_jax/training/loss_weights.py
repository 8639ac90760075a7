"""The weight of every loss at a step, from `config.losses`.

`config.losses.NAME` is the weight, a number; 0 turns the loss off. A weight changes during training
only where `config.losses.schedules.NAME` asks for it: `{'start': 0.0, 'steps': 2600}` starts at
`start` and ends at the weight. `gan` and `swapped` switch at step `steps`; the other weights move
there by equal factors.
"""

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

Array = jax.Array

# The losses of generated images that the discriminator's loss is opposed to.
GAN_TERMS = ("gan", "swapped")
# The losses that need the discriminator.
ADVERSARIAL = (*GAN_TERMS, "feature_matching", "r1")
LOSSES = (*GAN_TERMS, "l1", "perceptual", "feature_matching", "kl", "r1")


def start_of(config: ConfigDict, name: str) -> float:
    """The weight of a loss at the first step."""
    schedule = config.losses.schedules.get(name)
    return config.losses[name] if schedule is None else schedule.start


def is_used(config: ConfigDict, name: str) -> bool:
    """Whether a loss has a weight above 0 at any step."""
    return max(config.losses[name], start_of(config, name)) > 0


def loss_weights(config: ConfigDict, step: Array) -> dict[str, Array]:
    """The weight of every loss at `step`, float32 scalars by name."""
    return {name: _weight(config, name, step) for name in LOSSES}


def _weight(config: ConfigDict, name: str, step: Array) -> Array:
    end, schedule = config.losses[name], config.losses.schedules.get(name)
    if schedule is None:
        return jnp.float32(end)
    function = switched if name in GAN_TERMS else geometric
    return function(schedule.start, end, schedule.steps, step)


def geometric(start: float, end: float, steps: int, step: Array) -> Array:
    """A weight that moves from `start` to `end` over `steps` steps, by equal factors."""
    if start == end or steps == 0:
        return jnp.float32(end)
    progress = jnp.clip(step / steps, 0, 1)
    return jnp.float32(start) * jnp.float32(np.float64(end) / start) ** progress


def switched(start: float, end: float, steps: int, step: Array) -> Array:
    """A weight that is `start` before step `steps`, and `end` from then on."""
    return jnp.where(step < steps, jnp.float32(start), jnp.float32(end))
