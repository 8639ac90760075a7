"""The frozen networks that judge images: Inception (FID), a ResNet-50 of persons (ReID), LPIPS."""

import functools
import pathlib
from collections.abc import Mapping
from typing import Any, cast

import jax
from absl import logging
from jax.sharding import Mesh

from scam_jax.devices import agreement, sharding
from scam_jax.evaluation.metrics import PEAK
from scam_jax.models.frozen.inception import InceptionV3
from scam_jax.models.frozen.lpips import LPIPS
from scam_jax.models.frozen.resnet import ReIDResNet50, person_crops
from scam_jax.weights import pretrained

Array = jax.Array
# Weights of each judge, see `pretrained.SOURCES`.
_WEIGHTS = {
    "inception": ("inception",),
    "reid": ("reid_resnet50",),
    "lpips": ("alexnet", "lpips_alex"),
}


class Judges:
    """The frozen networks whose weights were found, on all devices of a mesh.

    The judges are 'inception', 'reid' and 'lpips'.

    Attributes:
      missing: one line per missing file, keyed by judge. It says where to download the file and how
        to convert it.
      hashes: hashes of the weights, keyed by judge.
    """

    def __init__(self, folder: pathlib.Path, mesh: Mesh):
        """Loads the weights, and logs one line per missing file.

        Args:
          folder: folder of the converted weights.
          mesh: devices that hold the weights, replicated.

        Raises:
          ValueError: a file is damaged or holds another network.
        """
        self.missing: dict[str, list[str]] = {}
        self.hashes: dict[str, str] = {}
        self._params: dict[str, Any] = {}
        for judge, names in _WEIGHTS.items():
            loaded, missing = [], []
            for name in names:
                try:
                    loaded.append(pretrained.load(name, folder))
                except FileNotFoundError as error:
                    logging.warning("%s", error)
                    missing.append(str(error))
            # The processes load the weights together.
            if not agreement.everywhere(not missing):
                self.missing[judge] = missing or [f"{judge}: another process lacks its weights"]
                continue
            self.hashes[judge] = "-".join(weights.sha256[:12] for weights in loaded)
            params = [weights.params for weights in loaded]
            self._params[judge] = jax.device_put(params, sharding.replicated(mesh))

    def __contains__(self, judge: str) -> bool:
        return judge in self._params

    def inception(self, image: Array) -> Array:
        """Returns FID's features `[B, 2048]` of images `[B, H, W, 3]`, whole numbers 0 … 255."""
        return _inception(self._params["inception"][0], image, False)

    def clean_inception(self, image: Array) -> Array:
        """Returns the same features, of images that are resized with antialiasing."""
        return _inception(self._params["inception"][0], image, True)

    def person(self, image: Array, labels: Array) -> Array:
        """Returns ReID features of the persons in images, cropped to the box of labels ≠ 0.

        Args:
          image: images `[B, H, W, 3]`, 0 … 255.
          labels: labels `[B, H, W]`.

        Returns:
          Features `[B, 2048]`.
        """
        return _person(self._params["reid"][0], image, labels)

    def lpips(self, image: Array, target: Array) -> Array:
        """Returns LPIPS distances `[B]` of images `[B, H, W, 3]`, whole numbers 0 … 255."""
        return _lpips(self._params["lpips"], image, target)


@functools.partial(jax.jit, static_argnums=2)
def _inception(params: Mapping, image: Array, antialias: bool) -> Array:
    return cast(Array, InceptionV3(antialias).apply({"params": params}, image))


@jax.jit
def _person(params: Mapping, image: Array, labels: Array) -> Array:
    return cast(Array, ReIDResNet50().apply({"params": params}, person_crops(image, labels)))


@jax.jit
def _lpips(params: list[Mapping], image: Array, target: Array) -> Array:
    variables = {"params": dict(zip(_WEIGHTS["lpips"], params, strict=True))}
    distances = LPIPS().apply(variables, *(x * (2 / PEAK) - 1 for x in (image, target)))
    return cast(Array, distances)
