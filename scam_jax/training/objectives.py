"""The losses of one batch and their gradients with respect to the parameters of both sides.

Reconstruction and adversarial losses are first differentiated with respect to the generated images.
The sum of these gradients is then propagated back through generator and encoder. The discriminator
therefore runs only once on real and generated images, including gradient normalization, for the
losses of both sides.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from scam_jax.images import to_float
from scam_jax.models import Networks, dtype_of
from scam_jax.models.frozen.vgg19 import VGG19, widths_of
from scam_jax.models.layers import latents as latent_codes
from scam_jax.models.layers.primitives import LayerSpec
from scam_jax.training import losses
from scam_jax.training.loss_weights import (
    ADVERSARIAL,
    GAN_TERMS,
    LOSSES,
    RECONSTRUCTION,
    discriminator_start,
    is_used,
    loss_weights,
)
from scam_jax.training.state import TrainState, of_side

Array = jax.Array
Values = dict[str, Array]


class NetworkGradients(NamedTuple):
    """The gradients of one batch.

    Attributes:
      by_network: gradients of the parameters, keyed by network, without the discriminator if no
        loss uses it.
      metrics: scalars by name.
      extra: the generator's updated collections.
    """

    by_network: dict[str, Any]
    metrics: Values
    extra: dict[str, Any]


def gradients_of_batch(
    config: ConfigDict,
    networks: Networks,
    state: TrainState,
    batch: Mapping[str, Array],
    vgg: Any,
    *,
    axis: str | None = None,
) -> NetworkGradients:
    """Computes the losses of a batch and their gradients.

    Args:
      config: the whole config.
      networks: the run's networks.
      state: the state before the step.
      batch: `image` `[B, H, W, 3]`, `label` `[B, H, W]`, `key` `[B]` for the noise of each example,
        and `swap_key` for the permutation of latents in the swapped loss.
      vgg: VGG19's parameters, or None if the perceptual loss is off.
      axis: mesh axis that splits the whole batch, or None for a single device.

    Returns:
      The gradients, metrics and updated collections.
    """
    objectives = _Objectives(config, networks, state, batch, vgg, axis)
    params = of_side(state.params, "generator")
    (images, latents), pull, extra = jax.vjp(objectives.generated, params, has_aux=True)
    (_, metrics), (to_fake, to_latents) = jax.value_and_grad(
        objectives.reconstruction, argnums=(0, 1), has_aux=True
    )(images["fake"], latents)
    no_latents = jax.tree.map(jnp.zeros_like, latents)
    to_images = jax.tree.map(jnp.zeros_like, images)

    def at_last_layer(name, to_image):
        gradient = pull(({**to_images, name: to_image}, no_latents))[0]["generator"]
        return gradient[objectives.last_layer]["kernel"]

    gradients: dict[str, Any] = {}
    scale: Array | float = 1.0
    if any(is_used(config, name) for name in ADVERSARIAL):
        adversarial = objectives.adversarial_gradients_if_on(images)
        gradients["discriminator"] = adversarial.to_params
        metrics |= adversarial.metrics
        to_fake += adversarial.of_matching
        if config.losses.adaptive_gan:
            scale = objectives.adaptive_scale(
                at_last_layer("fake", to_fake), at_last_layer("fake", adversarial.of_gan["fake"])
            )
            metrics["adaptive_gan_scale"] = scale
        to_images = jax.tree.map(lambda g: scale * g, adversarial.of_gan)
    to_images["fake"] += to_fake
    gradients |= pull((to_images, to_latents))[0]
    metrics["generator"] = losses.total(
        objectives.weights[name] * metrics[name] * (scale if name in GAN_TERMS else 1.0)
        for name in LOSSES
        if name in metrics and name != "r1"
    )
    return NetworkGradients(gradients, metrics, extra)


class _Adversarial(NamedTuple):
    """The gradients of the adversarial losses.

    Attributes:
      of_gan: gradients of the generator's weighted GAN losses with respect to the generated images,
        keyed by kind ('fake', 'swapped').
      of_matching: gradient of the weighted feature matching loss with respect to the 'fake' images;
        0 if that loss is off.
      to_params: gradients of the discriminator's loss with respect to its parameters.
      metrics: scalars by name.
    """

    of_gan: dict[str, Array]
    of_matching: Array
    to_params: Any
    metrics: Values


class _Objectives:
    """The losses of one batch, as functions of the variables to differentiate."""

    def __init__(self, config, networks, state, batch, vgg, axis):
        self.config, self.networks, self.state, self.vgg = config, networks, state, vgg
        self.axis = axis
        image = to_float(batch["image"])
        self.labels = batch["label"].astype(jnp.int32)
        # Pixels that do not count are 0 in all images, so nothing depends on their colours.
        self.seen = networks.seen(self.labels)
        self.image = networks.only_seen(image, self.labels)
        self.one_hot = jax.nn.one_hot(self.labels, config.data.num_labels)
        self.keys, self.swap_key = batch["key"], batch["swap_key"]
        self.weights = loss_weights(config, state.step)
        self.last_layer = networks.generator.last_layer

    # Encoder and generator

    def generated(self, params):
        """Generates images; returns ((images by kind, latents), the updated collections).

        The kinds are 'fake', and 'swapped' if the swapped loss is on. Pixels that do not count are
        0.
        """
        keys = jax.vmap(partial(jax.random.split, num=4))(self.keys)
        latents = self.networks.encoder.apply(
            {"params": params["encoder"], **self.state.extra["encoder"]},
            self.image,
            self.labels,
            keys[:, 0],
        )
        codes = latent_codes.sample(latents, keys[:, 1])
        fake, extra = self.generate(params, codes, keys[:, 2])
        images = {"fake": fake}
        if is_used(self.config, "swapped"):
            order = jax.random.permutation(self.swap_key, len(self.image))
            swapped = jax.tree.map(lambda z: z[order], codes)
            images["swapped"], _ = self.generate(params, swapped, keys[:, 3])
        images = {
            kind: self.networks.only_seen(image, self.labels) for kind, image in images.items()
        }
        return (images, latents), extra

    def generate(self, params, latents, keys):
        return self.networks.generator.apply(
            {"params": params["generator"], **self.state.extra["generator"]},
            self.labels,
            latents,
            keys,
            train=True,
            mutable=["batch_stats"],
        )

    def reconstruction(self, fake, latents) -> tuple[Array, Values]:
        """Returns the weighted sum of the losses without a discriminator, and each loss by name."""
        values = {"l1": self.l1(fake)}
        if is_used(self.config, "perceptual"):
            layer = LayerSpec(dtype_of(self.config, self.config.losses.perceptual_dtype))
            network = VGG19(widths_of(self.vgg), layer)
            maps: list[Any] = [network.apply({"params": self.vgg}, x) for x in (fake, self.image)]
            values["perceptual"] = losses.perceptual(*maps)
        if gaussians := latent_codes.gaussians(latents):
            # Scaled to a fixed number of images, whatever the size of this device's share.
            images = self.config.losses.kl_images / len(self.image)
            values["kl"] = images * losses.kl_divergence(gaussians)
        return losses.total(self.weights[name] * value for name, value in values.items()), values

    def l1(self, fake) -> Array:
        if self.seen is None:
            return losses.l1(fake, self.image)
        return losses.l1_of_seen(fake, self.image, self.seen)

    # Discriminator

    def adversarial_gradients_if_on(self, images) -> _Adversarial:
        """Skips the discriminator at steps at which all weights of its losses are 0.

        Their gradients are then 0 in any case; their metrics are given as 0.
        """
        begin = discriminator_start(self.config)
        if begin == 0:
            return self.adversarial_gradients(images)

        def off(images):
            shapes = jax.eval_shape(self.adversarial_gradients, images)
            return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)

        is_on = self.state.step >= begin
        return jax.lax.cond(is_on, self.adversarial_gradients, off, images)

    def adversarial_gradients(self, images) -> _Adversarial:
        params = self.state.params["discriminator"]
        values, pull, metrics = jax.vjp(self.adversarial, params, images, has_aux=True)
        zeros = jax.tree.map(jnp.zeros_like, values)
        to_params, to_images = pull({**zeros, "discriminator": jnp.float32(1)})
        if self.sides_are_opposed():
            of_gan = jax.tree.map(jnp.negative, to_images)
        else:
            names = values.keys() & {*GAN_TERMS}
            of_gan = pull({**zeros, **{name: self.weights[name] for name in names}})[1]
        of_matching = jnp.float32(0)
        if "feature_matching" in values:
            weight = self.weights["feature_matching"]
            of_matching = pull({**zeros, "feature_matching": weight})[1]["fake"]
        metrics |= values
        if is_used(self.config, "r1"):
            metrics["r1"], of_r1 = self.lazy_r1(params)
            to_params = jax.tree.map(jnp.add, to_params, of_r1)
            metrics["discriminator"] += self.weights["r1"] * metrics["r1"]
        return _Adversarial(of_gan, of_matching, to_params, metrics)

    def sides_are_opposed(self) -> bool:
        """Whether the two sides have opposite gradients with respect to a generated image.

        Normalized logits have absolute values below 1, so they stay on the slope of the hinge.
        """
        losses = self.config.losses
        return losses.gan_kind == "hinge" and losses.gradient_normalization

    def adversarial(self, params, images) -> tuple[Values, Values]:
        """Computes the adversarial losses of both sides.

        Returns:
          The generator's losses by name, with the discriminator's weighted sum as 'discriminator';
          and the terms of that sum by name, for logging.
        """
        of_generator, of_real, of_fake = losses.GAN_LOSSES[self.config.losses.gan_kind]
        outputs = {
            kind: self.discriminate(params, image)
            for kind, image in {"real": self.image, **images}.items()
        }
        logits = {kind: logits for kind, (logits, _) in outputs.items()}
        pixels = None
        if self.config.losses.gan_kind == "oasis":
            pixels = losses.balanced(self.one_hot, self.axis, self.seen)
        values = {"gan": of_generator(logits["fake"], pixels)}
        terms = {
            "discriminator_real": of_real(logits["real"], pixels),
            "discriminator_fake": of_fake(logits["fake"], pixels),
        }
        total = self.weights["gan"] * (terms["discriminator_real"] + terms["discriminator_fake"])
        if "swapped" in images:
            values["swapped"] = of_generator(logits["swapped"], pixels)
            terms["discriminator_swapped"] = of_fake(logits["swapped"], pixels)
            total += self.weights["swapped"] * terms["discriminator_swapped"]
        if is_used(self.config, "feature_matching"):
            maps = [outputs[kind][1] for kind in ("fake", "real")]
            values["feature_matching"] = losses.feature_matching(*maps)
        return {**values, "discriminator": total}, terms

    def discriminate(self, params, image) -> tuple[list, list]:
        """Returns the logits for the GAN loss and the feature maps, each a list over scales."""
        network = self.discriminator_of(params)
        scales = range(self.networks.discriminator.num_scales)
        if self.config.losses.gradient_normalization:
            outputs = [losses.gradient_normalized(network, image, self.one_hot, s) for s in scales]
            return [logits for logits, _ in outputs], [maps for _, maps in outputs]
        maps = [network(image, self.one_hot, s) for s in scales]
        return [m[-1] for m in maps], maps

    def discriminator_of(self, params):
        variables = {"params": params, **self.state.extra["discriminator"]}
        return partial(self.networks.discriminator.apply, variables, method="at_scale")

    def lazy_r1(self, params) -> tuple[Array, Any]:
        """Returns R1 and its weighted gradient every `lazy_r1_step` steps, zeros in between."""
        scales = self.networks.discriminator.num_scales

        def penalty(params):
            return losses.r1(self.discriminator_of(params), self.image, self.one_hot, scales)

        def due(params):
            value, gradient = jax.value_and_grad(penalty)(params)
            return value, jax.tree.map(lambda g: self.weights["r1"] * g, gradient)

        def not_due(params):
            return jnp.float32(0), jax.tree.map(jnp.zeros_like, params)

        is_due = (self.state.step + 1) % self.config.losses.lazy_r1_step == 0
        return jax.lax.cond(is_due, due, not_due, params)

    def adaptive_scale(self, of_reconstruction: Array, of_gan: Array) -> Array:
        if self.axis is not None:
            of_reconstruction, of_gan = jax.lax.pmean((of_reconstruction, of_gan), self.axis)
        weight = sum((self.weights[name] for name in RECONSTRUCTION), jnp.float32(0))
        return losses.adaptive_scale(of_reconstruction, of_gan, weight, self.weights["gan"])
