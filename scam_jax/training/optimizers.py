"""The optimizer of each side of GAN training, and its learning rate."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from scam_jax.devices import sharding
from scam_jax.training.loss_weights import discriminator_start

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

    A rate is a function of the number of updates of its side. Those of the discriminator begin with
    its losses; both sides end with the run.

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

    def schedule(side, rate):
        left = config.train.num_steps - begins(config)[side] - c.warmup_steps
        after = DECAYS[c.decay](rate, max(left, 1), c.last_rate)
        if not c.warmup_steps:
            return after
        # The rate of the first step is not 0, because that step would change nothing.
        rise = optax.linear_schedule(rate / c.warmup_steps, rate, c.warmup_steps - 1)
        return optax.join_schedules([rise, after], [c.warmup_steps])

    return {side: schedule(side, rate) for side, rate in rates.items()}


def begins(config: ConfigDict) -> dict[str, int]:
    """Returns the number of steps of a run before each side is updated."""
    return {"generator": 0, "discriminator": discriminator_start(config)}


# Momentum of Muon's updates.
_MOMENTUM = 0.9
# Kernels with fewer channels on one side are too thin to gain from Muon.
_LEAST_CHANNELS = 8
# Kernels up to this size are updated together with others of their shape.
_SMALL = 2**16
_KERNEL = "kernel_"


def _groups(tree: Any) -> dict[str, list[int]]:
    """Returns which leaves of a tree are updated together, as their places, by group."""
    groups: dict[str, list[int]] = {}
    for i, (path, leaf) in enumerate(jax.tree_util.tree_flatten_with_path(tree)[0]):
        name = "others"
        if path[-1].key == "kernel" and min(leaf.shape[-2:]) >= _LEAST_CHANNELS:
            name = _KERNEL + "x".join(map(str, leaf.shape))
            name += "" if leaf.size <= _SMALL else f"_{i}"
        groups.setdefault(name, []).append(i)
    return groups


def _pack(tree: Any) -> dict[str, jax.Array]:
    """Stacks kernels of one shape, and joins all other leaves to one vector."""
    leaves = jax.tree.leaves(tree)

    def joined(group: str, members: list[int]) -> jax.Array:
        parts = [leaves[i] for i in members]
        is_kernel = group.startswith(_KERNEL)
        if len(parts) == 1:
            return parts[0][None] if is_kernel else parts[0].ravel()
        array = jnp.stack(parts) if is_kernel else jnp.concatenate([x.ravel() for x in parts])
        # Fused with what follows, it would ask for each element which of the leaves has it.
        return jax.lax.optimization_barrier(array)

    return {group: joined(group, members) for group, members in _groups(tree).items()}


def _unpack(packed: dict[str, jax.Array], like: Any) -> Any:
    """Returns the tree that was packed; `like` has its structure and shapes."""
    leaves = jax.tree.leaves(like)
    for name, members in _groups(like).items():
        if name.startswith(_KERNEL):
            parts = list(packed[name])
        else:
            ends = np.cumsum([leaves[i].size for i in members])
            parts = jnp.split(packed[name], ends[:-1])
        for i, part in zip(members, parts, strict=True):
            leaves[i] = part.reshape(leaves[i].shape)
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def packed(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    """Returns an optimizer that updates many parameters by few operations.

    A network has hundreds of small parameters, and each operation costs the same time to compile
    and to start whatever its size. The state of the optimizer is of the packed parameters.

    Args:
      optimizer: an optimizer of packed parameters: `{group: array}`. The kernels of a shape are
        stacked along axis 0, and their group starts with `kernel_`. Group `others` is a vector.
    """

    def update(gradients, state, params):
        updates, state = optimizer.update(_pack(gradients), state, _pack(params))
        return _unpack(updates, params), state

    return optax.GradientTransformation(lambda params: optimizer.init(_pack(params)), update)


def muon(
    rate: optax.ScalarOrSchedule,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
) -> optax.GradientTransformation:
    """Returns Muon (Jordan et al. 2024) for packed parameters.

    Every kernel moves along an orthogonal matrix, whose entries have the rate as their root mean
    square (Liu et al. 2025, section 2.2). All other parameters, and kernels of fewer than 8
    channels, have AdamW with Nesterov's momentum at the same rate.

    Args:
      rate: the learning rate.
      b1: decay of AdamW's momentum.
      b2: decay of AdamW's squares.
      eps: what keeps divisors from 0, of AdamW and of the matrices' norms.
      weight_decay: decoupled weight decay of every parameter.
    """
    return optax.contrib.muon(
        rate,
        beta=_MOMENTUM,
        eps=eps,
        weight_decay=weight_decay,
        adam_b1=b1,
        adam_b2=b2,
        adam_weight_decay=weight_decay,
        muon_weight_dimension_numbers=_matrices,
        consistent_rms=1.0,
    )


def _matrices(params: dict[str, Any]) -> dict[str, optax.contrib.MuonDimensionNumbers | None]:
    """Returns which axes of packed kernels are the input and the output of a matrix."""

    def axes(group: str) -> optax.contrib.MuonDimensionNumbers | None:
        if not group.startswith(_KERNEL):
            return None
        last = group.count("x") + 1
        # Axis 0 is the stack. A kernel of rank 3 is itself a stack of matrices, one of rank 4 that
        # of a convolution.
        inputs = (2,) if last == 3 else tuple(range(1, last))
        return optax.contrib.MuonDimensionNumbers(inputs, (last,))

    return {group: axes(group) for group in params}


# Optimizers of packed parameters, as functions of `config.optimizer` and the rate.
KINDS = {
    "adamw": lambda c, rate: optax.adamw(rate, c.b1, c.b2, c.eps, weight_decay=c.weight_decay),
    "muon": lambda c, rate: muon(rate, c.b1, c.b2, c.eps, c.weight_decay),
}


def of_sides(config: ConfigDict) -> dict[str, optax.GradientTransformation]:
    """Returns each side's optimizer: AdamW, as published, or Muon; of clipped gradients."""
    c = config.optimizer
    clip = optax.clip_by_global_norm(c.clip_norm) if c.clip_norm else optax.identity()
    return {
        side: packed(optax.chain(clip, KINDS[c.kind](c, rate)))
        for side, rate in learning_rates(config).items()
    }


def adapted(optimizer: optax.GradientTransformation, params: Any, saved: Any, step: Any) -> Any:
    """Returns a saved state in the form that an optimizer needs.

    Moments that both have are kept, schedules go on from the step, and the rest starts afresh.

    Args:
      optimizer: the optimizer.
      params: the parameters.
      saved: the state of an optimizer of these parameters.
      step: number of completed steps of this optimizer.
    """
    old = dict(jax.tree_util.tree_flatten_with_path(saved)[0])

    def is_schedule(node: Any) -> bool:
        return isinstance(node, optax.ScaleByScheduleState)

    def taken(path, new):
        return optax.ScaleByScheduleState(step) if is_schedule(new) else old.get(path, new)

    state = jax.tree_util.tree_map_with_path(taken, optimizer.init(params), is_leaf=is_schedule)
    # A buffer in two places cannot be donated.
    return sharding.copied(state)
