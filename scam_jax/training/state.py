"""The training state: everything that a training step changes, as one pytree."""

from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from scam_jax.devices import sharding
from scam_jax.models import Networks
from scam_jax.models.layers import latents
from scam_jax.models.layers.initialization import initialize
from scam_jax.training import optimizers
from scam_jax.training.loss_weights import GAN_TERMS, is_used

Tree = Any
# The two sides of GAN training and the networks that each side trains. The generator side is named
# as in the literature; here it includes the encoder.
SIDES = {"generator": ("encoder", "generator"), "discriminator": ("discriminator",)}


class TrainState(flax.struct.PyTreeNode):
    """The state of a run.

    Attributes:
      step: number of completed steps, int32 scalar.
      params: parameters, keyed by network: encoder, generator, discriminator.
      extra: the other collections (batch statistics, fixed latents), keyed by network.
      opt_state: optimizer states, keyed by side.
      ema: averaged parameters of encoder and generator, or None if averaging is off.
    """

    step: jax.Array
    params: dict[str, Tree]
    extra: dict[str, Tree]
    opt_state: dict[str, Tree]
    ema: dict[str, Tree] | None

    def eval_variables(self) -> dict[str, Tree]:
        """Returns the encoder's and generator's variables for evaluation, averaged if kept."""
        params = self.params if self.ema is None else self.ema
        return {name: {"params": params[name], **self.extra[name]} for name in SIDES["generator"]}


MadeWith = dict[str, Any]
Shapes = Callable[[MadeWith], TrainState]


def of_side(networks: dict[str, Tree], side: str) -> dict[str, Tree]:
    """Returns the entries of `{network: tree}` whose networks a side trains."""
    return {name: networks[name] for name in SIDES[side]}


def variable_shapes(config: ConfigDict, networks: Networks) -> dict[str, Tree]:
    """Returns the shapes of all variables, `{network: {collection: tree}}`, without computing."""

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
    """Returns a state at step 0 with the given variables, `{network: {collection: tree}}`."""
    params = {name: tree.get("params", {}) for name, tree in variables.items()}
    extra = {
        name: {c: v for c, v in tree.items() if c != "params"} for name, tree in variables.items()
    }

    @jax.jit
    def made_of(params):
        sides = optimizers.of_sides(config).items()
        opt_state = {side: optimizer.init(of_side(params, side)) for side, optimizer in sides}
        return opt_state, jnp.zeros((), jnp.int32)

    opt_state, step = made_of(params)
    ema = sharding.copied(of_side(params, "generator")) if config.train.ema_decay else None
    return TrainState(step, params, extra, opt_state, ema)


def abstract(config: ConfigDict, networks: Networks) -> TrainState:
    """Returns the shapes and types of a run's state, without computing."""
    variables = variable_shapes(config, networks)
    return jax.eval_shape(lambda v: from_variables(config, v), variables)


def made_with(config: ConfigDict) -> MadeWith:
    """Returns what a state depends on besides its networks. A checkpoint tells it of its own."""
    uses_gan = any(is_used(config, name) for name in GAN_TERMS)
    return {
        "optimizer": config.optimizer.to_dict(),
        "ema_decay": config.train.ema_decay,
        "discriminator_start": optimizers.begins(config)["discriminator"] if uses_gan else None,
    }


def shapes_of(config: ConfigDict, networks: Networks) -> Shapes:
    """Returns a function that maps what a state was made with to its shapes and types.

    If a checkpoint does not tell, it is taken to be made with the config.
    """

    def shapes(made: MadeWith) -> TrainState:
        own = config.copy_and_resolve_references()
        own.optimizer.update(made.get("optimizer", {}))
        own.train.ema_decay = made.get("ema_decay", config.train.ema_decay)
        return abstract(own, networks)

    return shapes


def adapted(config: ConfigDict, saved: TrainState) -> TrainState:
    """Returns a saved state in the form that a config's training needs.

    Optimizers and averaging may have changed since. The moments that both have are kept, see
    `optimizers.adapted`. New averages start from the current parameters.

    Args:
      config: the whole config.
      saved: the state, made with a config of the same networks.
    """
    opt_state = {
        side: optimizers.adapted(
            optimizer,
            of_side(saved.params, side),
            saved.opt_state[side],
            jnp.maximum(saved.step - optimizers.begins(config)[side], 0),
        )
        for side, optimizer in optimizers.of_sides(config).items()
    }
    ema = None
    if config.train.ema_decay:
        ema = saved.ema or sharding.copied(of_side(saved.params, "generator"))
    return saved.replace(opt_state=opt_state, ema=ema)


def create(config: ConfigDict, networks: Networks) -> TrainState:
    """Returns the initial state of a run; it depends on `config.seed`."""
    shapes = variable_shapes(config, networks)
    variables = {
        name: initialize(
            tree, config.seed, name, config.model.equalized, config.model.initialization
        )
        for name, tree in shapes.items()
    }
    return from_variables(config, jax.device_put(variables))
