"""Trains a parser: its config, its state, and one step as a pure function of state and batch."""

import functools
from typing import Any, cast

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, PartitionSpec
from ml_collections import ConfigDict

from scam_jax.devices import sharding
from scam_jax.images import to_float
from scam_jax.models import parser
from scam_jax.models.layers.initialization import initialize
from scam_jax.training import optimizers
from scam_jax.training.state import Shapes, TrainState
from scam_jax.training.step import Batch, CompileStep, Metrics, Step, compiled

Array = jax.Array
PARSER = "parser"
# Share of the steps in which the rate rises.
_WARMUP = 0.05


def parser_config(config: ConfigDict) -> ConfigDict:
    """Returns a run's config with the parser's values in the place of the run's.

    Photos are augmented in any case: a parser meets photos of others.

    Args:
      config: the run's config.
    """
    own = config.copy_and_resolve_references()
    with own.unlocked():
        for section in ("model", "losses", "optimizer", "study"):
            del own[section]
    own.train.num_steps = own.parser.num_steps
    own.train.batch_size = own.parser.batch_size
    own.train.accumulation_steps = 1
    own.train.keep_best = ""
    if own.data.augmentation == "none":
        own.data.augmentation = "basic"
    return own


def optimizer(config: ConfigDict) -> optax.GradientTransformation:
    """Returns Muon; its rate rises, and falls to 0 with a cosine (Loshchilov and Hutter 2017)."""
    c = config.parser
    rise = max(round(_WARMUP * c.num_steps), 1)
    rate = optax.warmup_cosine_decay_schedule(0, c.learning_rate, rise, max(c.num_steps, rise + 1))
    return optimizers.packed(optax.chain(optax.clip_by_global_norm(1.0), optimizers.muon(rate)))


def create(config: ConfigDict) -> TrainState:
    """Returns a parser's initial state; it depends on `config.seed`."""
    drawn = initialize(_variable_shapes(config), config.seed, PARSER, kind="lecun")
    return jax.jit(functools.partial(_begun, config))(drawn["params"])


def abstract(config: ConfigDict) -> TrainState:
    """Returns the shapes and types of a parser's state, without computing."""
    return jax.eval_shape(functools.partial(_begun, config), _variable_shapes(config)["params"])


def _variable_shapes(config: ConfigDict) -> Any:
    image = jax.ShapeDtypeStruct((1, config.data.height, config.data.width, 3), jnp.float32)
    return jax.eval_shape(parser.build(config).init, jax.random.key(0), image)


def _begun(config: ConfigDict, params: Any) -> TrainState:
    opt_state = {PARSER: optimizer(config).init(params)}
    step = jnp.zeros((), jnp.int32)
    return TrainState(step, {PARSER: params}, {PARSER: {}}, opt_state, None)


def shapes_of(config: ConfigDict) -> Shapes:
    """Returns what `Checkpoints.restore` takes: a parser's states all have the same shapes."""
    shapes = abstract(config)
    return lambda _: shapes


def step(
    config: ConfigDict, axis: str | None, state: TrainState, batch: Batch
) -> tuple[TrainState, Metrics]:
    """Updates a parser once.

    The loss is the cross-entropy of the pixels. The pixels of a label weigh less the more of them
    the batch has, with the square root of their number, so that small regions count.

    Args:
      config: the parser's config.
      axis: mesh axis that splits the batch, or None for a single device.
      state: the state before the step.
      batch: this device's share: `image` uint8 `[B, H, W, 3]`, and `label` `[B, H, W]`. Labels that
        are left out are `num_labels`.

    Returns:
      The state after the step, and scalar metrics by name.
    """

    def total(x: Any) -> Any:
        return x if axis is None else jax.lax.psum(x, axis)

    one_hot = jax.nn.one_hot(batch["label"], config.data.num_labels)
    counts = total(one_hot.sum((0, 1, 2)))
    weights = jnp.where(counts > 0, jax.lax.rsqrt(jnp.maximum(counts, 1)), 0)
    # The weights of all pixels sum to 1; those of pixels that are left out are 0.
    pixel_weights = one_hot @ (weights / jnp.maximum((weights * counts).sum(), 1e-12))

    def loss(params: Any) -> tuple[Array, Array]:
        image = to_float(batch["image"])
        logits = cast(Array, parser.build(config).apply({"params": params}, image))
        entropies = optax.softmax_cross_entropy(logits, one_hot)
        hits = (logits.argmax(-1) == batch["label"]).sum()
        return (pixel_weights * entropies).sum(), hits

    params = state.params[PARSER]
    (value, hits), gradients = jax.value_and_grad(loss, has_aux=True)(params)
    value, hits, gradients = total((value, hits, gradients))
    updates, opt_state = optimizer(config).update(gradients, state.opt_state[PARSER], params)
    metrics = {
        "cross_entropy": value,
        "accuracy": hits / jnp.maximum(counts.sum(), 1),
        "gradient_norm": optax.tree.norm(gradients),
    }
    params = optax.apply_updates(params, updates)
    state = state.replace(
        step=state.step + 1, params={PARSER: params}, opt_state={PARSER: opt_state}
    )
    return state, metrics


def step_compiler(config: ConfigDict, mesh: Mesh) -> CompileStep:
    """Returns what compiles the step over all devices of a mesh.

    Args:
      config: the parser's config.
      mesh: devices to train on.
    """
    everywhere, split = PartitionSpec(), PartitionSpec(sharding.DATA)
    sharded = jax.shard_map(
        functools.partial(step, config, sharding.DATA),
        mesh=mesh,
        in_specs=(everywhere, split),
        out_specs=(everywhere, everywhere),
        check_vma=False,
    )

    def compile_step(train_state: TrainState, batch: Batch) -> Step:
        return compiled(jax.jit(sharded, donate_argnums=0), 1, train_state, batch)

    return compile_step
