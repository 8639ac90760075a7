"""Trains a model: `python main.py --config=configs/NAME.py`."""

import functools
import math
import pathlib
import sys
from collections.abc import Callable, Mapping

import jax
from absl import logging
from etils import epath
from jax.sharding import Mesh
from ml_collections import ConfigDict

from scam_jax import console, models
from scam_jax.commands import start
from scam_jax.commands.evaluate import make_evaluator
from scam_jax.commands.feed import Feed, OpenFeed
from scam_jax.cost.utilization import seconds_at_peak
from scam_jax.devices import processes, sharding
from scam_jax.evaluation.evaluator import Evaluator
from scam_jax.evaluation.missing import missing_figures
from scam_jax.evaluation.results import OURS
from scam_jax.examples import Picture
from scam_jax.files import check_room, check_writable
from scam_jax.inference import panels, release
from scam_jax.inference.model import TrainedModel
from scam_jax.runs import changes, run_folder, validation
from scam_jax.training import loop, state
from scam_jax.training.best_checkpoint import BestCheckpoint
from scam_jax.training.checkpoints import Checkpoints
from scam_jax.training.ledger import Ledger
from scam_jax.training.loss_weights import is_used
from scam_jax.training.state import TrainState
from scam_jax.training.step import step_compiler
from scam_jax.weights import pretrained, transplant

PANEL_IMAGES = 6


def train(
    config: ConfigDict,
    workdir: epath.Path,
    open_feed: OpenFeed,
    stop: processes.StopRequest,
    *,
    accept_changes: bool = False,
    init_from: epath.Path | None = None,
) -> None:
    """Trains a model, starting from the newest sound checkpoint in `workdir` if there is one.

    Args:
      config: the whole config, validated.
      workdir: the run's folder.
      open_feed: opens the run's data.
      stop: tells when to save and stop. The process then exits with the signal's status.
      accept_changes: whether a run may go on with another config, see `runs/changes.py`.
      init_from: a run whose weights a new run starts from, see `weights/transplant.py`.

    Raises:
      FileNotFoundError: weights of the perceptual loss, or files of the data set, are missing.
      ValueError: the folder is a release; another process trains the run; it would go on with
        changes that are not accepted; something could not be written; or the data set is invalid.
      TrainingDiverged: see `loop.train`.
      CheckpointError: there are checkpoints, but none can be read.
    """
    if release.is_release(workdir):
        raise ValueError(f"--workdir={workdir} is a release, which is not trained: give another")
    if jax.process_index() == 0:
        check_writable("--workdir", workdir)
    with start.only_trainer(workdir):
        _train(config, workdir, open_feed, stop, accept_changes, init_from)


def _train(
    config: ConfigDict,
    workdir: epath.Path,
    open_feed: OpenFeed,
    stop: processes.StopRequest,
    accept_changes: bool,
    init_from: epath.Path | None,
) -> None:
    ledger = Ledger()
    run_folder.check_files(workdir)
    changed = changes.check_changes(config, workdir, accept_changes)
    checkpoints = Checkpoints(
        workdir / run_folder.CHECKPOINTS, config.train.keep_checkpoints, state.made_with(config)
    )
    _check_places(config, workdir, checkpoints)
    vgg = None
    if is_used(config, "perceptual"):
        vgg = pretrained.load("vgg19", pathlib.Path(config.weights_directory)).params
    feed = open_feed(config, workdir)
    changed |= changes.check_data(feed.training_data, workdir, accept_changes)
    people = [Picture.of(example) for example in feed.examples_to_show(PANEL_IMAGES + 1)]

    def draw_panel(train_state: TrainState):
        model = TrainedModel(config, jax.device_get(train_state.eval_variables()))
        return panels.panel(model, people)

    mesh = sharding.make_mesh()
    evaluator = _evaluator(config, feed, mesh)
    best = _best(config, workdir, evaluator)
    logging.info("training on %d images in %s", feed.num_training_examples, workdir)
    try:
        create = state.create
        if init_from is not None:
            create = functools.partial(
                transplant.initial_state, source=init_from, names=feed.label_names
            )
        train_state = loop.restore_or_create(config, mesh, checkpoints, create=create)
        if best is not None and (int(train_state.step) == 0 or changes.TRAINING_DATA in changed):
            best.forget()  # its figure is that of other photos
        start.record(config, workdir, feed, ledger.began, int(train_state.step), changed)
        with stop:
            train_state = loop.train(
                config,
                train_state,
                mesh=mesh,
                batches_from=feed.train_batches,
                checkpoints=checkpoints,
                writer_from=functools.partial(start.writer, workdir),
                compile_step=step_compiler(config, mesh, vgg),
                advice=_advice(config),
                seconds_at_peak=seconds_at_peak(config, mesh),
                best=best,
                ledger=ledger,
                record=functools.partial(start.record_progress, workdir),
                profile_folder=workdir / run_folder.PROFILE,
                panel=draw_panel,
                evaluate=_figures_by(evaluator),
                stop_requested=stop.reached,
            )
    finally:
        checkpoints.close()
    step = int(train_state.step)
    if step < config.train.num_steps:
        logging.info("the same command resumes from step %d", step)
        sys.exit(128 + stop.signal)
    if jax.process_index() == 0:
        print(
            f"trained {workdir} to step {step}\n"
            f"Next: python main.py --mode=eval --workdir={workdir}"
        )


