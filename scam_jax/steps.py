"""One training step and one evaluation step, pure functions of state and batch.

A batch is `{'image': uint8 [B, H, W, 3], 'label': uint8 [B, H, W]}`; images become [-1, 1] and
labels one-hot here, on the device.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, PartitionSpec
from ml_collections import ConfigDict

from scam_jax import losses, sharding
from scam_jax.models import Networks
from scam_jax.models.primitives import LayerSpec
from scam_jax.models.sat_encoder import Gaussian, sample_latents
from scam_jax.models.vgg19 import VGG19, widths_of
from scam_jax.state import AUTOENCODER, TrainState, optimizers

Array = jax.Array
Metrics = dict[str, Array]


def to_float(image: Array) -> Array:
    """uint8 images to [-1, 1]; float images pass."""
    return image / jnp.float32(127.5) - 1 if image.dtype == jnp.uint8 else image


def example_keys(key: Array, batch: int, axis: str | None) -> Array:
    """A key for each example of this device's share: the same however many devices there are."""
    first = 0 if axis is None else jax.lax.axis_index(axis) * batch
    return jax.vmap(lambda i: jax.random.fold_in(key, i))(first + jnp.arange(batch))


def _mean_over_devices(tree: Any, axis: str | None) -> Any:
    return tree if axis is None else jax.lax.pmean(tree, axis)


def _weights(config: ConfigDict, step: Array) -> Metrics:
    """Every loss's weight at `step`."""
    weights = {}
    for name in ("gan", "swapped", "l1", "perceptual", "feature_matching", "kl", "r1"):
        w = config.losses[name]
        schedule = losses.switched_weight if name in ("gan", "swapped") else losses.geometric_weight
        weights[name] = schedule(w.start, w.end, w.steps, step)
    return weights


def _used(config: ConfigDict, name: str) -> bool:
    """Whether a loss has weight at any step."""
    return max(config.losses[name].start, config.losses[name].end) > 0


