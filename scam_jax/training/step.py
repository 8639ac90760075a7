"""One training step, as a pure function of state and batch.

A batch is `{'image': uint8 [B, H, W, 3], 'label': uint8 [B, H, W]}`. The step itself scales images
to [-1, 1] and converts labels to one-hot, on the device.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from absl import logging
from jax.sharding import Mesh, PartitionSpec
from ml_collections import ConfigDict

from scam_jax.devices import sharding
from scam_jax.models import Networks, build
from scam_jax.models.layers import spectral_norm
from scam_jax.training import optimizers, sharpness
from scam_jax.training.loss_weights import is_used, loss_weights
from scam_jax.training.objectives import NetworkGradients, gradients_of_batch
from scam_jax.training.state import SIDES, TrainState, of_side

Array = jax.Array
Metrics = dict[str, Array]
Batch = dict[str, Array]
# (state, batch) -> (state, metrics). The state is donated.
Step = Callable[[TrainState, Batch], tuple[TrainState, Metrics]]
CompileStep = Callable[[TrainState, Batch], Step]

# Reduces all gradients of a network at once. By default the compiler combines at most 256 arrays
# and 120 MiB into one all-reduce.
TPU_OPTIONS = {
    "xla_jf_crs_combiner_threshold_count": 1024,
    "xla_jf_crs_combiner_threshold_in_bytes": 256 * 2**20,
}


def example_keys(key: Array, batch: int, axis: str | None) -> Array:
    """Returns one key per example, independent of the number of devices.

    Args:
      key: the key of the step.
      batch: number of examples in this device's share.
      axis: mesh axis that splits the batch, or None for a single device.

    Returns:
      The keys of this device's examples, `[batch]`.
    """
    first = 0 if axis is None else jax.lax.axis_index(axis) * batch
    return jax.vmap(lambda i: jax.random.fold_in(key, i))(first + jnp.arange(batch))


def gradients_of_step(
    config: ConfigDict,
    networks: Networks,
    axis: str | None,
    state: TrainState,
    batch: dict[str, Array],
    vgg: Any,
) -> NetworkGradients:
    """Computes this device's gradients, accumulated over `config.train.accumulation_steps` parts.

    Args:
      config: the whole config.
      networks: the run's networks.
      axis: mesh axis that splits the batch, or None for a single device.
      state: the state before the step.
      batch: this device's share of the batch.
      vgg: VGG19's parameters, or None if the perceptual loss is off.

    Returns:
      The gradients, averaged over this device's share.
    """
    size, parts = len(batch["image"]), config.train.accumulation_steps
    key = jax.random.fold_in(jax.random.key(config.seed), state.step)
    swap_key = key if axis is None else jax.random.fold_in(key, jax.lax.axis_index(axis))
    batch = {**batch, "key": example_keys(key, size, axis)}

    def gradients(part):
        part = {**part, "swap_key": swap_key}
        return gradients_of_batch(config, networks, state, part, vgg, axis=axis)

    if parts == 1:
        return gradients(batch)
    divided = jax.tree.map(lambda x: x.reshape(parts, size // parts, *x.shape[1:]), batch)

    def add(sums, part):
        return jax.tree.map(jnp.add, sums, gradients(part)), None

    shapes = jax.eval_shape(gradients, jax.tree.map(lambda x: x[0], divided))
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    sums, _ = jax.lax.scan(add, zeros, divided)
    return jax.tree.map(lambda x: x / parts, sums)


class SideGradients(NamedTuple):
    """The gradients of a whole batch.

    Attributes:
      by_side: `{side: {network: tree}}`, without the discriminator if no loss uses it.
      metrics: scalars by name.
      extra: the generator's updated collections.
    """

    by_side: dict[str, dict[str, Any]]
    metrics: Metrics
    extra: dict[str, Any]


def averaged_gradients(
    config: ConfigDict,
    networks: Networks,
    axis: str | None,
    state: TrainState,
    batch: dict[str, Array],
    vgg: Any,
) -> SideGradients:
    """Computes the gradients of the whole batch; arguments as for `gradients_of_step`."""
    gradients, metrics, extra = gradients_of_step(config, networks, axis, state, batch, vgg)
    by_side = {
        side: of_side(gradients, side)
        for side, names in SIDES.items()
        if gradients.keys() >= {*names}
    }
    if axis is not None:
        # Without the barrier, XLA would average gradients computed in bfloat16 in bfloat16.
        by_side = jax.lax.optimization_barrier(by_side)
        by_side = {side: jax.lax.pmean(tree, axis) for side, tree in by_side.items()}
        metrics = jax.lax.pmean(metrics, axis)
    return SideGradients(by_side, metrics, extra)


def _with_spectral_advanced(state: TrainState) -> dict[str, Any]:
    """Returns the networks' collections after one power iteration of every spectral norm."""
    collection = spectral_norm.COLLECTION
    return {
        name: {**tree, collection: spectral_norm.advance(state.params[name], tree[collection])}
        if collection in tree
        else tree
        for name, tree in state.extra.items()
    }


