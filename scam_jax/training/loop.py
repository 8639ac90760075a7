"""The training loop. Data, writers, checkpoints and devices are passed to it."""

import sys
from collections.abc import Callable, Mapping

import jax
import numpy as np
from absl import logging
from clu import parameter_overview
from etils import epath
from jax.sharding import Mesh
from ml_collections import ConfigDict
from tqdm import tqdm

from scam_jax import models
from scam_jax.devices import agreement, sharding
from scam_jax.examples import Batches
from scam_jax.training import state
from scam_jax.training.best_checkpoint import BestCheckpoint
from scam_jax.training.checkpoints import Checkpoints
from scam_jax.training.ledger import Ledger, told
from scam_jax.training.meter import Meter
from scam_jax.training.profiling import Profile
from scam_jax.training.state import TrainState
from scam_jax.training.step import CompileStep
from scam_jax.training.writer import Writer


def restore_or_create(
    config: ConfigDict,
    mesh: Mesh,
    checkpoints: Checkpoints,
    *,
    create: Callable[[ConfigDict, models.Networks], TrainState] = state.create,
) -> TrainState:
    """Returns the newest sound checkpoint, or a fresh state if there is no checkpoint.

    A checkpoint that was made with another optimizer or averaging is adapted.

    Args:
      config: the whole config.
      mesh: devices that hold the state, replicated.
      checkpoints: the run's checkpoints.
      create: makes the fresh state.

    Raises:
      CheckpointError: there are checkpoints, but none can be read.
    """
    networks = models.build(config)
    everywhere = sharding.replicated(mesh)
    restored = checkpoints.resume(state.shapes_of(config, networks), everywhere)
    if restored is not None:
        step = int(restored.step)
        logging.info("resuming from step %d (%s)", step, checkpoints.directory)
        if checkpoints.made_with(step) not in ({}, state.made_with(config)):
            restored = jax.device_put(state.adapted(config, restored), everywhere)
        return restored
    # From the host: arrays of one device do not go to those of other processes.
    fresh = jax.device_put(jax.device_get(create(config, networks)), everywhere)
    table = parameter_overview.get_parameter_overview(fresh.params, include_stats=False)
    logging.info("parameters:\n%s", table)
    return fresh