class Objectives:
    """The losses of one step on one batch, as functions of either side's parameters."""

    def __init__(self, config, networks, axis, state, batch, vgg):
        self.config, self.networks, self.axis = config, networks, axis
        self.state, self.vgg = state, vgg
        self.image = to_float(batch["image"])
        self.labels = batch["label"].astype(jnp.int32)
        self.one_hot = jax.nn.one_hot(self.labels, config.data.num_labels)
        self.weights = _weights(config, state.step)
        key = jax.random.fold_in(jax.random.key(config.seed), state.step)
        self.keys = example_keys(key, len(self.image), axis)
        self.swap_key = key if axis is None else jax.random.fold_in(key, jax.lax.axis_index(axis))

    # Generator side

    def autoencode(self, params):
        """Images by kind ('fake', 'swapped'), latents, and new collections."""
        keys = jax.vmap(partial(jax.random.split, num=4))(self.keys)
        latents = self.networks.encoder.apply(
            {"params": params["encoder"], **self.state.extra["encoder"]},
            self.image,
            self.labels,
            keys[:, 0],
        )
        codes = sample_latents(latents, keys[:, 1])
        fake, extra = self.generate(params, codes, keys[:, 2])
        images = {"fake": fake}
        if _used(self.config, "swapped"):
            order = jax.random.permutation(self.swap_key, len(self.image))
            images["swapped"], _ = self.generate(
                params, jax.tree.map(lambda z: z[order], codes), keys[:, 3]
            )
        return images, latents, extra

    def generate(self, params, latents, keys):
        return self.networks.generator.apply(
            {"params": params["generator"], **self.state.extra["generator"]},
            self.labels,
            latents,
            keys,
            train=True,
            mutable=["batch_stats"],
        )

    def generator_loss(self, params):
        """Loss of encoder and generator, and `(metrics, images, extra)`."""
        images, latents, extra = self.autoencode(params)
        metrics = self.reconstruction_losses(images["fake"], latents)
        gan = self.adversarial_losses(images)
        metrics |= gan
        gan_scale = self.adaptive_scale(params) if self.config.losses.adaptive_gan else 1.0
        if self.config.losses.adaptive_gan:
            metrics["adaptive_gan_scale"] = gan_scale
        total = sum(
            self.weights[name] * value * (gan_scale if name in gan else 1.0)
            for name, value in metrics.items()
            if name in self.weights
        )
        return total, ({**metrics, "generator": total}, images, extra)

    def reconstruction_losses(self, fake, latents) -> Metrics:
        values = {"l1": losses.l1(fake, self.image)}
        if _used(self.config, "perceptual"):
            dtype = LayerSpec(jnp.dtype(self.config.model.dtype))
            network = VGG19(widths_of(self.vgg), dtype)
            fake_maps, real_maps = (
                network.apply({"params": self.vgg}, x) for x in (fake, self.image)
            )
            values["perceptual"] = losses.perceptual(fake_maps, real_maps)
        if isinstance(latents, Gaussian):
            values["kl"] = losses.kl_divergence(*latents)
        return values

    def adversarial_losses(self, images) -> Metrics:
        of_fake, _, _ = losses.GAN[self.config.losses.gan_kind]
        params = self.state.params["discriminator"]
        logits, maps = self.discriminate(params, images["fake"])
        values = {"gan": of_fake(logits)}
        if "swapped" in images:
            values["swapped"] = of_fake(self.discriminate(params, images["swapped"])[0])
        if _used(self.config, "feature_matching"):
            real_maps = self.discriminate(params, self.image)[1]
            values["feature_matching"] = losses.feature_matching(maps, real_maps)
        return values

    def adaptive_scale(self, params) -> Array:
        """‖∇ reconstruction‖ / ‖∇ GAN‖ at the generator's last layer, at most 10⁴, no gradient.

        Esser et al. 2021, equation 7.
        """
        params = jax.lax.stop_gradient(params)
        last = f"block_{self.config.model.generator.num_up_layers - 1}_rgb_conv"

        def loss(kernel, names):
            layer = {**params["generator"][last], "kernel": kernel}
            changed = {**params, "generator": {**params["generator"], last: layer}}
            images, latents, _ = self.autoencode(changed)
            values = self.reconstruction_losses(images["fake"], latents)
            values |= self.adversarial_losses(images)
            return sum(self.weights[n] * values[n] for n in names if n in values)

        kernel = params["generator"][last]["kernel"]
        gradients = [jax.grad(loss)(kernel, n) for n in (("l1", "perceptual"), ("gan",))]
        of_rec, of_gan = (jnp.linalg.norm(_mean_over_devices(g, self.axis)) for g in gradients)
        return jax.lax.stop_gradient(jnp.clip(of_rec / (of_gan + 1e-4), 0, 1e4))

    # Discriminator side

    def discriminator_of(self, params) -> Callable:
        variables = {"params": params, **self.state.extra["discriminator"]}
        return partial(self.networks.discriminator.apply, variables, method="at_scale")

    def discriminate(self, params, image):
        """Logits for the GAN loss, a list over scales, and all feature maps."""
        scales = range(self.config.model.discriminator.num_scales)
        network = self.discriminator_of(params)
        if self.config.losses.gradient_normalization:
            outputs = [losses.gradient_normalized(network, image, self.one_hot, s) for s in scales]
            return [logits for logits, _ in outputs], [maps for _, maps in outputs]
        maps = [network(image, self.one_hot, s) for s in scales]
        return [m[-1] for m in maps], maps

    def discriminator_loss(self, params, images):
        """Loss of the discriminator on the generator loss's own images, and metrics."""
        _, of_real, of_fake = losses.GAN[self.config.losses.gan_kind]
        real = of_real(self.discriminate(params, self.image)[0])
        fake = of_fake(self.discriminate(params, images["fake"])[0])
        total = self.weights["gan"] * (real + fake)
        metrics = {"discriminator_real": real, "discriminator_fake": fake}
        if "swapped" in images:
            metrics["discriminator_swapped"] = of_fake(
                self.discriminate(params, images["swapped"])[0]
            )
            total += self.weights["swapped"] * metrics["discriminator_swapped"]
        if _used(self.config, "r1"):
            due = self.state.step % self.config.losses.lazy_r1_step == 0
            metrics["r1"] = jax.lax.cond(due, self.r1, lambda _: jnp.float32(0), params)
            total += self.weights["r1"] * metrics["r1"]
        return total, {**metrics, "discriminator": total}

    def r1(self, params) -> Array:
        scales = self.config.model.discriminator.num_scales
        return losses.r1(self.discriminator_of(params), self.image, self.one_hot, scales)


