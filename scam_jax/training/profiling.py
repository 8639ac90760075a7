"""A trace of some steps for XProf, as `config.train.profile` asks for it."""

import pathlib
import re
import tempfile
from typing import Any

import jax
from absl import logging
from etils import epath

from scam_jax import buckets

_FORM = re.compile(r"([1-9]\d*):([1-9]\d*)")


def parse(value: str) -> tuple[int, int] | None:
    """Parses START:COUNT, the first step of the trace and the number of its steps.

    Returns:
      Both numbers, or None if the value is empty or wrong.
    """
    match = _FORM.fullmatch(value)
    return (int(match[1]), int(match[2])) if match else None


class Profile:
    """Writes a trace of the steps that a config names. Every process writes what it sees."""

    def __init__(self, value: str, folder: epath.Path | None):
        """Sets which steps to trace.

        Args:
          value: `config.train.profile`.
          folder: where the trace goes, or None for no trace.
        """
        self._steps = parse(value) if folder else None
        self._folder = folder
        self._here: tempfile.TemporaryDirectory | None = None
        self._is_on = False

    def before(self, step: int) -> None:
        """Begins the trace if `step` is its first one."""
        if self._steps and step == self._steps[0]:
            options = jax.profiler.ProfileOptions()
            # Tracing Python too can crash a process that has other threads, as Orbax's.
            options.python_tracer_level = 0
            # JAX itself cannot write to a bucket.
            if self._folder and buckets.is_in_bucket(self._folder):
                self._here = tempfile.TemporaryDirectory()
            place = self._here.name if self._here else str(self._folder)
            jax.profiler.start_trace(place, profiler_options=options)
            self._is_on = True

    def after(self, step: int, result: Any) -> None:
        """Ends the trace if `step` is its last one, once its result is there."""
        if self._is_on and self._steps and step == sum(self._steps) - 1:
            jax.block_until_ready(result)
            self.close()

    def close(self) -> None:
        """Ends the trace if it goes on."""
        if self._is_on:
            self._is_on = False
            jax.profiler.stop_trace()
            if self._here and self._folder:
                with self._here as here:
                    buckets.send(pathlib.Path(here), self._folder)
            logging.info("wrote a trace to %s: look at it with xprof", self._folder)
