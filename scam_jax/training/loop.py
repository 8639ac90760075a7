"""The training loop. Data, writers, checkpoints and devices are passed to it."""

import contextlib
import pathlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
from absl import logging
from clu import parameter_overview
from jax.sharding import Mesh
from ml_collections import ConfigDict
from tqdm import tqdm

from scam_jax import models
from scam_jax.devices import agreement, sharding
from scam_jax.examples import Batches
from scam_jax.training import state
from scam_jax.training.best_checkpoint import BestCheckpoint
from scam_jax.training.checkpoints import Checkpoints
from scam_jax.training.profiling import Profile
from scam_jax.training.state import TrainState
from scam_jax.training.step import CompileStep
from scam_jax.training.writer import Writer

# Metrics in the progress bar, those that the step has.
SHOWN = ("l1", "generator", "discriminator", "cross_entropy", "accuracy")
# Steps dispatched ahead: enough to hide the host's work, few enough to bound memory.
IN_FLIGHT = 2


class TrainingDiverged(RuntimeError):
    """A metric is not finite. The message names the metric, its step and the checkpoints."""


def restore_or_create(
    config: ConfigDict,
    mesh: Mesh,
    checkpoints: Checkpoints,
    *,
    saved_with: ConfigDict | None = None,
    create: Callable[[ConfigDict, models.Networks], TrainState] = state.create,
) -> TrainState:
    """Returns the newest sound checkpoint, or a fresh state if there is no checkpoint.

    Args:
      config: the whole config.
      mesh: devices that hold the state, replicated.
      checkpoints: the run's checkpoints.
      saved_with: the config of the checkpoints, if it differs from `config`.
      create: makes the fresh state.

    Raises:
      CheckpointError: there are checkpoints, but none can be read.
    """
    networks = models.build(config)
    everywhere = sharding.replicated(mesh)
    restored = checkpoints.resume(state.abstract(saved_with or config, networks), everywhere)
    if restored is not None:
        logging.info("resuming from step %d (%s)", int(restored.step), checkpoints.directory)
        if saved_with is not None:
            restored = jax.device_put(state.adapted(config, restored), everywhere)
        return restored
    fresh = jax.device_put(create(config, networks), everywhere)
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
    seconds_at_peak: float | None = None,
    best: BestCheckpoint | None = None,
    profile_folder: pathlib.Path | None = None,
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
      profile_folder: where a trace of the steps of `config.train.profile` goes.
      writer_from: maps the step that the run starts or resumes from to a writer, or to None on all
        hosts but one.
      advice: flags with which a run can go on whose metrics are not finite.
      seconds_at_peak: seconds per step at the peak of all devices, or None if unknown.
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
    writer = writer_from(start)
    if evaluate and start and start % config.eval.every == 0 and _is_to_evaluate(start, writer):
        logging.info("step %d: evaluating, which the run before did not finish", start)
        _evaluate(start, train_state, evaluate, best, writer)
    if start >= end:
        logging.info("step %d of %d: nothing left to train", start, end)
        if writer:
            writer.close()
        return train_state
    batches = batches_from(start)
    loop = _Loop(config, mesh, batches, writer, checkpoints, start, seconds_at_peak, advice)
    batch = loop.next_batch()
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
            loop.bound_steps_in_flight()
            progress.update()
            loop.report(step, stopping, progress)
            # Saved first: nothing is lost if drawing or evaluating fails.
            if step % config.train.checkpoint_every == 0 or stopping:
                checkpoints.save(train_state)
            if writer and panel and (step % config.train.panel_every == 0 or stopping):
                writer.picture(step, "panel", panel(train_state))
            if evaluate and step % config.eval.every == 0:
                with loop.not_timed(train_state):
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


