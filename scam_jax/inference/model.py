"""A trained model: reconstruct an image, transfer a subject, draw a contact sheet.

  model = transfer.TrainedModel.load(pathlib.Path("runs/celeba"))
  image = model.transfer(subject, subject_labels, target, target_labels)

Images are `uint8 [H, W, 3]`, label maps `uint8 [H, W]`, NumPy in and out.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from ml_collections import ConfigDict
from PIL import Image

from scam_jax import images, models
from scam_jax.models.layers import latents as latent_codes
from scam_jax.models.layers.latents import Latents
from scam_jax.models.layers.primitives import nearest_indices
from scam_jax.runs.run_folder import CHECKPOINTS, load_config
from scam_jax.training import state
from scam_jax.training.checkpoints import Checkpoints
from scam_jax.training.objectives import to_float


class Picture(NamedTuple):
    """An image `uint8 [H, W, 3]` and its label map `uint8 [H, W]`."""

    image: np.ndarray
    labels: np.ndarray

    @classmethod
    def of(cls, example: Mapping[str, np.ndarray]) -> "Picture":
        """An example of a data set: its `image` and `label`."""
        return cls(example["image"], example["label"])


# Compiled once for all models of the same networks: a run's panels are drawn with new variables.
@functools.partial(jax.jit, static_argnums=0)
def encode(
    networks: models.Networks, variables: Any, image: jax.Array, labels: jax.Array, keys: jax.Array
) -> Latents:
    """Latents of images `uint8 [B, H, W, 3]` and labels `[B, H, W]`.

    A variational encoder's are drawn with `keys [B]`, as the baselines were evaluated.
    """
    keys = jax.vmap(jax.random.split)(keys)
    labels = labels.astype(jnp.int32)
    latents = networks.encoder.apply(variables, to_float(image), labels, keys[:, 0])
    return latent_codes.sample(latents, keys[:, 1])


@functools.partial(jax.jit, static_argnums=0)
def generate(
    networks: models.Networks,
    variables: Any,
    labels: jax.Array,
    latents: Latents,
    keys: jax.Array,
) -> jax.Array:
    """Images `[B, H, W, 3]` in [-1, 1] of labels `[B, H, W]` and latents; keys are of the noise."""
    return networks.generator.apply(variables, labels.astype(jnp.int32), latents, keys)


def taken(config: ConfigDict, labels: Collection[int] | None) -> np.ndarray:
    """Which labels are among `labels`, bool `[L]`; None means all but the background.

    Raises:
      ValueError: there is no such label.
    """
    num_labels = config.data.num_labels
    chosen = range(1, num_labels) if labels is None else labels
    wrong = [label for label in chosen if not 0 <= label < num_labels]
    if wrong:
        raise ValueError(f"there is no label {wrong[0]}: this model has 0 … {num_labels - 1}")
    return np.isin(np.arange(num_labels), [*chosen])


@dataclasses.dataclass(frozen=True)
class TrainedModel:
    """Encoder and generator of a run with their variables.

    Attributes:
      config: the run's.
      variables: `{'encoder': ..., 'generator': ...}`, each all collections.
      step: that the variables are of.
    """

    config: ConfigDict
    variables: dict[str, Any]
    step: int = 0

    @classmethod
    def load(cls, workdir: pathlib.Path) -> "TrainedModel":
        """The newest checkpoint of a run.

        Raises:
          FileNotFoundError: `workdir` holds no run, or the run has no checkpoint yet.
        """
        config = load_config(workdir)
        networks = models.build(config)
        checkpoints = Checkpoints(workdir / CHECKPOINTS)
        restored = checkpoints.restore(state.create(config, networks))
        checkpoints.close()
        if restored is None:
            raise FileNotFoundError(f"{workdir / CHECKPOINTS} holds no checkpoint yet: train first")
        logging.info("loaded step %d of %s", int(restored.step), workdir)
        return cls(config, restored.eval_variables(), int(restored.step))

    @functools.cached_property
    def networks(self) -> models.Networks:
        return models.build(self.config)

    def encode(self, image: np.ndarray, labels: np.ndarray) -> Latents:
        """Latents of `[B, H, W, 3]` and `[B, H, W]` at the model's size."""
        keys = jax.random.split(jax.random.key(0), len(image))
        return encode(self.networks, self.variables["encoder"], image, labels, keys)

    def generate(self, labels: np.ndarray, latents: Latents) -> np.ndarray:
        """Images `[B, H, W, 3]` in [-1, 1] of labels `[B, H, W]` and latents."""
        keys = jax.random.split(jax.random.key(1), len(labels))
        generator = self.variables["generator"]
        return np.asarray(generate(self.networks, generator, labels, latents, keys))

    def reconstruct_batch(self, image: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Images `[B, H, W, 3]` in [-1, 1] from their own latents."""
        return self.generate(labels, self.encode(image, labels))

    def transfer_batch(
        self,
        subject_image: np.ndarray,
        subject_labels: np.ndarray,
        target_image: np.ndarray,
        target_labels: np.ndarray,
        labels: Collection[int] | None = None,
    ) -> np.ndarray:
        """`transfer` of batches at the model's size; images `[B, H, W, 3]` in [-1, 1]."""
        from_subject = taken(self.config, labels)
        subject = self.encode(subject_image, subject_labels)
        target = self.encode(target_image, target_labels)
        mixed = self.networks.encoder.mix(jnp.asarray(from_subject), subject, target)
        return self.generate(target_labels, mixed)

    def reconstruct(self, image: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """The image that the model makes of an image's own latents and label map.

        Of other sizes, image and labels are resized to the model's, and it is logged.
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
        labels: Collection[int] | None = None,
    ) -> np.ndarray:
        """The subject in the target's pose and scene (paper, section 3.4).

        The label map is the target's. A region takes its latents from the subject if its label is
        in `labels`, and from the target otherwise.

        Args:
          subject_image, target_image: `uint8 [H, W, 3]`, of any size (resized, and logged).
          subject_labels, target_labels: `uint8 [H, W]`.
          labels: labels taken from the subject; all but the background by default.

        Returns:
          `uint8 [height, width, 3]` at the model's size.

        Raises:
          ValueError: a label that the model does not know.
        """
        subject = self.fit("subject", Picture(subject_image, subject_labels))
        target = self.fit("target", Picture(target_image, target_labels))
        batch = [x[None] for x in (*subject, *target)]
        return images.to_uint8(self.transfer_batch(*batch, labels=labels)[0])

    def contact_sheet(
        self, pairs: Sequence[tuple[Picture, Picture]], labels: Collection[int] | None = None
    ) -> np.ndarray:
        """A row a (subject, target) pair: subject, its labels, target, its labels, target
        reconstructed, transfer. `uint8 [H', W', 3]`."""
        rows = []
        for subject, target in pairs:
            subject, target = self.fit("subject", subject), self.fit("target", target)
            rows.append(
                [
                    subject.image,
                    images.colorize(subject.labels, self.config.data.num_labels),
                    target.image,
                    images.colorize(target.labels, self.config.data.num_labels),
                    self.reconstruct(*target),
                    self.transfer(*subject, *target, labels=labels),
                ]
            )
        return images.grid(rows)

    def fit(self, name: str, picture: Picture) -> Picture:
        """The picture at the model's size: image bilinear, label map nearest; logged if resized.

        Raises:
          ValueError: wrong shapes, or a label that the model does not know.
        """
        image, labels = (np.asarray(array) for array in picture)
        if image.ndim != 3 or image.shape[-1] != 3 or image.dtype != np.uint8:
            raise ValueError(f"{name} image is {image.dtype} {image.shape}: need uint8 [H, W, 3]")
        num_labels = self.config.data.num_labels
        if labels.ndim != 2 or labels.min() < 0 or labels.max() >= num_labels:
            raise ValueError(
                f"{name} label map has shape {labels.shape} and values {labels.min()} … "
                f"{labels.max()}: need [H, W] with labels 0 … {num_labels - 1}"
            )
        height, width = self.config.data.height, self.config.data.width
        if image.shape[:2] != (height, width):
            logging.warning(
                "%s image resized from %s to %d×%d", name, image.shape[:2], height, width
            )
            resized = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
            image = np.asarray(resized)
        if labels.shape != (height, width):
            logging.warning(
                "%s label map resized from %s to %d×%d", name, labels.shape, height, width
            )
            rows, columns = (
                nearest_indices(*s) for s in zip(labels.shape, (height, width), strict=True)
            )
            labels = labels[rows][:, columns]
        return Picture(image, labels.astype(np.uint8))
