"""Trains a model: `python main.py --config=configs/NAME.py`."""

import pathlib
import sys
from collections.abc import Callable, Mapping

import jax
from absl import logging
from jax.sharding import Mesh
from ml_collections import ConfigDict

from scam_jax.commands.evaluate import make_evaluator
from scam_jax.commands.feed import Feed, OpenFeed
from scam_jax.cost.utilization import seconds_at_peak
from scam_jax.devices import processes, sharding
from scam_jax.examples import Picture
from scam_jax.inference import panels
from scam_jax.inference.model import TrainedModel
from scam_jax.runs import run_folder
from scam_jax.training import loop
from scam_jax.training.checkpoints import Checkpoints
from scam_jax.training.loss_weights import is_used
from scam_jax.training.state import TrainState
from scam_jax.training.writer import Writer
from scam_jax.weights import pretrained

PANEL_IMAGES = 6


def train(
    config: ConfigDict, workdir: pathlib.Path, open_feed: OpenFeed, stop: processes.StopRequest
) -> None:
    """Trains a model, starting from the newest checkpoint in `workdir` if there is one.

    Args:
      config: the whole config, validated.
      workdir: the run's folder.
      open_feed: opens the run's data.
      stop: tells when to save and stop. The process then exits with the signal's status.

    Raises:
      FileNotFoundError: weights of the perceptual loss, or files of the data set, are missing.
      ValueError: the run in `workdir` has another config, or the data set is invalid.
      TrainingDiverged: see `loop.train`.
      CheckpointError: see `loop.train`.
    """
    run_folder.check_same_run(config, workdir)
    vgg = None
    if is_used(config, "perceptual"):
        vgg = pretrained.load("vgg19", pathlib.Path(config.weights_directory)).params
    feed = open_feed(config, workdir)
    if jax.process_index() == 0:
        run_folder.record(config, workdir, feed.num_training_examples)
    people = [Picture.of(example) for example in feed.examples_to_show(PANEL_IMAGES + 1)]

    def draw_panel(state: TrainState):
        model = TrainedModel(config, jax.device_get(state.eval_variables()))
        return panels.panel(model, people)

    mesh = sharding.make_mesh()
    logging.info("training on %d images in %s", feed.num_training_examples, workdir)
    checkpoints = Checkpoints(workdir / run_folder.CHECKPOINTS, config.train.keep_checkpoints)
    try:
        state = loop.train(
            config,
            mesh=mesh,
            batches_from=feed.train_batches,
            checkpoints=checkpoints,
            writer_from=lambda step: Writer(workdir, step) if jax.process_index() == 0 else None,
            vgg=vgg,
            seconds_at_peak=seconds_at_peak(config, mesh),
            panel=draw_panel,
            evaluate=_evaluation(config, feed, mesh),
            stop_requested=stop.reached,
        )
    finally:
        checkpoints.close()
    if int(state.step) < config.train.num_steps:
        logging.info("the same command resumes from step %d", int(state.step))
        sys.exit(128 + stop.signal)
    if jax.process_index() == 0:
        print(
            f"trained {workdir} to step {int(state.step)}\n"
            f"Next: python main.py --mode=eval --workdir={workdir}"
        )


def _evaluation(
    config: ConfigDict, feed: Feed, mesh: Mesh
) -> Callable[[TrainState], Mapping[str, float]] | None:
    """Returns a function that evaluates a state on the validation split, or None without one.

    It is also None if `config.eval.every` turns evaluation off.
    """
    if not config.eval.every:
        return None
    if feed.validation() is None:
        logging.warning("no evaluation in training: %s has no validation split", config.data.name)
        return None
    evaluator = make_evaluator(config, feed, mesh, "validation")
    return lambda state: evaluator.evaluate(state.eval_variables(), int(state.step)).scalars()