def train_step(
    config: ConfigDict,
    networks: Networks,
    axis: str | None,
    state: TrainState,
    batch: dict[str, Array],
    vgg: Any,
) -> tuple[TrainState, Metrics]:
    """Updates encoder and generator once, and the discriminator once on the same images.

    The losses of both sides are computed with the weights from before the step.

    Args:
      config: the whole config.
      networks: the run's networks.
      axis: mesh axis over which gradients, metrics and batch statistics are averaged, or None for
        a single device.
      state: the state before the step.
      batch: this device's share of the batch.
      vgg: VGG19's parameters, or None if the perceptual loss is off.

    Returns:
      The state after the step, and scalar metrics by name.
    """
    state = state.replace(extra=_with_spectral_advanced(state))

    def averaged(state):
        return averaged_gradients(config, networks, axis, state, batch, vgg)

    gradients, metrics, extra = averaged(state)
    if config.optimizer.sam_rho:
        rho = config.optimizer.sam_rho
        gradients = sharpness.gradients_uphill(lambda s: averaged(s)[0], state, gradients, rho)
    metrics |= {f"gradient_norm/{side}": optax.tree.norm(tree) for side, tree in gradients.items()}
    metrics |= {
        f"weight/{name}": weight
        for name, weight in loss_weights(config, state.step).items()
        if is_used(config, name)
    }
    state = update_state(config, state, gradients)
    extra = {**state.extra, "generator": {**state.extra["generator"], **extra}}
    return state.replace(extra=extra), metrics


def update_state(
    config: ConfigDict, state: TrainState, gradients: dict[str, dict[str, Any]]
) -> TrainState:
    """Updates the parameters of each side, and the averaged parameters.

    Args:
      config: the whole config.
      state: the state before the step.
      gradients: `{side: {network: tree}}`. A side without gradients is not updated, nor is the
        discriminator while none of its losses is on: gradients of 0 would end the bias correction
        of its moments, and its first steps would then be many times its rate.

    Returns:
      The state after the step.
    """
    params, opt_state = dict(state.params), dict(state.opt_state)
    for side, optimizer in optimizers.of_sides(config).items():
        if side in gradients:
            update = partial(_updated, optimizer, gradients[side])
            if begin := optimizers.begins(config)[side]:
                update = partial(jax.lax.cond, state.step >= begin, update, lambda *old: old)
            updated, opt_state[side] = update(of_side(params, side), opt_state[side])
            params |= updated
    ema = state.ema
    if ema is not None:
        # The decay starts low and rises, so that the average soon forgets the initial weights.
        decay = jnp.minimum(config.train.ema_decay, (1.0 + state.step) / (10.0 + state.step))
        ema = optax.incremental_update(of_side(params, "generator"), ema, 1 - decay)
    return state.replace(step=state.step + 1, params=params, opt_state=opt_state, ema=ema)


def _updated(
    optimizer: optax.GradientTransformation, gradients: Any, params: Any, opt_state: Any
) -> tuple[Any, Any]:
    updates, opt_state = optimizer.update(gradients, opt_state, params)
    return optax.apply_updates(params, updates), opt_state


def make_train_step(config: ConfigDict, networks: Networks, mesh: Mesh) -> jax.stages.Wrapped:
    """Returns `train_step` jitted over all devices of a mesh.

    Args:
      config: the whole config.
      networks: the run's networks.
      mesh: devices to train on.

    Returns:
      A function `(state, batch, vgg) -> (state, metrics)`. The state is replicated and donated; the
      batch is split along axis 0.
    """
    everywhere, split = PartitionSpec(), PartitionSpec(sharding.DATA)
    step = jax.shard_map(
        partial(train_step, config, networks, sharding.DATA),
        mesh=mesh,
        in_specs=(everywhere, split, everywhere),
        out_specs=(everywhere, everywhere),
        check_vma=False,
    )
    on_tpu = mesh.devices.flat[0].platform == "tpu"
    return jax.jit(step, donate_argnums=0, compiler_options=TPU_OPTIONS if on_tpu else None)


def compiled(step: jax.stages.Wrapped, parts: int, *args: Any) -> jax.stages.Compiled:
    """Compiles a training step for the shapes of `args`, and logs the time and the FLOPs.

    Args:
      step: the jitted step.
      parts: number of parts of a batch that the step computes in a loop.
      *args: its arguments, or their shapes.
    """
    start = time.perf_counter()
    program = step.lower(*args).compile()
    cost = program.cost_analysis() or {}
    logging.info(
        "compiled the training step in %.0f s: %.2f GFLOP per device",
        time.perf_counter() - start,
        # XLA counts the body of a loop once.
        cost.get("flops", float("nan")) / 1e9 * parts,
    )
    return program


def step_compiler(config: ConfigDict, mesh: Mesh, vgg: Any = None) -> CompileStep:
    """Returns what compiles the step that trains encoder, generator and discriminator.

    Args:
      config: the whole config.
      mesh: devices to train on.
      vgg: VGG19's parameters, or None if the perceptual loss is off.
    """

    def compile_step(train_state: TrainState, batch: Batch) -> Step:
        everywhere = jax.device_put(vgg, sharding.replicated(mesh))
        step = make_train_step(config, build(config, batch_axis=sharding.DATA), mesh)
        parts = config.train.accumulation_steps
        program = compiled(step, parts, train_state, batch, everywhere)
        return lambda state, batch: program(state, batch, everywhere)

    return compile_step