def _advice(config: ConfigDict) -> str:
    half = config.optimizer.generator_learning_rate / 2
    advice = f"--config.optimizer.generator_learning_rate={half:g}"
    return advice + (" or --config.model.dtype=float32" if config.model.dtype != "float32" else "")


def _check_places(config: ConfigDict, workdir: epath.Path, checkpoints: Checkpoints) -> None:
    """Checks before training what training will write: folders, and room for the checkpoints."""
    if jax.process_index():
        return
    if config.eval.every:
        folder = console.path(config.eval.statistics_directory)
        check_writable("config.eval.statistics_directory", folder)
    shapes = state.abstract(config, models.build(config))
    size = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(shapes))
    steps, train = checkpoints.steps(), config.train
    left = math.ceil((train.num_steps - max(steps, default=0)) / train.checkpoint_every)
    # A new checkpoint is written before the oldest one is deleted.
    kept = train.keep_checkpoints + (2 if train.keep_best else 0)
    to_come = min(max(kept + 1 - len(steps), 1), max(left, 0))
    check_room(
        f"{to_come} checkpoints (config.train.keep_checkpoints = {train.keep_checkpoints})",
        workdir,
        to_come * size,
    )


def _evaluator(config: ConfigDict, feed: Feed, mesh: Mesh) -> Evaluator | None:
    """Returns the evaluator on the validation split, or None without one.

    It is also None if `config.eval.every` turns evaluation off.
    """
    if not config.eval.every:
        return None
    if feed.validation() is None:
        logging.warning("no evaluation in training: %s has no validation split", config.data.name)
        return None
    return make_evaluator(config, feed, mesh, "validation")


def _figures_by(
    evaluator: Evaluator | None,
) -> Callable[[TrainState], Mapping[str, float]] | None:
    if evaluator is None:
        return None
    return lambda s: evaluator.evaluate(s.eval_variables(), int(s.step)).scalars()


def _best(
    config: ConfigDict, workdir: epath.Path, evaluator: Evaluator | None
) -> BestCheckpoint | None:
    """Returns what keeps the best checkpoint, or None if `config.train.keep_best` is empty.

    Raises:
      ValueError: training does not compute the figure; says why.
    """
    key, name = f"config.train.keep_best = {config.train.keep_best!r}", config.train.keep_best
    if not name:
        return None
    if evaluator is None:
        raise ValueError(f"{key}: there is no evaluation in training; set it to '' or evaluate")
    metric, higher_is_better = validation.BEST_BY[name]
    for missing in missing_figures(evaluator.judges, evaluator.data):
        if (missing.metric, missing.protocol) == (metric, OURS):
            raise ValueError(f"{key}: it cannot be computed, {missing.reason}")
    checkpoints = Checkpoints(workdir / run_folder.BEST, made_with=state.made_with(config))
    return BestCheckpoint(checkpoints, f"eval/{OURS}/{metric}", higher_is_better)
