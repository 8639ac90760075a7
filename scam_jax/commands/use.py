"""Uses a trained model: `python main.py --mode=transfer|reconstruct|attention|gallery …`."""

import pathlib
from collections.abc import Callable, Sequence

import jax
import numpy as np
from ml_collections import ConfigDict

from scam_jax import images
from scam_jax.commands.feed import OpenFeed
from scam_jax.devices import sharding
from scam_jax.evaluation.data import picture_pairs
from scam_jax.inference import panels
from scam_jax.inference.model import TrainedModel

# A photo and its label map.
Files = tuple[str, str]


def gallery(
    config: ConfigDict, workdir: pathlib.Path, open_feed: OpenFeed, split: str, count: int
) -> None:
    """Writes gallery.png: pairs of a split, beside the true transfer where it is known.

    Args:
      config: of the run.
      workdir: the run's folder.
      open_feed: opens the run's data.
      split: 'validation' or 'test'.
      count: how many pairs.

    Raises:
      FileNotFoundError, ValueError: as `TrainedModel.load`, or the data set is not as it must be.
    """
    feed = open_feed(config, workdir)
    model = TrainedModel.load(workdir)

    def draw():
        triplets = feed.transfers(split)
        if triplets is not None:
            return panels.gallery(model, [triplets[i] for i in range(min(count, len(triplets)))])
        return model.contact_sheet(picture_pairs(feed.split(split), count))

    _write(workdir / "gallery.png", draw, enlarge=2 if config.data.height <= 64 else 1)


def reconstruct(workdir: pathlib.Path, target: Files, output: pathlib.Path) -> None:
    """Writes the reconstruction of a photo to `output`. Raises as `TrainedModel.read`."""
    model = TrainedModel.load(workdir)
    _write(output, lambda: model.reconstruct(*model.read(*target)))


def transfer(
    workdir: pathlib.Path,
    subject: Files,
    target: Files,
    output: pathlib.Path,
    labels: Sequence[int] | None = None,
) -> None:
    """Writes the subject in the target's pose and scene to `output`.

    Args:
      workdir: the run's folder.
      subject: photo and label map.
      target: photo and label map.
      output: the picture to write.
      labels: labels taken from the subject; all but the background by default.

    Raises:
      FileNotFoundError, ValueError: as `TrainedModel.load`, `TrainedModel.read` and `transfer`.
    """
    model = TrainedModel.load(workdir)

    def draw():
        return model.transfer(*model.read(*subject), *model.read(*target), labels=labels)

    _write(output, draw)


def attention(
    workdir: pathlib.Path,
    subject: Files,
    target: Files,
    output: pathlib.Path,
    latent: tuple[int, int] | None = None,
) -> None:
    """Writes the attention maps of a transfer to `output`.

    Args:
      workdir: the run's folder.
      subject: photo and label map.
      target: photo and label map.
      output: the picture to write.
      latent: (label, number of its latent) whose weights are drawn; by default every pixel's
        strongest latent, in colours.

    Raises:
      FileNotFoundError, ValueError: as `TrainedModel.load`, `TrainedModel.read` and `draw`.
    """
    model = TrainedModel.load(workdir)

    def draw():
        return panels.attention(model, model.read(*subject), model.read(*target), latent)

    _write(output, draw)


def _write(path: pathlib.Path, draw: Callable[[], np.ndarray], enlarge: int = 1) -> None:
    """Has one process draw and write a picture; all come here, with the model loaded."""
    if jax.process_index() == 0:
        images.save(path, draw(), enlarge)
        print(f"wrote {path}")
    sharding.wait_for_all("picture written")
