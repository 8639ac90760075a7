"""Checkpoints of a training state, by Orbax."""

import pathlib

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from absl import logging

from scam_jax.training.state import TrainState


class CheckpointError(RuntimeError):
    """There are checkpoints, and none can be read."""


class _Manager(ocp.CheckpointManager):
    def reached_preemption(self, step: int) -> bool:
        """Nothing that Orbax needs to know: it would ask JAX from the thread that saves, with a
        step gone by, and several processes might agree to stop at a step that never comes."""
        return False


class Checkpoints:
    """Saves states to `directory/STEP` in the background, restores the newest sound one."""

    def __init__(self, directory: pathlib.Path, keep: int = 2):
        self.directory = directory.absolute()
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, create=True)
        self._manager = _Manager(self.directory, options=options)

    def save(self, state: TrainState) -> None:
        """Starts to save; the state may be donated afterwards."""
        # on CPU the saving thread would read the very buffers that the next step writes
        state = jax.tree.map(jnp.copy, state)
        self._manager.save(int(state.step), args=ocp.args.StandardSave(state), force=True)

    def restore(self, like: TrainState) -> TrainState | None:
        """The newest checkpoint that can be read, or None if there is none at all.

        Args:
          like: a state, or its shapes, with the shardings to restore into.

        Raises:
          CheckpointError: there are checkpoints, and none can be read.
        """
        target = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        failures = []
        for step in sorted(self._steps(), reverse=True):
            try:
                return self._manager.restore(step, args=ocp.args.StandardRestore(target))
            except Exception as error:  # damage shows as many types of exception
                failures.append(f"{self.directory / str(step)}: {_first_line(error)}")
                logging.warning("checkpoint %s cannot be read, trying an older one", failures[-1])
        if failures:
            raise CheckpointError(
                "no checkpoint can be read; move them away to start anew, or use the config that "
                "they were made with:\n  " + "\n  ".join(failures)
            )
        return None

    def _steps(self) -> list[int]:
        folders = [f for f in self.directory.iterdir() if f.name.isdigit() and f.is_dir()]
        return [int(f.name) for f in folders if any(f.iterdir())]

    def wait(self) -> None:
        self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits for what is being saved."""
        self._manager.wait_until_finished()
        self._manager.close()


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}"
