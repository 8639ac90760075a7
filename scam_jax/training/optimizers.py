"""The optimizer of each side of GAN training, and its learning rate."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

# Learning-rate multiplier as a function of batch size / reference batch size.
RATE_SCALINGS = {
    "none": lambda times: 1.0,
    "sqrt": lambda times: times**0.5,
    "linear": lambda times: times,
}


# How the rate falls after the warm-up, as a function of rate, number of steps and last share.
DECAYS = {
    "constant": lambda rate, steps, last: optax.constant_schedule(rate),
    "linear": lambda rate, steps, last: optax.linear_schedule(rate, last * rate, steps),
    "cosine": optax.cosine_decay_schedule,
}


def learning_rates(config: ConfigDict) -> dict[str, optax.ScalarOrSchedule]:
    """Returns each side's learning rate, scaled to the batch size.

    Linear scaling and warm-up follow Goyal et al. (2017, section 2). Square-root scaling keeps the
    noise of Adam's updates unchanged (Malladi et al. 2022).

    Args:
      config: the whole config.

    Returns:
      Rates keyed by side: schedules if they warm up or decay, else numbers.
    """
    c = config.optimizer
    times = RATE_SCALINGS[c.rate_scaling](config.train.batch_size / c.reference_batch_size)
    rates = {
        "generator": times * c.generator_learning_rate,
        "discriminator": times * c.discriminator_learning_rate,
    }
    if not c.warmup_steps and c.decay == "constant":
        return rates
    left = max(config.train.num_steps - c.warmup_steps, 1)

    def schedule(rate):
        after = DECAYS[c.decay](rate, left, c.last_rate)
        if not c.warmup_steps:
            return after
        # The rate of the first step is not 0, because that step would change nothing.
        rise = optax.linear_schedule(rate / c.warmup_steps, rate, c.warmup_steps - 1)
        return optax.join_schedules([rise, after], [c.warmup_steps])

    return {side: schedule(rate) for side, rate in rates.items()}


# Momentum of Muon's updates.
_MOMENTUM = 0.9
# Kernels with fewer channels on one side are too thin to gain from Muon.
_LEAST_CHANNELS = 8


def muon(
    rate: optax.ScalarOrSchedule, b1: float = 0.9, b2: float = 0.999, weight_decay: float = 0.0
) -> optax.GradientTransformation:
    """Returns Muon (Jordan et al. 2024).

    Every kernel moves along an orthogonal matrix, whose entries have the rate as their root mean
    square (Liu et al. 2025, section 2.2). All other parameters, and kernels of fewer than 8
    channels, have AdamW with Nesterov's momentum at the same rate.

    Args:
      rate: the learning rate.
      b1: decay of AdamW's momentum.
      b2: decay of AdamW's squares.
      weight_decay: decoupled weight decay of every parameter.
    """
    return optax.contrib.muon(
        rate,
        beta=_MOMENTUM,
        weight_decay=weight_decay,
        adam_b1=b1,
        adam_b2=b2,
        adam_weight_decay=weight_decay,
        muon_weight_dimension_numbers=_matrices,
        consistent_rms=1.0,
    )


def _matrices(params: Any) -> Any:
    """Returns which axes of each kernel are the input and the output of a matrix."""

    def axes(path, leaf) -> optax.contrib.MuonDimensionNumbers | None:
        rank = leaf.ndim
        if path[-1].key != "kernel" or rank < 2 or min(leaf.shape[-2:]) < _LEAST_CHANNELS:
            return None
        # A kernel of rank 3 is a stack of matrices, one of rank 4 that of a convolution.
        inputs = (1,) if rank == 3 else tuple(range(rank - 1))
        return optax.contrib.MuonDimensionNumbers(inputs, (rank - 1,))

    return jax.tree_util.tree_map_with_path(axes, params)


# Optimizers as functions of `config.optimizer` and the rate.
KINDS = {
    "adamw": lambda c, rate: optax.adamw(rate, c.b1, c.b2, c.eps, weight_decay=c.weight_decay),
    "muon": lambda c, rate: muon(rate, c.b1, c.b2, c.weight_decay),
}


def of_sides(config: ConfigDict) -> dict[str, optax.GradientTransformation]:
    """Returns each side's optimizer: AdamW, as published, or Muon."""
    kind = KINDS[config.optimizer.kind]
    return {side: kind(config.optimizer, rate) for side, rate in learning_rates(config).items()}


def adapted(optimizer: optax.GradientTransformation, params: Any, saved: Any, step: Any) -> Any:
    """Returns a saved state in the form that an optimizer needs.

    Moments that both have are kept, schedules go on from the step, and the rest starts afresh.

    Args:
      optimizer: the optimizer.
      params: the parameters.
      saved: the state of an optimizer of these parameters.
      step: number of completed steps.
    """
    old = dict(jax.tree_util.tree_flatten_with_path(saved)[0])

    def is_schedule(node: Any) -> bool:
        return isinstance(node, optax.ScaleByScheduleState)

    def taken(path, new):
        return optax.ScaleByScheduleState(step) if is_schedule(new) else old.get(path, new)

    state = jax.tree_util.tree_map_with_path(taken, optimizer.init(params), is_leaf=is_schedule)
    # A buffer in two places cannot be donated.
    return jax.tree.map(jnp.copy, state)
