"""What a family of models is: an encoder and a generator that train and transfer together."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
from ml_collections import ConfigDict

from scam_jax.models.layers.primitives import LayerSpec


class Common(NamedTuple):
    """What every network of a config has in common.

    Attributes:
      num_labels: labels L, 0 is the background.
      encoder_layer, generator_layer: how their layers compute.
      batch_axis: mesh axis over which batch statistics are shared.
      rematerialize: the backward pass computes the generator's modulations anew.
    """

    num_labels: int
    encoder_layer: LayerSpec
    generator_layer: LayerSpec
    batch_axis: str | None
    rematerialize: bool


class Family(NamedTuple):
    """A family of models.

    Attributes:
      build: `config.model` and what is common to encoder and generator.
      shared: the keys of `config.model` that both need, with the published values.
      encoder, generator: the keys of `config.model.encoder` and `.generator`, likewise.
      variational: whether the encoder gives Gaussians, of a `config.model`.
      faults: what is impossible in a config: (key, remedy) of each fault.
      batch_norm: whether the networks share statistics of the batch, of a `config.model`.
      has_latents: whether the encoder gives latents of an image, of a `config.model`.
      has_attention: whether there is attention to be drawn.
    """

    build: Callable[[ConfigDict, Common], tuple[nn.Module, nn.Module]]
    shared: Mapping[str, Any]
    encoder: Mapping[str, Any]
    generator: Mapping[str, Any]
    variational: Callable[[ConfigDict], bool] = lambda model: False
    faults: Callable[[ConfigDict], list[tuple[str, str]]] = lambda config: []
    batch_norm: Callable[[ConfigDict], bool] = lambda model: False
    has_latents: Callable[[ConfigDict], bool] = lambda model: True
    has_attention: bool = False
