"""Model families: an encoder and a generator that are trained together."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
from ml_collections import ConfigDict

# Fields of a module that have a default but are not set by its section of the config.
_NOT_IN_CONFIG = ("layer", "batch_axis", "rematerialize", "ignores", "parent", "name")


def config_keys(module_class: type[nn.Module]) -> dict[str, Any]:
    """Returns a module's config keys with their published values.

    The published values are written in one place, as the defaults of the module's fields.

    Args:
      module_class: an encoder, a generator or a discriminator.

    Returns:
      The default of each field that the config sets, keyed by field name.
    """
    return {
        field.name: field.default
        for field in dataclasses.fields(module_class)
        if field.default is not dataclasses.MISSING and field.name not in _NOT_IN_CONFIG
    }


class Family(NamedTuple):
    """A model family: which encoder goes with which generator.

    Attributes:
      encoder_class: module that encodes an image and its label map into latents.
      generator_class: module that generates an image from a label map and latents.
      shared_keys: fields of the encoder that are keys of `config.model` itself, because the
        generator depends on them too.
      variational: maps `config.model` to whether the encoder returns Gaussians.
      means_in_use: whether their means are used after training, as the authors do, not samples.
      faults: maps a config to a (key, remedy) pair for each value that the family cannot use.
      batch_norm: maps `config.model` to whether the networks compute batch statistics.
      has_latents: maps `config.model` to whether the encoder returns latents.
      has_attention: whether the networks have attention weights that can be drawn.
      grouped_by_label: whether channels are groups of a label each.
    """

    encoder_class: type[nn.Module]
    generator_class: type[nn.Module]
    shared_keys: tuple[str, ...] = ()
    variational: Callable[[ConfigDict], bool] = lambda model: False
    means_in_use: bool = False
    faults: Callable[[ConfigDict], list[tuple[str, str]]] = lambda config: []
    batch_norm: Callable[[ConfigDict], bool] = lambda model: False
    has_latents: Callable[[ConfigDict], bool] = lambda model: True
    has_attention: bool = False
    grouped_by_label: bool = False

    @property
    def shared(self) -> dict[str, Any]:
        """Keys of `config.model` itself that the family adds, with their published values."""
        keys = config_keys(self.encoder_class)
        return {key: keys[key] for key in self.shared_keys}

    @property
    def encoder(self) -> dict[str, Any]:
        """Keys of `config.model.encoder` besides `dtype`, with their published values."""
        return self._section(self.encoder_class)

    @property
    def generator(self) -> dict[str, Any]:
        """Keys of `config.model.generator` besides `dtype`, with their published values."""
        return self._section(self.generator_class)

    def _section(self, module_class: type[nn.Module]) -> dict[str, Any]:
        keys = config_keys(module_class).items()
        return {key: value for key, value in keys if key not in self.shared_keys}
