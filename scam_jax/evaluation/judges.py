"""The frozen networks that judge images: Inception (FID), a person's ResNet-50 (ReID), LPIPS."""

import functools
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
from absl import logging
from jax.sharding import Mesh

from scam_jax.devices import sharding
from scam_jax.evaluation.metrics import PEAK
from scam_jax.models.frozen.inception import InceptionV3
from scam_jax.models.frozen.lpips import LPIPS
from scam_jax.models.frozen.resnet import ReIDResNet50, person_crops
from scam_jax.weights import pretrained

Array = jax.Array
# What each judge is made of.
_WEIGHTS = {
    "inception": ("inception",),
    "reid": ("reid_resnet50",),
    "lpips": ("alexnet", "lpips_alex"),
}


class Judges:
    """Those of the networks whose weights are in `folder`, on all devices of a mesh.

    Attributes:
      missing: why each of the others cannot judge, by name: 'inception', 'reid', 'lpips'.
      hashes: of the weights, by name.
    """

    def __init__(self, folder: pathlib.Path, mesh: Mesh):
        """Loads what is there.

        Raises:
          ValueError: a file is there and is not what it must be.
        """
        self.missing: dict[str, str] = {}
        self.hashes: dict[str, str] = {}
        self._params: dict[str, Any] = {}
        for judge, names in _WEIGHTS.items():
            try:
                loaded = [pretrained.load(name, folder) for name in names]
            except FileNotFoundError as error:
                logging.warning("%s", error)
                self.missing[judge] = str(error)
                continue
            self.hashes[judge] = "-".join(weights.sha256[:12] for weights in loaded)
            params = [weights.params for weights in loaded]
            self._params[judge] = jax.device_put(params, sharding.replicated(mesh))

    def __contains__(self, judge: str) -> bool:
        return judge in self._params

    def inception(self, image: Array) -> Array:
        """FID's features `[B, 2048]` of images `[B, H, W, 3]`, whole numbers 0 … 255."""
        return _inception(self._params["inception"][0], image)

    def person(self, image: Array, labels: Array) -> Array:
        """ReID features `[B, 2048]` of the person in images 0 … 255: the box of labels ≠ 0."""
        return _person(self._params["reid"][0], image, labels)

    def lpips(self, image: Array, target: Array) -> Array:
        """LPIPS distances `[B]` of images of whole numbers 0 … 255."""
        return _lpips(self._params["lpips"], image, target)


@jax.jit
def _inception(params: Mapping, image: Array) -> Array:
    return InceptionV3().apply({"params": params}, image)


@jax.jit
def _person(params: Mapping, image: Array, labels: Array) -> Array:
    return ReIDResNet50().apply({"params": params}, person_crops(image, labels))


@jax.jit
def _lpips(params: list[Mapping], image: Array, target: Array) -> Array:
    to_float = functools.partial(jax.numpy.multiply, 2 / PEAK)
    variables = {"params": dict(zip(_WEIGHTS["lpips"], params, strict=True))}
    return LPIPS().apply(variables, to_float(image) - 1, to_float(target) - 1)