def train(
    config: ConfigDict,
    train_state: TrainState,
    *,
    mesh: Mesh,
    compile_step: CompileStep,
    batches_from: Callable[[int], Batches],
    checkpoints: Checkpoints,
    writer_from: Callable[[int], Writer | None],
    advice: str = "",
    seconds_at_peak: Callable[[int], float] | None = None,
    best: BestCheckpoint | None = None,
    ledger: Ledger | None = None,
    record: Callable[[int, Mapping[str, float]], None] = lambda step, seconds: None,
    profile_folder: epath.Path | None = None,
    panel: Callable[[TrainState], np.ndarray] | None = None,
    evaluate: Callable[[TrainState], Mapping[str, float]] | None = None,
    stop_requested: Callable[[int], bool] = lambda step: False,
) -> TrainState:
    """Trains until `config.train.num_steps` or until asked to stop, and saves the last state.

    Args:
      config: the whole config, validated.
      train_state: the state to start from, see `restore_or_create`.
      mesh: devices to train on.
      compile_step: maps state and batch to the compiled step, see `step_compiler`.
      batches_from: maps a step to this host's batches from that step on. The loop closes them.
      checkpoints: where to save to.
      best: keeps the state with the best figure of `evaluate`, or None.
      ledger: counts where the time goes, from its making on.
      record: called with each saved step, and the seconds by part up to then.
      profile_folder: where a trace of the steps of `config.train.profile` goes.
      writer_from: maps the step that the run starts or resumes from to a writer, or to None on all
        hosts but one.
      advice: flags with which a run can go on whose metrics are not finite.
      seconds_at_peak: maps a step to its seconds at the peak of all devices; None if unknown.
      panel: maps a state to a picture `uint8 [H, W, 3]` of its results.
      evaluate: maps a state to figures by name, 'eval/…'. All hosts call it every
        `config.eval.every` steps, and at the start if the run before was ended in its midst.
      stop_requested: called with the step after each step; if it returns True, the loop saves the
        state and returns.

    Returns:
      The last state.

    Raises:
      TrainingDiverged: a metric is not finite. No state is saved after that step.
      CheckpointError: a state could not be saved.
    """
    start, end = int(train_state.step), config.train.num_steps
    ledger = ledger or Ledger()
    writer = writer_from(start)
    if evaluate and start and start % config.eval.every == 0 and _is_to_evaluate(start, writer):
        logging.info("step %d: evaluating, which the run before did not finish", start)
        with ledger.part("evaluation"):
            _evaluate(start, train_state, evaluate, best, writer)
    if start >= end:
        logging.info("step %d of %d: nothing left to train", start, end)
        if writer:
            writer.close()
        return train_state
    batches = batches_from(start)
    loop = Meter(config, mesh, batches, writer, checkpoints, ledger, start, seconds_at_peak, advice)
    batch = loop.next_batch()
    ledger.end_start()
    with ledger.part("compile"):
        step_fn = compile_step(train_state, batch)
    progress = _progress(start, end)
    profile = Profile(config.train.profile, profile_folder)
    try:
        for step in range(start + 1, end + 1):
            profile.before(step)
            # Nothing may cross to the devices or back that this loop does not send.
            with jax.transfer_guard("disallow"):
                train_state, metrics = step_fn(train_state, batch)
            profile.after(step, metrics)
            loop.pending.append((step, metrics))
            stopping = step == end or stop_requested(step)
            if not stopping:
                batch = loop.next_batch()
            loop.bound_steps_in_flight(train_state, batch)
            progress.update()
            loop.report(step, stopping, progress)
            # Saved first: nothing is lost if drawing or evaluating fails.
            if step % config.train.checkpoint_every == 0 or stopping:
                with loop.not_timed("checkpoint", train_state):
                    checkpoints.save(train_state)
                    record(step, ledger.seconds())
            if writer and panel and (step % config.train.panel_every == 0 or stopping):
                with loop.not_timed("panel", train_state):
                    writer.picture(step, "panel", panel(train_state))
            if evaluate and step % config.eval.every == 0:
                with loop.not_timed("evaluation", train_state):
                    _evaluate(step, train_state, evaluate, best, writer)
            if stopping:
                break
    finally:
        progress.close()
        profile.close()
        batches.close()
        if writer:
            writer.close()
        checkpoints.wait()
    record(int(train_state.step), ledger.seconds())
    logging.info("this took %s", told(ledger.seconds()))
    if int(train_state.step) < end:
        logging.info("stopped and saved at step %d of %d", int(train_state.step), end)
    return train_state


def _evaluate(
    step: int,
    train_state: TrainState,
    evaluate: Callable[[TrainState], Mapping[str, float]],
    best: BestCheckpoint | None,
    writer: Writer | None,
) -> None:
    figures = evaluate(train_state)
    if best:
        best.offer(train_state, figures)
    if writer:  # Written last: it says that all of this is done.
        writer.scalars(step, figures)


def _is_to_evaluate(step: int, writer: Writer | None) -> bool:
    """Returns whether a run ended between saving a step and writing its evaluation."""
    is_to = writer is not None and not any(key.startswith("eval/") for key in writer.keys(step))
    return bool(agreement.of_first_process([is_to])[0])


def _progress(start: int, end: int) -> tqdm:
    """Returns a progress bar. It is disabled without a terminal; `report` then logs its text."""
    return tqdm(
        total=end,
        initial=start,
        unit="step",
        mininterval=1,
        smoothing=0.05,
        disable=not sys.stderr.isatty(),
    )
