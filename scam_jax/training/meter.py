"""Reads what training steps report: bounds how far they run ahead, checks, times and logs them."""

import concurrent.futures
import contextlib
import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from absl import logging
from tqdm import tqdm

from scam_jax.devices import memory, sharding
from scam_jax.training.state import TrainState

# Metrics in the progress bar, those that the step has.
SHOWN = ("l1", "generator", "discriminator", "cross_entropy", "accuracy")
# Name in the log, key in TensorBoard, and format.
_SPEED = {
    "images/s": ("images_per_second", ".1f"),
    "waiting for data": ("share_waiting_for_data", ".1%"),
    "of peak FLOPs": ("model_flops_utilization", ".1%"),
}
# Steps dispatched ahead: enough to hide the host's work, few enough to bound memory. On CPUs, a
# waiting step would take threads from the one that runs.
_IN_FLIGHT, _IN_FLIGHT_ON_CPUS = 2, 0


class TrainingDiverged(RuntimeError):
    """A metric is not finite. The message names the metric, its step and the checkpoints."""


class Meter:
    """What a loop keeps between steps besides the state: batches, unread metrics and timings."""

    def __init__(
        self, config, mesh, batches, writer, checkpoints, ledger, start, seconds_at_peak, advice
    ):
        self.ledger = ledger
        self.config, self.mesh, self.batches = config, mesh, batches
        on_cpus = mesh.devices.flat[0].platform == "cpu"
        self.in_flight = _IN_FLIGHT_ON_CPUS if on_cpus else _IN_FLIGHT
        self.writer, self.checkpoints = writer, checkpoints
        self.watch = concurrent.futures.ThreadPoolExecutor(1)
        self.pending: list[tuple[int, dict[str, jax.Array]]] = []
        self.first_step = start + 1
        self.since, self.waited, self.step_at_since = 0.0, 0.0, start
        self.seconds_at_peak, self.advice = seconds_at_peak, advice

    def next_batch(self) -> dict[str, jax.Array]:
        unread: list[Any] = [value for _, metrics in self.pending for value in metrics.values()]
        begun = time.perf_counter()
        if all(value.is_ready() for value in unread):
            ran_dry = None
        else:
            ran_dry = self.watch.submit(_when_ready, unread)
        batch = sharding.to_global(next(self.batches), self.mesh)
        # Reading costs no time while a step is still running.
        if ran_dry is None or ran_dry.done():
            waited = time.perf_counter() - (begun if ran_dry is None else ran_dry.result())
            self.waited += waited
            if unread:
                self.ledger.add("data", waited)
        return batch

    def bound_steps_in_flight(self, train_state: TrainState, batch: dict[str, jax.Array]) -> None:
        if not self.in_flight:
            # JAX runs a program on the calling thread only if its inputs are ready (host_memory).
            jax.block_until_ready((train_state, batch))
        elif len(self.pending) > self.in_flight:
            jax.block_until_ready(self.pending[-1 - self.in_flight][1])

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
                name: f"{timings[f'time/{key}']:{form}}"
                for name, (key, form) in _SPEED.items()
                if f"time/{key}" in timings
            }
            progress.set_postfix({**speed, **shown})
            if progress.disable:
                report = ", ".join(f"{name} {value}" for name, value in {**shown, **speed}.items())
                logging.info("step %d of %d: %s", step, train.num_steps, report)
            if self.writer:
                self.writer.scalars(step, values)
                self.writer.timings(step, timings)

    @contextlib.contextmanager
    def not_timed(self, part: str, train_state: TrainState) -> Iterator[None]:
        """Counts the time of a block as a part, and not in the training speed."""
        jax.block_until_ready(train_state.step)
        begun = time.perf_counter()
        with self.ledger.part(part):
            yield
        self.since += time.perf_counter() - begun

    def _check(self) -> dict[str, float]:
        """Returns the last step's metrics; raises if a metric of any unread step is not finite.

        R1 is 0 at most steps. The last one before each log step is written as that of its own step,
        so that a run that was stopped in between writes the same.
        """
        values: dict[str, float] = {}
        for step, metrics in self.pending:
            values = {name: float(value) for name, value in jax.device_get(metrics).items()}
            wrong = [name for name, value in values.items() if not np.isfinite(value)]
            if wrong:
                raise TrainingDiverged(
                    f"metric '{wrong[0]}' is {values[wrong[0]]} at step {step}: training stopped "
                    f"without saving this state. {self._way_out()}"
                )
            penalty = values.pop("r1", 0.0)
            steps_to_log = -step % self.config.train.log_every
            if penalty and self.writer and steps_to_log < self.config.losses.lazy_r1_step:
                self.writer.scalars(step, {"r1": penalty})
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
        timings = {}
        if count:  # The first step is not timed.
            images = count * self.config.train.batch_size
            timings["time/images_per_second"] = images / seconds
            timings["time/share_waiting_for_data"] = min(self.waited / seconds, 1.0)
        seconds_by_part = self.ledger.seconds()
        timings |= {f"time/seconds_{name}": part for name, part in seconds_by_part.items()}
        if (fullest := memory.peak_gigabytes()) is not None:
            timings["memory/peak_gigabytes_of_fullest_device"] = fullest
        if count and self.seconds_at_peak is not None:
            timings["time/model_flops_utilization"] = count * self.seconds_at_peak(step) / seconds
        self.since, self.waited, self.step_at_since = now, 0.0, step
        return timings


def _when_ready(unread: list[Any]) -> float:
    """Waits for arrays; returns when the last one was computed."""
    jax.block_until_ready(unread)
    return time.perf_counter()
