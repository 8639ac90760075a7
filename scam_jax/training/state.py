"""All that a training step changes, as one pytree."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from scam_jax.models import Networks
from scam_jax.models.layers import latents
from scam_jax.models.layers.initialization import initialize

Tree = Any
# The two sides of GAN training, and the networks that each one trains. As in the literature, the
# side that generates is called the generator; here it has an encoder too.
SIDES = {"generator": ("encoder", "generator"), "discriminator": ("discriminator",)}


@flax.struct.dataclass
class TrainState:
    """The state of a run.

    Attributes:
      step: steps done, int32 scalar.
      params: parameters by network: encoder, generator, discriminator.
      extra: the networks' other collections (batch statistics, fixed latents), by network.
      opt_state: optimizer states, by side.
      ema: averaged parameters of encoder and generator, or None if the config has it off.
    """

    step: jax.Array
    params: dict[str, Tree]
    extra: dict[str, Tree]
    opt_state: dict[str, Tree]
    ema: dict[str, Tree] | None

    def eval_variables(self) -> dict[str, Tree]:
        """Variables of encoder and generator to evaluate with: averaged if there is an average."""
        params = self.params if self.ema is None else self.ema
        return {name: {"params": params[name], **self.extra[name]} for name in SIDES["generator"]}


# Learning-rate multiplier as a function of batch size / reference batch size.
RATE_SCALINGS = {
    "none": lambda times: 1.0,
    "sqrt": lambda times: times**0.5,
    "linear": lambda times: times,
}


def learning_rates(config: ConfigDict) -> dict[str, optax.ScalarOrSchedule]:
    """Each side's rate for the config's batch size; a schedule where it warms up.

    Linear scaling and warm-up are Goyal et al.'s (2017, section 2); the root is what keeps the
    noise of Adam's updates the same (Malladi et al. 2022).
    """
    c = config.optimizer
    times = RATE_SCALINGS[c.rate_scaling](config.train.batch_size / c.reference_batch_size)
    rates = {
        "generator": times * c.generator_learning_rate,
        "discriminator": times * c.discriminator_learning_rate,
    }
    if not c.warmup_steps:
        return rates
    # the first step's rate is not 0, or it would be lost
    first = 1 / c.warmup_steps
    return {
        side: optax.linear_schedule(first * rate, rate, c.warmup_steps - 1)
        for side, rate in rates.items()
    }


def optimizers(config: ConfigDict) -> dict[str, optax.GradientTransformation]:
    """AdamW of each side: decoupled weight decay on every parameter."""
    c = config.optimizer
    rates = learning_rates(config)
    return {
        side: optax.adamw(rate, c.b1, c.b2, c.eps, weight_decay=c.weight_decay)
        for side, rate in rates.items()
    }


def of_side(networks: dict[str, Tree], side: str) -> dict[str, Tree]:
    """Those of `{network: tree}` that a side trains."""
    return {name: networks[name] for name in SIDES[side]}


def variable_shapes(config: ConfigDict, networks: Networks) -> dict[str, Tree]:
    """Shapes of all variables, `{network: {collection: tree}}`. Nothing is computed."""

    def init(key):
        image = jnp.zeros((1, config.data.height, config.data.width, 3))
        labels = jnp.zeros(image.shape[:3], jnp.int32)
        one_hot = jax.nn.one_hot(labels, config.data.num_labels)
        keys = jax.random.split(key, 1)
        codes, encoder = networks.encoder.init_with_output(key, image, labels, keys)
        generator = networks.generator.init(key, labels, latents.sample(codes, None), keys)
        discriminator = networks.discriminator.init(key, image, one_hot)
        return {"encoder": encoder, "generator": generator, "discriminator": discriminator}

    return jax.eval_shape(init, jax.random.key(0))


def from_variables(config: ConfigDict, variables: dict[str, Tree]) -> TrainState:
    """A state at step 0 with these variables (`{network: {collection: tree}}`)."""
    params = {name: tree.get("params", {}) for name, tree in variables.items()}
    extra = {
        name: {c: v for c, v in tree.items() if c != "params"} for name, tree in variables.items()
    }
    opt_state = {side: opt.init(of_side(params, side)) for side, opt in optimizers(config).items()}
    ema = jax.tree.map(jnp.copy, of_side(params, "generator")) if config.train.ema_decay else None
    return TrainState(jnp.zeros((), jnp.int32), params, extra, opt_state, ema)


def abstract(config: ConfigDict, networks: Networks) -> TrainState:
    """The shapes and types of a run's state. Nothing is computed."""
    variables = variable_shapes(config, networks)
    return jax.eval_shape(lambda v: from_variables(config, v), variables)


def create(config: ConfigDict, networks: Networks) -> TrainState:
    """The state that a run with `config.seed` starts from."""
    shapes = variable_shapes(config, networks)
    variables = {
        name: initialize(
            tree, config.seed, name, config.model.equalized, config.model.initialization
        )
        for name, tree in shapes.items()
    }
    return from_variables(config, jax.tree.map(jnp.asarray, variables))
