"""Computes all figures of a trained model on a split, by two protocols, on all devices and hosts.

*authors* is the protocol of the published figures. PSNR uses one mean squared error over the data
set. FID sees images that are truncated to whole numbers, and compares with the augmented train
split. S-FID exchanges the latents of all labels, including the background, at random among eight
images.

*ours* rounds images, as an image file does. PSNR, SSIM, L1 and LPIPS are computed per image. FID
compares with the train split without augmentation. Pairs are drawn once from the whole split, and
no image is its own partner. S-FID and ReID judge subject transfers, which keep the background.
Pairs and the generator's noise are drawn with several seeds.

Pixels that `config.data.ignore_label` leaves out do not count. Networks that judge whole images see
the target's own pixels there.
"""

import collections
import functools
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from jax.sharding import Mesh
from ml_collections import ConfigDict

from scam_jax import models
from scam_jax.devices import sharding
from scam_jax.evaluation import fid, metrics
from scam_jax.evaluation.data import (
    EvaluationData,
    Pairs,
    WithMeanColours,
    authors_partners,
    partners,
)
from scam_jax.evaluation.judges import Judges
from scam_jax.evaluation.missing import fid_protocols, missing_figures
from scam_jax.evaluation.results import AUTHORS, OURS, Evaluation
from scam_jax.evaluation.statistics_file import statistics_in
from scam_jax.evaluation.summary import CLEAN, Arrays, figures_of, noted_warnings, undefined
from scam_jax.examples import Source
from scam_jax.images import to_float
from scam_jax.inference import generation, sources
from scam_jax.inference.parsing import PhotoParser

Array = jax.Array
Measure = Callable[[dict[str, Array], int], dict[str, Array]]
# Batches dispatched ahead: the next ones are computed while one is read.
IN_FLIGHT = 2
# Pixels that do not count have this value in both images that LPIPS compares.
GREY = 128.0
QUANTIZE = {AUTHORS: metrics.truncated, OURS: metrics.rounded}