def train_step(
    config: ConfigDict,
    networks: Networks,
    axis: str | None,
    state: TrainState,
    batch: dict[str, Array],
    vgg: Any,
) -> tuple[TrainState, Metrics]:
    """One update of encoder and generator, then one of the discriminator on the same images.

    Both losses see the weights from before the step.

    Args:
      config, networks: of the run.
      axis: mesh axis over which gradients, metrics and batch statistics are averaged.
      state: before the step.
      batch: this device's share.
      vgg: VGG19's parameters, or None if the perceptual loss has no weight.

    Returns:
      the state after the step, and scalars.
    """
    objectives = Objectives(config, networks, axis, state, batch, vgg)
    params = {name: state.params[name] for name in AUTOENCODER}
    (_, (metrics, images, extra)), gradients = jax.value_and_grad(
        objectives.generator_loss, has_aux=True
    )(params)
    images = jax.lax.stop_gradient(images)
    (_, disc_metrics), disc_gradients = jax.value_and_grad(
        objectives.discriminator_loss, has_aux=True
    )(state.params["discriminator"], images)
    gradients, disc_gradients, metrics = _mean_over_devices(
        (gradients, disc_gradients, metrics | disc_metrics), axis
    )
    metrics["gradient_norm/generator"] = optax.tree.norm(gradients)
    metrics["gradient_norm/discriminator"] = optax.tree.norm(disc_gradients)
    metrics |= {
        f"weight/{name}": w for name, w in objectives.weights.items() if _used(config, name)
    }
    state = update_state(config, state, gradients, disc_gradients)
    extra = {**state.extra, "generator": {**state.extra["generator"], **extra}}
    return state.replace(extra=extra), metrics


def update_state(
    config: ConfigDict, state: TrainState, gradients: Any, disc_gradients: Any
) -> TrainState:
    """The state after one update of each side, and of the averaged parameters.

    Args:
      config: of the run.
      state: before the step.
      gradients: of encoder and generator, by name.
      disc_gradients: of the discriminator.
    """
    sides = {
        "autoencoder": ({n: state.params[n] for n in AUTOENCODER}, gradients),
        "discriminator": (state.params["discriminator"], disc_gradients),
    }
    new_params, new_opt = {}, {}
    for side, optimizer in optimizers(config).items():
        old, gradient = sides[side]
        updates, new_opt[side] = optimizer.update(gradient, state.opt_state[side], old)
        new_params[side] = optax.apply_updates(old, updates)
    ema = state.ema
    if ema is not None:
        # the average's memory grows with the run, or the first weights would weigh too long
        decay = jnp.minimum(config.train.ema_decay, (1.0 + state.step) / (10.0 + state.step))
        ema = optax.incremental_update(new_params["autoencoder"], ema, 1 - decay)
    return TrainState(
        step=state.step + 1,
        params={**new_params["autoencoder"], "discriminator": new_params["discriminator"]},
        extra=state.extra,
        opt_state=new_opt,
        ema=ema,
    )


def make_train_step(config: ConfigDict, networks: Networks, mesh: Mesh) -> Callable:
    """`train_step` compiled over all devices: `(state, batch, vgg) -> (state, metrics)`.

    The state is replicated and donated, the batch split along axis 0.
    """
    everywhere, split = PartitionSpec(), PartitionSpec(sharding.DATA)
    step = jax.shard_map(
        partial(train_step, config, networks, sharding.DATA),
        mesh=mesh,
        in_specs=(everywhere, split, everywhere),
        out_specs=(everywhere, everywhere),
        check_vma=False,
    )
    return jax.jit(step, donate_argnums=0)


def reconstruct(
    networks: Networks, variables: dict[str, Any], image: Array, labels: Array, keys: Array
) -> Array:
    """Images `[B, H, W, 3]` in [-1, 1] from their own latents (a variational code's mean)."""
    labels = labels.astype(jnp.int32)
    keys = jax.vmap(jax.random.split)(keys)
    latents = networks.encoder.apply(variables["encoder"], to_float(image), labels, keys[:, 0])
    codes = sample_latents(latents, None)
    return networks.generator.apply(variables["generator"], labels, codes, keys[:, 1])
