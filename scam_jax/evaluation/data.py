"""What an evaluation reads: a split, its images in pairs, and real images to compare with."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from scam_jax.examples import Example, Picture, Source

# The authors exchange latents among the images of a device's batch.
AUTHORS_GROUP = 8


@dataclasses.dataclass(frozen=True)
class RealImages:
    """Real images that generated ones are compared with.

    Attributes:
      name: of a file; it tells these images from all others: data set, split, augmentation, size.
      source: examples with `image` `uint8 [H, W, 3]`.
    """

    name: str
    source: Source


@dataclasses.dataclass(frozen=True)
class EvaluationData:
    """A split, and all that goes with it.

    Attributes:
      name: of the data set.
      split: 'validation' or 'test'.
      source: its examples, `image` `uint8 [H, W, 3]` and `label` `uint8 [H, W]`.
      real: the real images of each protocol's FID.
      label_names: of the labels from 0 on; none where they are not known.
      transfers: pairs whose true transfer is known, as `Pairs` with `transfer_image`; or None.
      batches: a source to this host's share of its batches, each with `mask [B]`, 0 for filling.
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
    """Each example of a source as target, with the example `subjects[i]` as its subject.

    Examples are `target_image`, `target_label`, `subject_image`, `subject_label`.
    """

    source: Source
    subjects: Sequence[int]

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
    """A random order within each eight images: `[count]` indices. An image may stay in place."""
    random = np.random.default_rng(seed)
    starts = range(0, count, AUTHORS_GROUP)
    groups = [np.arange(i, min(i + AUTHORS_GROUP, count)) for i in starts]
    return np.concatenate([random.permutation(group) for group in groups])


def partners(count: int, seed: int) -> np.ndarray:
    """Each image's subject, drawn from the whole split: `[count]` indices, none its own.

    Every image is a subject once.

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
    """(subject, target) of the first `count` images, paired as in the first seed of evaluation."""
    subjects = partners(len(source), 0) if len(source) > 1 else [0]
    chosen = range(min(count, len(source)))
    return [(Picture.of(source[int(subjects[i])]), Picture.of(source[i])) for i in chosen]


@dataclasses.dataclass(frozen=True)
class WithMeanColours:
    """Transfers with `mean_colours_image` added: what no model is needed for."""

    transfers: Source
    num_labels: int

    def __len__(self) -> int:
        return len(self.transfers)

    def __getitem__(self, index: int) -> Example:
        example = self.transfers[index]
        keys = "subject_image", "subject_label", "target_image", "target_label"
        painted = paint_mean_colours(*(example[key] for key in keys), self.num_labels)
        return {**example, "mean_colours_image": painted}


def paint_mean_colours(
    subject_image: np.ndarray,
    subject_labels: np.ndarray,
    target_image: np.ndarray,
    target_labels: np.ndarray,
    num_labels: int,
) -> np.ndarray:
    """The target with each region but the background painted in the subject's mean colour of it.

    A region that the subject lacks takes the mean colour of the whole subject. All `uint8`.
    """
    painted = target_image.copy()
    for label in range(1, num_labels):
        pixels = subject_image[subject_labels == label]
        if not len(pixels):
            pixels = subject_image[subject_labels > 0]
        if len(pixels):
            painted[target_labels == label] = pixels.mean(axis=0).round()
    return painted