class _Loop:
    """What the loop keeps between steps besides the state: batches, unread metrics and timings."""

    def __init__(self, config, mesh, batches, writer, checkpoints, start, seconds_at_peak, advice):
        self.config, self.mesh, self.batches = config, mesh, batches
        self.writer, self.checkpoints = writer, checkpoints
        self.pending: list[tuple[int, dict[str, jax.Array]]] = []
        self.first_step = start + 1
        self.since, self.waited, self.step_at_since = 0.0, 0.0, start
        self.seconds_at_peak, self.advice = seconds_at_peak, advice

    def next_batch(self) -> dict[str, jax.Array]:
        unread: list[Any] = [value for _, metrics in self.pending for value in metrics.values()]
        begun = time.perf_counter()
        batch = sharding.to_global(next(self.batches), self.mesh)
        # Reading costs no time while a step is still running.
        if all(value.is_ready() for value in unread):
            self.waited += time.perf_counter() - begun
        return batch

    def bound_steps_in_flight(self) -> None:
        if len(self.pending) > IN_FLIGHT:
            jax.block_until_ready(self.pending[-1 - IN_FLIGHT][1])

    def report(self, step: int, stopping: bool, progress: tqdm) -> None:
        """Checks the metrics at log steps and before checkpoints; writes them at log steps."""
        train = self.config.train
        if step == self.first_step:  # Its time is not typical.
            jax.block_until_ready(self.pending[-1][1])
            self.since, self.step_at_since, self.waited = time.perf_counter(), step, 0.0
        logs = step % train.log_every == 0 or step == train.num_steps
        if not (logs or stopping or step % train.checkpoint_every == 0):
            return
        values = self._check()
        if logs:
            timings = self._timings(step)
            shown = {name: f"{values[name]:.4f}" for name in SHOWN if name in values}
            speed = {
                "images/s": f"{timings['time/images_per_second']:.1f}",
                "waiting for data": f"{timings['time/share_waiting_for_data']:.1%}",
            }
            if "time/model_flops_utilization" in timings:
                speed["of peak FLOPs"] = f"{timings['time/model_flops_utilization']:.1%}"
            progress.set_postfix({**speed, **shown})
            if progress.disable:
                report = ", ".join(f"{name} {value}" for name, value in {**shown, **speed}.items())
                logging.info("step %d of %d: %s", step, train.num_steps, report)
            if self.writer:
                self.writer.scalars(step, values)
                self.writer.timings(step, timings)

    @contextlib.contextmanager
    def not_timed(self, train_state: TrainState) -> Iterator[None]:
        """Excludes the time of a block from the training speed."""
        jax.block_until_ready(train_state.step)
        begun = time.perf_counter()
        yield
        self.since += time.perf_counter() - begun

    def _check(self) -> dict[str, float]:
        """Returns the last step's metrics; raises if a metric of any unread step is not finite."""
        for step, metrics in self.pending:
            values = {name: float(value) for name, value in jax.device_get(metrics).items()}
            wrong = [name for name, value in values.items() if not np.isfinite(value)]
            if wrong:
                raise TrainingDiverged(
                    f"metric '{wrong[0]}' is {values[wrong[0]]} at step {step}: training stopped "
                    f"without saving this state. {self._way_out()}"
                )
        self.pending = []
        return values

    def _way_out(self) -> str:
        """Says from where the run can go on, and with which changes."""
        self.checkpoints.wait()
        steps = self.checkpoints.steps()
        if not steps:
            return (
                "There is no checkpoint yet: start again with another rate or compute type, for "
                f"example {self.advice}"
            )
        return (
            f"The checkpoint of step {steps[0]} is intact: go on from it by the same command with "
            f"--accept_changes and, for example, {self.advice}"
        )

    def _timings(self, step: int) -> dict[str, float]:
        now = time.perf_counter()
        seconds, count = max(now - self.since, 1e-9), step - self.step_at_since
        timings = {
            "time/images_per_second": count * self.config.train.batch_size / seconds,
            "time/share_waiting_for_data": min(self.waited / seconds, 1.0),
        }
        if self.seconds_at_peak is not None:
            timings["time/model_flops_utilization"] = count * self.seconds_at_peak / seconds
        self.since, self.waited, self.step_at_since = now, 0.0, step
        return timings
