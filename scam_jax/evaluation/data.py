"""Data of an evaluation: a split, pairs of its images, and real images to compare with."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from scam_jax.examples import Example, Picture, Source

# The authors exchange latents among the images of one device's batch, which has eight.
AUTHORS_GROUP = 8


@dataclasses.dataclass(frozen=True)
class RealImages:
    """Real images to compare generated images with.

    Attributes:
      name: unique name of these images, usable as a file name. It describes data set, split,
        augmentation and size.
      source: examples with `image` `uint8 [H, W, 3]`.
    """

    name: str
    source: Source


@dataclasses.dataclass(frozen=True)
class EvaluationData:
    """A split, and the other data that its evaluation needs.

    Attributes:
      name: name of the data set.
      split: 'validation' or 'test'.
      source: the examples of the split, `image` `uint8 [H, W, 3]` and `label` `uint8 [H, W]`.
      real: the real images for FID, keyed by protocol.
      label_names: names of the labels from 0 on, empty if unknown.
      transfers: examples like those of `Pairs` with the true result as `transfer_image`, or None
        if the data set has none.
      batches: maps a source to this host's share of its batches. Each batch has `mask` `[B]`, 0 for
        padding.
    """

    name: str
    split: str
    source: Source
    real: Mapping[str, RealImages]
    label_names: Sequence[str]
    transfers: Source | None
    batches: Callable[[Source], Iterable[Example]]


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Pairs of a source's examples: example i is the target, `subjects[i]` is its subject.

    A pair holds `target_image`, `target_label`, `subject_image` and `subject_label`.
    """

    source: Source
    subjects: np.ndarray

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Example:
        people = {"target": self.source[index], "subject": self.source[int(self.subjects[index])]}
        return {
            f"{role}_{name}": person[name]
            for role, person in people.items()
            for name in ("image", "label")
        }


def authors_partners(count: int, seed: int) -> np.ndarray:
    """Draws each image's subject among the same eight images, as the authors do.

    Args:
      count: number of images.
      seed: the seed.

    Returns:
      `[count]` indices, a permutation of each eight consecutive images. An image may be its own
      subject.
    """
    random = np.random.default_rng(seed)
    starts = range(0, count, AUTHORS_GROUP)
    groups = [np.arange(i, min(i + AUTHORS_GROUP, count)) for i in starts]
    return np.concatenate([random.permutation(group) for group in groups])


def partners(count: int, seed: int) -> np.ndarray:
    """Draws each image's subject from the whole split.

    Args:
      count: number of images.
      seed: the seed.

    Returns:
      `[count]` indices. Every image is a subject once, and no image is its own subject.

    Raises:
      ValueError: there are fewer than two images.
    """
    if count < 2:
        raise ValueError(f"pairs need two images or more, not {count}")
    order = np.random.default_rng(seed).permutation(count)
    subjects = np.empty(count, np.int64)
    subjects[order] = np.roll(order, 1)
    return subjects


def picture_pairs(source: Source, count: int) -> list[tuple[Picture, Picture]]:
    """Returns (subject, target) pairs for pictures, paired as in the evaluation's first seed.

    Args:
      source: the examples of a split.
      count: number of pairs; the targets are the first images of the split.
    """
    subjects = partners(len(source), 0) if len(source) > 1 else [0]
    chosen = range(min(count, len(source)))
    return [(Picture.of(source[int(subjects[i])]), Picture.of(source[i])) for i in chosen]


@dataclasses.dataclass(frozen=True)
class WithMeanColours:
    """Transfers with `mean_colours_image` added, the result of a method without a model."""

    transfers: Source
    num_labels: int

    def __len__(self) -> int:
        return len(self.transfers)

    def __getitem__(self, index: int) -> Example:
        example = self.transfers[index]
        painted = paint_mean_colours(
            example["subject_image"],
            example["subject_label"],
            example["target_image"],
            example["target_label"],
            self.num_labels,
        )
        return {**example, "mean_colours_image": painted}


def paint_mean_colours(
    subject_image: np.ndarray,
    subject_labels: np.ndarray,
    target_image: np.ndarray,
    target_labels: np.ndarray,
    num_labels: int,
) -> np.ndarray:
    """Paints each region of the target, except the background, in the subject's mean colour.

    A region that the subject lacks gets the mean colour of the whole subject.

    Args:
      subject_image: `uint8 [H, W, 3]`.
      subject_labels: `uint8 [H, W]`.
      target_image: `uint8 [H, W, 3]`.
      target_labels: `uint8 [H, W]`.
      num_labels: number of labels.

    Returns:
      `uint8 [H, W, 3]`.
    """
    painted = target_image.copy()
    for label in range(1, num_labels):
        pixels = subject_image[subject_labels == label]
        if not len(pixels):
            pixels = subject_image[(subject_labels > 0) & (subject_labels < num_labels)]
        if len(pixels):
            painted[target_labels == label] = pixels.mean(axis=0).round()
    return painted
