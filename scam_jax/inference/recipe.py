"""Recipes: who gives the latents of each region of a generated image, and in which shares.

A recipe has a target, whose latents fill all regions, and pictures that give latents to some of
them. `recipe_file` reads and writes recipes.
"""

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np

from scam_jax import images
from scam_jax.examples import Picture
from scam_jax.inference import generation, sources
from scam_jax.inference.model import TrainedModel
from scam_jax.models.layers.latents import Latents

TARGET = "target"
# Maps a picture of the model's size to its latents, for a batch of one.
Encode = Callable[[Picture], Latents]


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A recipe.

    Attributes:
      pictures: pictures of the model's size by name; 'target' is one of them.
      givers: the share of each giving picture in each label, between 0 and 1.
      labels: the label map to generate, `uint8 [H, W]`, or None for the target's.
      absent: what stands in for labels that a giver lacks, see `sources`.
    """

    pictures: Mapping[str, Picture]
    givers: Mapping[int, Mapping[str, float]] = dataclasses.field(default_factory=dict)
    labels: np.ndarray | None = None
    absent: str = sources.TARGET

    @property
    def label_map(self) -> np.ndarray:
        """The label map to generate, `uint8 [H, W]`."""
        return self.pictures[TARGET].labels if self.labels is None else self.labels

    def faded(self, share: float, label: int | None = None) -> "Recipe":
        """Returns a recipe with less of the givers, and more of the target.

        Args:
          share: what the shares are multiplied by, between 0 (the target alone) and 1.
          label: the only label to change, or None for all.
        """
        givers = {
            number: {
                name: x * share if label in (None, number) else x for name, x in shares.items()
            }
            for number, shares in self.givers.items()
        }
        return dataclasses.replace(self, givers=givers)


def transfer(subject: Picture, target: Picture, num_labels: int) -> Recipe:
    """Returns the recipe of a transfer: the subject gives all labels but the background.

    Args:
      subject: a picture of the model's size.
      target: a picture of the model's size.
      num_labels: L.
    """
    givers = {label: {"subject": 1.0} for label in range(1, num_labels)}
    return Recipe({TARGET: target, "subject": subject}, givers)


def latents(model: TrainedModel, recipe: Recipe, encode: Encode | None = None) -> Latents:
    """Returns the latents of a recipe, for a batch of one.

    Args:
      model: a trained model.
      recipe: the recipe.
      encode: encodes a picture, `encoded` by the model if None.
    """
    encode = encode or (lambda picture: encoded(model, picture))
    num_labels = model.config.data.num_labels
    names = sorted({name for shares in recipe.givers.values() for name in shares})
    target = encode(recipe.pictures[TARGET])
    if not names:
        return target
    shares = np.zeros((len(names), num_labels), np.float32)
    for label, given in recipe.givers.items():
        for name, share in given.items():
            shares[names.index(name), label] = share
    rule = sources.AbsentRule.parse(recipe.absent, num_labels, model.label_names)
    chosen = [
        sources.find(share > 0, recipe.pictures[name].labels[None], rule)
        for name, share in zip(names, shares, strict=True)
    ]
    others = [encode(recipe.pictures[name]) for name in names]
    return generation.blend(model.networks, np.stack(chosen), shares, others, target)


def encoded(model: TrainedModel, picture: Picture) -> Latents:
    """Returns the latents of a picture of the model's size, for a batch of one."""
    return model.encode(picture.image[None], picture.labels[None])


def make(model: TrainedModel, recipe: Recipe, encode: Encode | None = None) -> np.ndarray:
    """Generates the image of a recipe, `uint8 [height, width, 3]`; arguments as for `latents`."""
    mixed = latents(model, recipe, encode)
    return images.to_uint8(model.generate(recipe.label_map[None], mixed)[0])


def loop(
    model: TrainedModel,
    recipe: Recipe,
    count: int,
    label: int | None = None,
    encode: Encode | None = None,
) -> list[np.ndarray]:
    """Generates the frames of a loop: from the target to the recipe and back.

    Args:
      model: a trained model.
      recipe: the recipe.
      count: the number of frames, at least 2.
      label: the only label that changes, or None for all.
      encode: see `latents`.
    """
    shares = (1 - np.cos(2 * np.pi * np.arange(count) / count)) / 2
    return [make(model, recipe.faded(float(share), label), encode) for share in shares]


def remarks(model: TrainedModel, recipe: Recipe) -> list[tuple[int, str]]:
    """Returns what a recipe cannot do for lack of labels, as (label, sentence) pairs."""
    num_labels, names = model.config.data.num_labels, model.label_names
    rule = sources.AbsentRule.parse(recipe.absent, num_labels, names)
    shown = recipe.label_map
    lacking = {*range(num_labels)} - {*np.unique(recipe.pictures[TARGET].labels).tolist()}
    found: list[tuple[int, str]] = []
    for label in range(num_labels):
        taken = np.arange(num_labels) == label
        shares = recipe.givers.get(label, {})
        if not (shown == label).any():
            continue
        for name in (name for name, share in shares.items() if share > 0):
            labels = recipe.pictures[name].labels
            said = sources.remarks(taken, labels, shown, rule, names, name, lacking)
            found += [(label, sentence) for sentence in said]
        if sum(shares.values()) < 1 - 1e-6 and label in lacking:
            found.append((label, "the target has nothing of this label: a guess stands in"))
    return found
