"""Evaluates a trained model on a split: `python main.py --mode=eval --workdir=RUN`."""

import math
import pathlib

import jax
from etils import epath
from jax.sharding import Mesh
from ml_collections import ConfigDict

from scam_jax import console, images
from scam_jax.commands.feed import Feed, OpenFeed
from scam_jax.devices import sharding
from scam_jax.evaluation.data import EvaluationData, RealImages, picture_pairs
from scam_jax.evaluation.evaluator import Evaluator
from scam_jax.evaluation.judges import Judges
from scam_jax.evaluation.results import AUTHORS, OURS
from scam_jax.files import check_writable
from scam_jax.inference import panels
from scam_jax.inference.model import Checkpoint, TrainedModel
from scam_jax.inference.parsing import PhotoParser
from scam_jax.runs import run_folder

PAIRS_SHOWN = 6


def make_evaluator(
    config: ConfigDict, feed: Feed, mesh: Mesh, split: str, parser: PhotoParser | None = None
) -> Evaluator:
    """Builds the evaluator of a run on a split.

    Args:
      config: the whole config.
      feed: the run's data.
      mesh: devices to evaluate on.
      split: 'validation' or 'test'.
      parser: draws label maps, or None.

    Raises:
      ValueError: the split is empty, or a file of weights is damaged.
    """
    # Figures do not depend on the batch size. There may be more devices than in training.
    batch_size = math.ceil(config.train.batch_size / mesh.size) * mesh.size
    data = EvaluationData(
        name=config.data.name,
        split=split,
        source=feed.split(split),
        label_names=feed.label_names,
        real={
            AUTHORS: RealImages(*feed.real_images(augmented=True)),
            OURS: RealImages(*feed.real_images(augmented=False)),
        },
        transfers=feed.transfers(split),
        batches=lambda source: feed.eval_batches(source, batch_size),
    )
    judges = Judges(pathlib.Path(config.weights_directory), mesh)
    statistics = pathlib.Path(config.eval.statistics_directory)
    return Evaluator(config, mesh, data, judges, statistics, parser)


def evaluate(
    config: ConfigDict,
    workdir: epath.Path,
    open_feed: OpenFeed,
    split: str,
    checkpoint: Checkpoint = "newest",
) -> None:
    """Writes figures and pictures of a run to evaluation_SPLIT/, and prints the figures.

    Args:
      config: the whole config.
      workdir: the run's folder.
      open_feed: opens the run's data.
      split: 'validation' or 'test'.
      checkpoint: see `TrainedModel.load`.

    Raises:
      FileNotFoundError: there is no run, or files of the data set are missing.
      ValueError: see `make_evaluator`.
    """
    folder = run_folder.evaluation(workdir, split)
    statistics = console.path(config.eval.statistics_directory)
    if jax.process_index() == 0:
        check_writable("--workdir", folder)
        check_writable("config.eval.statistics_directory", statistics)
    feed = open_feed(config, workdir)
    model = TrainedModel.load(workdir, checkpoint)
    evaluator = make_evaluator(config, feed, sharding.make_mesh(), split, model.parser)
    evaluation = evaluator.evaluate(model.variables, model.step, config.eval.num_seeds)
    if jax.process_index() == 0:
        # Printed first: figures that cannot be written are not lost.
        print(f"On the {split} split of {config.data.name}:\n\n{evaluation.markdown()}")
        evaluation.save(folder)
        pairs = picture_pairs(feed.split(split), PAIRS_SHOWN)
        for name, picture in panels.of_evaluation(model, pairs).items():
            images.save(folder / f"{name}.png", picture)
        print(
            f"wrote {folder}\nNext: python main.py --mode=gallery --workdir={workdir}, or "
            f"python -m scam_jax.report {workdir}"
        )
    sharding.wait_for_all("evaluation written")