class Evaluator:
    """Evaluates models of one config on one split. Its programs are compiled once."""

    def __init__(
        self,
        config: ConfigDict,
        mesh: Mesh,
        data: EvaluationData,
        judges: Judges,
        statistics: pathlib.Path,
        parser: PhotoParser | None = None,
    ):
        """Builds the networks, without loading or computing anything.

        Args:
          config: the model's config.
          mesh: devices that split each batch.
          data: data to evaluate on.
          judges: the frozen networks, on the devices of the mesh.
          statistics: folder for the statistics of real images, which are computed once.
          parser: draws label maps, with which transfers are judged too if their truth is known.
        """
        self.config, self.mesh, self.data = config, mesh, data
        self.networks = models.build(config)
        self.judges, self.parser = judges, parser
        self.statistics_folder = statistics
        self._real: dict[str, fid.Statistics] = {}
        self._replicate = jax.jit(lambda x: x, out_shardings=sharding.replicated(mesh))

    def evaluate(self, variables: Any, step: int, num_seeds: int = 1) -> Evaluation:
        """Computes all figures of a model. Every process must call this; each gets all figures.

        Args:
          variables: variables of encoder and generator, `{network: collections}`, on any device.
          step: training step of the variables.
          num_seeds: number of seeds of pairs and noise in our protocol. The authors' has one.

        Returns:
          The figures, and what is missing.
        """
        # Goes through the host, because arrays cannot move between devices of two processes.
        variables = jax.device_put(jax.device_get(variables), sharding.replicated(self.mesh))
        arrays = [self._measure(variables, seed) for seed in range(num_seeds)]
        protocols = fid_protocols(self.judges, self.data)
        clean = (CLEAN,) if OURS in protocols else ()
        real = {images: self._real_statistics(images) for images in (*protocols, *clean)}
        figures = figures_of(arrays, real, self.config.data.num_labels)
        count = len(self.data.source)
        warnings = noted_warnings(count, real)
        for warning in warnings:
            logging.warning("%s", warning)
        return Evaluation(
            step=step,
            data=self.data.name,
            split=self.data.split,
            count=count,
            figures=[figure for figure in figures if not np.isnan(figure.mean)],
            missing=[*missing_figures(self.judges, self.data), *undefined(figures)],
            warnings=warnings,
            label_names=[*self.data.label_names],
        )

    def _measure(self, variables: Any, seed: int) -> dict[str, Arrays]:
        """Computes the per-image values of one seed, keyed by kind of image and then by name."""
        source, count = self.data.source, len(self.data.source)
        arrays = {
            "reconstruction": self._collect(source, self._of_reconstructions(variables, seed))
        }
        if count > 1 and {"inception", "reid"} & self.judges.hashes.keys():
            pairs = Pairs(source, partners(count, seed))
            arrays["transfer"] = self._collect(pairs, self._of_transfers(variables, seed))
        if seed == 0 and "inception" in self.judges:
            pairs = Pairs(source, authors_partners(count, seed))
            arrays["exchange"] = self._collect(pairs, self._of_exchanges(variables, seed))
        if self.data.transfers is not None:
            known = WithMeanColours(self.data.transfers, self.config.data.num_labels)
            arrays["known"] = self._collect(known, self._of_known_transfers(variables, seed))
        return arrays

    def _of_reconstructions(self, variables: Any, seed: int) -> Measure:
        def measure(batch, index):
            target, labels = batch["image"], batch["label"]
            keys = _keys(seed, index, len(target))
            image = generation.reconstruct(self.networks, variables, target, labels, keys)
            image = self.networks.only_seen(image, labels, to_float(target))
            values = _reconstruction_errors(
                self.networks, image, target, labels, self.config.data.num_labels
            )
            if "lpips" in self.judges:
                pair = metrics.rounded(image), target.astype(jnp.float32)
                seen = (self.networks.only_seen(x, labels, GREY) for x in pair)
                values["lpips"] = metrics.or_worst(self.judges.lpips(*seen), image, jnp.inf)
            if "inception" in self.judges:
                values |= self._features(metrics.rounded(image))
                if seed == 0:
                    cut = metrics.truncated(image)
                    values["truncated_features"] = self.judges.inception(cut)
            return values

        return measure

    def _of_transfers(self, variables: Any, seed: int) -> Measure:
        """Measures transfers: Inception features, and similarities to subject and target."""

        def measure(batch, index):
            image = metrics.rounded(self._transfer(variables, batch, seed, index))
            values: dict[str, Array] = {}
            if "inception" in self.judges:
                values |= self._features(image)
            if "reid" in self.judges:
                people = {"made": self._person(image, batch["target_label"])}
                for role in ("subject", "target"):
                    real = batch[f"{role}_image"].astype(jnp.float32)
                    people[role] = self._person(real, batch[f"{role}_label"])
                for role, worst in (("subject", -jnp.inf), ("target", jnp.inf)):
                    cosine = metrics.cosine(people["made"], people[role])
                    values[f"to_{role}"] = metrics.or_worst(cosine, image, worst)
            return values

        return measure

    def _of_exchanges(self, variables: Any, seed: int) -> Measure:
        """Measures the authors' transfers, which take the latents of all labels."""

        def measure(batch, index):
            image = self._transfer(variables, batch, seed, index, everything=True)
            return {"truncated_features": self.judges.inception(metrics.truncated(image))}

        return measure

    def _of_known_transfers(self, variables: Any, seed: int) -> Measure:
        def measure(batch, index):
            images = {"": self._transfer(variables, batch, seed, index)}
            for method in ("target", "mean_colours"):
                images[method] = to_float(batch[f"{method}_image"])
            if self.parser is not None:
                drawn = {
                    f"{role}_label": self.parser.draw_batch(batch[f"{role}_image"])
                    for role in ("subject", "target")
                }
                images["parsed"] = self._transfer(variables, {**batch, **drawn}, seed, index)
            truth, labels = batch["transfer_image"], batch["target_label"]
            return _transfer_errors(self.networks, images, truth, labels)

        return measure

    def _features(self, image: Array) -> dict[str, Array]:
        return {
            "features": self.judges.inception(image),
            "clean_features": self.judges.clean_inception(image),
        }

    def _person(self, image: Array, labels: Array) -> Array:
        """Returns the features of the persons; pixels that do not count are background."""
        seen = self.networks.seen(labels)
        return self.judges.person(image, labels if seen is None else labels * seen)

    def _transfer(
        self, variables: Any, batch: Mapping, seed: int, index: int, everything: bool = False
    ) -> Array:
        """Transfers a batch of pairs: all labels if `everything`, or all except the background."""
        num_labels = self.config.data.num_labels
        taken = sources.taken(num_labels, range(num_labels) if everything else None)
        image = generation.transfer(
            self.networks,
            variables,
            batch["subject_image"],
            batch["subject_label"],
            batch["target_image"],
            batch["target_label"],
            sources.published(taken),
            _keys(seed, index, len(batch["target_image"])),
        )
        target = to_float(batch["target_image"])
        return self.networks.only_seen(image, batch["target_label"], target)

    def _collect(self, source: Source, measure: Measure) -> Arrays:
        """Runs `measure` on every image of a source; every host gets all values, in order."""
        under_way: collections.deque[dict[str, Array]] = collections.deque()
        parts: list[Arrays] = []

        def take() -> None:
            values = jax.device_get(under_way.popleft())
            counts = values.pop("mask") > 0
            parts.append({name: value[counts] for name, value in values.items()})

        for index, local in enumerate(self.data.batches(source)):
            batch = sharding.to_global(dict(local), self.mesh)
            values = {**measure(batch, index), "mask": batch["mask"]}
            under_way.append(self._replicate(values))
            if len(under_way) > IN_FLIGHT:
                take()
        while under_way:
            take()
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _real_statistics(self, images: str) -> fid.Statistics:
        """Returns the statistics of real images. A file keeps them for all runs.

        Args:
          images: `AUTHORS` or `OURS`, or `CLEAN` for those of `OURS`, resized with antialiasing.
        """
        if images not in self._real:
            self._real[images] = self._find_statistics(images)
        return self._real[images]

    def _find_statistics(self, images: str) -> fid.Statistics:
        protocol = OURS if images == CLEAN else images
        real, quantize = self.data.real[protocol], QUANTIZE[protocol]
        judge = "clean_inception" if images == CLEAN else "inception"
        name = f"{real.name}_{quantize.__name__}_{judge}_{self.judges.hashes['inception']}"
        file = self.statistics_folder / f"{name}.npz"

        def features() -> np.ndarray:
            logging.info("%s: features of %d real images", file, len(real.source))
            return self._collect(real.source, measure)["features"]

        def measure(batch, index):
            image = to_float(batch["image"])
            return {"features": getattr(self.judges, judge)(quantize(image))}

        return statistics_in(file, features)


def _keys(seed: int, index: int, size: int) -> Array:
    """Returns the keys of a batch's images, which do not depend on the batch size."""
    return generation.image_keys(seed, index * size + np.arange(size))


@functools.partial(jax.jit, static_argnums=(0, 4))
def _reconstruction_errors(
    networks: models.Networks, image, target, labels, num_labels
) -> dict[str, Array]:
    seen = networks.seen(labels)
    return {
        **metrics.errors(image, target, seen),
        **metrics.region_errors(image, target, labels, num_labels),
        **metrics.authors_errors(image, target, seen),
    }


@functools.partial(jax.jit, static_argnums=0)
def _transfer_errors(
    networks: models.Networks, images: Mapping[str, Array], truth, labels
) -> dict[str, Array]:
    """Returns the PSNR of each image over all pixels and over the subject's, 'NAME/WHERE'."""
    subject, seen = labels > 0, networks.seen(labels)
    weights = {"image": jnp.ones_like(subject), "subject": subject}
    if seen is not None:
        weights = {where: weight & seen for where, weight in weights.items()}
    return {
        f"{name}/{where}": metrics.psnr_within(image, truth, weight)
        for name, image in images.items()
        for where, weight in weights.items()
    }
