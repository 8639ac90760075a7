"""Uses a trained model: `python main.py --mode=transfer|reconstruct|attention|gallery …`."""

import pathlib
from collections.abc import Callable, Sequence

import jax
import numpy as np
from absl import logging
from etils import epath
from ml_collections import ConfigDict

from scam_jax import images
from scam_jax.commands.feed import OpenFeed
from scam_jax.devices import sharding
from scam_jax.evaluation.data import picture_pairs
from scam_jax.examples import Picture
from scam_jax.inference import panels, recipe, recipe_file, sources
from scam_jax.inference.model import Checkpoint, TrainedModel

# A photo and its label map, or None to let the parser draw it.
Files = tuple[str, str | None]


def gallery(
    config: ConfigDict,
    workdir: epath.Path,
    open_feed: OpenFeed,
    split: str,
    count: int,
    checkpoint: Checkpoint = "newest",
) -> None:
    """Writes gallery.png: transfers of a split's pairs, beside the true results if known.

    Args:
      config: the whole config.
      workdir: the run's folder.
      open_feed: opens the run's data.
      split: 'validation' or 'test'.
      count: number of pairs.
      checkpoint: see `TrainedModel.load`.

    Raises:
      FileNotFoundError: there is no trained model, or files of the data set are missing.
      ValueError: the data set is invalid, or the split is empty.
    """
    feed = open_feed(config, workdir)
    model = TrainedModel.load(workdir, checkpoint)

    def draw():
        triplets = feed.transfers(split)
        if triplets is not None:
            return panels.gallery(model, [triplets[i] for i in range(min(count, len(triplets)))])
        pairs = picture_pairs(feed.split(split), count)
        return panels.contact_sheet(model, pairs)

    _write(workdir / "gallery.png", draw, enlarge=2 if config.data.height <= 64 else 1)


def reconstruct(
    workdir: epath.Path, target: Files, output: pathlib.Path, checkpoint: Checkpoint = "newest"
) -> None:
    """Writes the reconstruction of a photo.

    Args:
      workdir: the run's folder.
      target: photo and label map.
      output: the picture to write.
      checkpoint: see `TrainedModel.load`.

    Raises:
      FileNotFoundError: there is no trained model.
      ValueError: see `TrainedModel.read`.
    """
    model = _load(workdir, checkpoint, needs_parser=target[1] is None)
    _write(output, lambda: model.reconstruct(*_read(model, target)))


def transfer(
    workdir: epath.Path,
    subject: Files,
    target: Files,
    output: pathlib.Path,
    labels: Sequence[str] | None = None,
    absent: str = sources.TARGET,
    checkpoint: Checkpoint = "newest",
) -> None:
    """Writes a picture of the subject in the target's pose and scene.

    Args:
      workdir: the run's folder.
      subject: photo and label map.
      target: photo and label map.
      output: the picture to write.
      labels: labels taken from the subject, by number or name; by default, all except the
        background.
      absent: what stands in for labels that the subject lacks, see `sources`.
      checkpoint: see `TrainedModel.load`.

    Raises:
      FileNotFoundError: there is no trained model.
      ValueError: see `TrainedModel.read` and `TrainedModel.transfer`.
    """
    model = _load(workdir, checkpoint, needs_parser=None in (subject[1], target[1]))
    remarks = _remarks(model, labels, absent)

    def draw():
        people = _read(model, subject), _read(model, target)
        remarks(*people)
        return model.transfer(*people[0], *people[1], labels=labels, absent=absent)

    _write(output, draw)


def _remarks(
    model: TrainedModel, labels: Sequence[str] | None, absent: str
) -> Callable[[Picture, Picture], None]:
    """Checks what to transfer; returns what logs the labels that a subject lacks."""
    num_labels, names = model.config.data.num_labels, model.label_names
    taken = sources.taken(num_labels, labels, names)
    rule = sources.AbsentRule.parse(absent, num_labels, names)

    def log(subject: Picture, target: Picture) -> None:
        for remark in sources.remarks(taken, subject.labels, target.labels, rule, names):
            logging.warning("%s", remark)

    return log


def from_recipe(
    workdir: epath.Path,
    file: pathlib.Path,
    output: pathlib.Path,
    checkpoint: Checkpoint = "newest",
) -> None:
    """Writes the picture of a recipe, see `inference.recipe_file`.

    Args:
      workdir: the run's folder.
      file: the recipe.
      output: the picture to write.
      checkpoint: see `TrainedModel.load`.

    Raises:
      FileNotFoundError: there is no trained model, or no such recipe.
      ValueError: the recipe is not one for this model.
    """
    # Only reading the recipe tells, and that one process does.
    model = _load(workdir, checkpoint, needs_parser=jax.process_count() > 1)

    def draw():
        chosen = recipe_file.read(file, model)
        for _, remark in recipe.remarks(model, chosen):
            logging.warning("%s", remark)
        return recipe.make(model, chosen)

    _write(output, draw)


def attention(
    workdir: epath.Path,
    subject: Files,
    target: Files,
    output: pathlib.Path,
    labels: Sequence[str] | None = None,
    absent: str = sources.TARGET,
    latent: tuple[int, int] | None = None,
    checkpoint: Checkpoint = "newest",
) -> None:
    """Writes the attention maps of a transfer.

    Args:
      workdir: the run's folder.
      subject: photo and label map.
      target: photo and label map.
      output: the picture to write.
      labels: see `transfer`.
      absent: see `transfer`.
      latent: (label, number of its latent) to draw the weights of this latent. By default the
        picture shows the strongest latent of each pixel, in colours.
      checkpoint: see `TrainedModel.load`.

    Raises:
      FileNotFoundError: there is no trained model.
      ValueError: see `TrainedModel.read` and `attention_maps.draw`.
    """
    model = _load(workdir, checkpoint, needs_parser=None in (subject[1], target[1]))
    remarks = _remarks(model, labels, absent)

    def draw():
        people = _read(model, subject), _read(model, target)
        remarks(*people)
        return panels.attention(model, *people, latent, labels, absent)

    _write(output, draw)


def _load(workdir: epath.Path, checkpoint: Checkpoint, *, needs_parser: bool) -> TrainedModel:
    """Loads a model, and its parser too if it is needed: all processes restore it together."""
    model = TrainedModel.load(workdir, checkpoint)
    if needs_parser:
        _ = model.parser
    return model


def _read(model: TrainedModel, given: Files) -> Picture:
    photo, labels = given
    if labels is None and model.parser is not None:
        logging.info("%s has no label map: the parser draws it", photo)
    return model.read(photo, labels)


def _write(path: epath.Path, draw: Callable[[], np.ndarray], enlarge: int = 1) -> None:
    """Lets one process draw and write a picture. Every process must call this, model loaded."""
    if jax.process_index() == 0:
        images.save(path, draw(), enlarge)
        print(f"wrote {path}")
    sharding.wait_for_all("picture written")
