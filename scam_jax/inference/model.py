"""A trained model, which reconstructs images, transfers subjects and draws label maps.

  model = TrainedModel.load("runs/celeba")
  subject = model.read("a.jpg", "a_labels.png")
  target = model.read("b.jpg", "b_labels.png")
  image = model.transfer(*subject, *target)  # uint8 [height, width, 3]

Images are `uint8 [H, W, 3]` and label maps `uint8 [H, W]`, as NumPy arrays.
"""

import dataclasses
import functools
import os
from collections.abc import Sequence

import jax
import numpy as np
from absl import logging
from etils import epath
from ml_collections import ConfigDict

from scam_jax import buckets, images, models
from scam_jax.examples import Picture
from scam_jax.inference import fitting, generation, photos, release, sources
from scam_jax.inference.generation import Variables
from scam_jax.inference.parsing import PhotoParser
from scam_jax.models.layers.latents import Latents

# 'newest'; 'best', which runs with `train.keep_best` have; or the step of a checkpoint.
Checkpoint = str | int


@dataclasses.dataclass(frozen=True)
class TrainedModel:
    """The encoder and the generator of a run, with their variables.

    Attributes:
      config: the run's config.
      variables: `{'encoder': ..., 'generator': ...}`, each with all collections.
      step: training step of the variables.
      label_names: names of the labels, empty if unknown.
      folder: the run or release that holds its parser, or None.
    """

    config: ConfigDict
    variables: Variables
    step: int = 0
    label_names: Sequence[str] = ()
    folder: epath.Path | None = None

    @classmethod
    def load(cls, workdir: str | os.PathLike, checkpoint: Checkpoint = "newest") -> "TrainedModel":
        """Loads encoder and generator from a release, or from a checkpoint of a run.

        If the run keeps averaged parameters, these are loaded.

        Args:
          workdir: the folder of the run or of the release.
          checkpoint: of a run, 'newest'; 'best', which runs with `train.keep_best` have; or a step.

        Raises:
          FileNotFoundError: `workdir` holds no model, or the run has no such checkpoint yet.
          ValueError: a file of the release is damaged; names it.
          CheckpointError: there are checkpoints, but none can be read.
        """
        folder = buckets.path(workdir)
        if release.is_release(folder):
            if checkpoint != "newest":
                raise ValueError(f"{folder} is a release: it has no checkpoint {checkpoint!r}")
            released = release.load(folder)
        else:
            # Orbax takes a second to import. A release does without it.
            from scam_jax.inference import from_run

            released = from_run.load(folder, checkpoint)
        logging.info("loaded step %d of %s", released.step, folder)
        about = released.step, tuple(released.label_names)
        return cls(released.config, released.variables, *about, folder)

    @functools.cached_property
    def networks(self) -> models.Networks:
        """The modules of the model, without variables."""
        return models.build(self.config)

    @functools.cached_property
    def parser(self) -> PhotoParser | None:
        """What draws label maps, or None if the run or the release has none.

        Raises:
          ValueError: a file of the release is damaged.
          CheckpointError: the parser has checkpoints, but none can be read.
        """
        return None if self.folder is None else parser_of(self.folder)

    def labels_of(self, photo: np.ndarray) -> np.ndarray:
        """Draws the label map of a photo that has none.

        Args:
          photo: `uint8 [H, W, 3]` of any size.

        Returns:
          Labels `uint8 [H, W]`.

        Raises:
          ValueError: there is no parser, or the array is no such image.
        """
        if self.parser is None:
            raise ValueError(
                "this model has no parser, so that each photo needs a label map: train one by "
                "main.py --mode=parser --workdir=RUN"
            )
        fitting.check_image("the", np.asarray(photo))
        return self.parser(np.asarray(photo)).labels

    def read(self, image: str | os.PathLike, labels: str | os.PathLike | None = None) -> Picture:
        """Reads a photo and its label map in the form that this model takes.

        This turns both upright, maps the label numbers with the run's `data.label_map`, and fits
        the picture to the model's size, exactly as in evaluation. Pixels that `data.ignore_label`
        leaves out get the label `data.num_labels`; what the model draws there is arbitrary.

        Args:
          image: file of the photo.
          labels: file of its label map, or None to let the model's parser draw one.

        Raises:
          ValueError: a file cannot be read, or the label map does not fit; names the file. Or there
            is no parser.
        """
        if labels is None:
            photo = photos.read_photo(image)
            photos.tell_stretched(image, photo.shape[:2], self.config.data)
            return fitting.fit(Picture(photo, self.labels_of(photo)), self.config.data)
        return photos.read_picture(image, labels, self.config.data)

    def encode(self, image: np.ndarray, labels: np.ndarray) -> Latents:
        """Encodes images.

        Args:
          image: images `uint8 [B, H, W, 3]` of the model's size.
          labels: labels `[B, H, W]` of the model's size.

        Returns:
          The latents.
        """
        fitting.check_batch(labels, self.config.data, image)
        return generation.encode(self.networks, self.variables, image, labels, _keys(len(image)))

    def generate(self, labels: np.ndarray, latents: Latents) -> np.ndarray:
        """Generates images.

        Args:
          labels: labels `[B, H, W]` of the model's size.
          latents: latents of `encode`, or a mix of them.

        Returns:
          Images `[B, H, W, 3]` in [-1, 1].
        """
        fitting.check_batch(labels, self.config.data)
        keys = _keys(len(labels))
        return np.asarray(generation.generate(self.networks, self.variables, labels, latents, keys))

    def reconstruct_batch(self, image: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Generates images from their own latents and label maps.

        Args:
          image: images `uint8 [B, H, W, 3]` of the model's size.
          labels: labels `[B, H, W]` of the model's size.

        Returns:
          Images `[B, H, W, 3]` in [-1, 1].
        """
        return self.generate(labels, self.encode(image, labels))

    def transfer_batch(
        self,
        subject_image: np.ndarray,
        subject_labels: np.ndarray,
        target_image: np.ndarray,
        target_labels: np.ndarray,
        labels: sources.Labels | None = None,
        absent: str = sources.TARGET,
    ) -> np.ndarray:
        """Transfers the subjects of a batch, see `transfer`.

        Args:
          subject_image: images `uint8 [B, H, W, 3]` of the model's size.
          subject_labels: labels `[B, H, W]`.
          target_image: images `uint8 [B, H, W, 3]` of the model's size.
          target_labels: labels `[B, H, W]`.
          labels: labels taken from the subject, by number or name; by default, all except the
            background.
          absent: what stands in for labels that the subject lacks, see `sources`.

        Returns:
          Images `[B, H, W, 3]` in [-1, 1].
        """
        fitting.check_batch(subject_labels, self.config.data, subject_image)
        fitting.check_batch(target_labels, self.config.data, target_image)
        image = generation.transfer(
            self.networks,
            self.variables,
            subject_image,
            subject_labels,
            target_image,
            target_labels,
            self.sources_of(subject_labels, labels, absent),
            _keys(len(target_image)),
        )
        return np.asarray(image)

    def sources_of(
        self,
        subject_labels: np.ndarray,
        labels: sources.Labels | None = None,
        absent: str = sources.TARGET,
    ) -> np.ndarray:
        """Returns whose latents each label takes in a transfer, int32 `[B, L]`: see `sources`.

        Args:
          subject_labels: labels of the subjects, `[B, H, W]`.
          labels: labels taken from the subject, by number or name; by default, all except the
            background.
          absent: what stands in for labels that the subject lacks.

        Raises:
          ValueError: there is no such label, or the rule is wrong.
        """
        known = self.config.data.num_labels, self.label_names
        rule = sources.AbsentRule.parse(absent, *known)
        return sources.find(sources.taken(known[0], labels, self.label_names), subject_labels, rule)

    def reconstruct(self, image: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Generates an image from its own latents and label map.

        Args:
          image: `uint8 [H, W, 3]` of any size. `fit` fits it to the model's size.
          labels: `uint8 [H, W]`, the model's labels.

        Returns:
          `uint8 [height, width, 3]` of the model's size.

        Raises:
          ValueError: wrong shapes, or a label that the model does not know.
        """
        picture = self.fit("image", Picture(image, labels))
        batch = self.reconstruct_batch(picture.image[None], picture.labels[None])
        return images.to_uint8(batch[0])

    def transfer(
        self,
        subject_image: np.ndarray,
        subject_labels: np.ndarray,
        target_image: np.ndarray,
        target_labels: np.ndarray,
        labels: sources.Labels | None = None,
        absent: str = sources.TARGET,
    ) -> np.ndarray:
        """Puts the subject into the target's pose and scene (paper, section 3.4).

        The label map is the target's. A region takes its latents from the subject if its label is
        in `labels`, and from the target otherwise.

        Args:
          subject_image: `uint8 [H, W, 3]` of any size. `fit` fits it to the model's size.
          subject_labels: `uint8 [H, W]`, the model's labels.
          target_image: `uint8 [H, W, 3]` of any size. `fit` fits it to the model's size.
          target_labels: `uint8 [H, W]`, the model's labels.
          labels: labels taken from the subject, by number or name; by default, all except the
            background.
          absent: what stands in for labels that the subject lacks, see `sources`.

        Returns:
          `uint8 [height, width, 3]` of the model's size.

        Raises:
          ValueError: wrong shapes, or a label that the model does not know.
        """
        subject = self.fit("subject", Picture(subject_image, subject_labels))
        target = self.fit("target", Picture(target_image, target_labels))
        batch = self.transfer_batch(
            subject.image[None],
            subject.labels[None],
            target.image[None],
            target.labels[None],
            labels,
            absent,
        )
        return images.to_uint8(batch[0])

    def fit(self, name: str, picture: Picture) -> Picture:
        """Fits a picture to the model's size, as evaluation does; warns if its size changes.

        Args:
          name: name of the picture in errors and in the log.
          picture: image and label map of any size.

        Returns:
          The picture in the model's size, see `fitting.fit`.

        Raises:
          ValueError: wrong shapes, or a label that the model does not know.
        """
        return fitting.fit_given(name, picture, self.config.data)


def parser_of(folder: epath.Path) -> PhotoParser | None:
    """Returns the parser of a run or release, or None; raises as `TrainedModel.parser` does."""
    if release.is_release(folder):
        return release.load_parser(folder)
    from scam_jax.inference import from_run

    return from_run.load_parser(folder)


def _keys(count: int) -> jax.Array:
    # The same noise for each image, so that none depends on its place in a batch.
    return generation.image_keys(0, np.zeros(count, np.int32))
