"""Trains a parser on a run's data, and judges it: `python main.py --mode=parser --workdir=RUN`.

The parser is a run of its own in RUN/parser, with config, checkpoints and metrics.
"""

import functools
import math
import sys
from collections.abc import Callable, Mapping

import jax
import numpy as np
from absl import logging
from etils import epath
from jax.sharding import Mesh
from ml_collections import ConfigDict

from scam_jax import images
from scam_jax.commands import start
from scam_jax.commands.feed import Feed, OpenFeed
from scam_jax.devices import processes, sharding
from scam_jax.evaluation.data import EvaluationData
from scam_jax.evaluation.iou import ParserEvaluator
from scam_jax.examples import Picture
from scam_jax.files import check_room, check_writable
from scam_jax.inference import release
from scam_jax.inference.parsing import PhotoParser
from scam_jax.models import parser
from scam_jax.runs import changes, run_folder
from scam_jax.training import loop, parser_step
from scam_jax.training.checkpoints import Checkpoints
from scam_jax.training.ledger import Ledger
from scam_jax.training.parser_step import PARSER
from scam_jax.training.state import TrainState

PANEL_IMAGES = 6


def train(
    config: ConfigDict,
    workdir: epath.Path,
    open_feed: OpenFeed,
    stop: processes.StopRequest,
    accept_changes: bool = False,
) -> None:
    """Trains a run's parser from its newest sound checkpoint on, and writes its figures.

    Args:
      config: the run's config, validated.
      workdir: the run's folder.
      open_feed: opens the run's data.
      stop: tells when to save and stop. The process then exits with the signal's status.
      accept_changes: whether it may go on with another config, see `runs/changes.py`.

    Raises:
      FileNotFoundError, ValueError, TrainingDiverged, CheckpointError: as for training a model.
    """
    if release.is_release(workdir):
        raise ValueError(f"--workdir={workdir} is a release: give the run that it was made of")
    if config.parser.batch_size % jax.device_count():
        raise ValueError(
            f"config.parser.batch_size = {config.parser.batch_size}: must be a multiple of the "
            f"number of devices, {jax.device_count()}"
        )
    folder = workdir / run_folder.PARSER
    if jax.process_index() == 0:
        check_writable("--workdir", folder)
    with start.only_trainer(folder):
        config = parser_step.parser_config(config)
        feed = open_feed(config, workdir)
        trained = _train(config, folder, feed, stop, accept_changes)
        for split in ("validation", "test"):
            _judge(config, folder, feed, split, trained)


def _train(
    config: ConfigDict,
    folder: epath.Path,
    feed: Feed,
    stop: processes.StopRequest,
    accept_changes: bool,
) -> TrainState:
    ledger = Ledger()
    run_folder.check_files(folder)
    changed = changes.check_changes(config, folder, accept_changes)
    changed |= changes.check_data(feed.training_data, folder, accept_changes)
    checkpoints = Checkpoints(folder / run_folder.CHECKPOINTS, config.train.keep_checkpoints)
    shapes, mesh = parser_step.abstract(config), sharding.make_mesh()
    size = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(shapes))
    count = config.train.keep_checkpoints + 1
    if jax.process_index() == 0:
        check_room(f"{count} checkpoints", folder, count * size)
    people = [Picture.of(example) for example in feed.examples_to_show(PANEL_IMAGES)]
    everywhere = sharding.replicated(mesh)
    try:
        state = checkpoints.resume(parser_step.shapes_of(config), everywhere)
        if state is None:
            state = jax.device_put(parser_step.create(config), everywhere)
        else:
            logging.info("resuming from step %d (%s)", int(state.step), checkpoints.directory)
        start.record(config, folder, feed, ledger.began, int(state.step), changed)
        with stop:
            state = loop.train(
                config,
                state,
                mesh=mesh,
                compile_step=parser_step.step_compiler(config, mesh),
                batches_from=feed.train_batches,
                checkpoints=checkpoints,
                writer_from=functools.partial(start.writer, folder),
                ledger=ledger,
                record=functools.partial(start.record_progress, folder),
                advice=f"--config.parser.learning_rate={config.parser.learning_rate / 2:g}",
                panel=lambda state: _panel(config, state, people),
                evaluate=_figures(config, feed, mesh),
                stop_requested=stop.reached,
            )
    finally:
        checkpoints.close()
    if int(state.step) < config.train.num_steps:
        logging.info("the same command resumes from step %d", int(state.step))
        sys.exit(128 + stop.signal)
    return state


def _figures(
    config: ConfigDict, feed: Feed, mesh: Mesh
) -> Callable[[TrainState], Mapping[str, float]] | None:
    """Returns what computes figures in training, or None without a validation split."""
    if not config.eval.every or feed.validation() is None:
        return None
    evaluator = _evaluator(config, feed, mesh, "validation")
    return lambda state: evaluator.evaluate(state.params[PARSER], int(state.step)).scalars()


def _evaluator(config: ConfigDict, feed: Feed, mesh: Mesh, split: str) -> ParserEvaluator:
    batch_size = math.ceil(config.train.batch_size / mesh.size) * mesh.size
    data = EvaluationData(
        name=config.data.name,
        split=split,
        source=feed.split(split),
        real={},
        label_names=feed.label_names,
        transfers=None,
        batches=lambda source: feed.eval_batches(source, batch_size),
    )
    return ParserEvaluator(parser.build(config), mesh, data)


def _judge(
    config: ConfigDict, folder: epath.Path, feed: Feed, split: str, trained: TrainState
) -> None:
    """Prints and writes the figures of a split, if it has images."""
    try:
        evaluator = _evaluator(config, feed, sharding.make_mesh(), split)
    except ValueError as error:
        logging.warning("no figures: %s", error)
        return
    evaluation = evaluator.evaluate(trained.params[PARSER], int(trained.step))
    if jax.process_index() == 0:
        print(f"On the {split} split of {config.data.name}:\n\n{evaluation.markdown()}")
        evaluation.save(run_folder.evaluation(folder, split))


def _panel(config: ConfigDict, state: TrainState, people: list[Picture]) -> np.ndarray:
    """Draws one row per picture: the image, its labels, and those of the parser."""
    photo_parser = PhotoParser(config, jax.device_get(state.params[PARSER]))
    num_labels = config.data.num_labels
    return images.grid(
        [
            [
                person.image,
                images.colorize(person.labels, num_labels),
                images.colorize(photo_parser(person.image).labels, num_labels),
            ]
            for person in people
        ]
    )
