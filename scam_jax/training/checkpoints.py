"""Checkpoints of the training state, stored by Orbax."""

import pathlib

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from absl import logging

from scam_jax.training.state import TrainState, of_side


class CheckpointError(RuntimeError):
    """There are checkpoints, but none can be read."""


class _Manager(ocp.CheckpointManager):
    def reached_preemption(self, step: int) -> bool:
        """Returns False, because `processes.StopRequest` handles preemption.

        Orbax would ask JAX from the saving thread, about a past step, and several processes could
        agree to stop at a step that never comes.
        """
        return False


class Checkpoints:
    """Saves states to `directory/STEP` in the background, and restores the newest readable one."""

    def __init__(self, directory: pathlib.Path, keep: int = 2):
        """Creates the directory if it is missing.

        Args:
          directory: folder of the checkpoints.
          keep: number of newest checkpoints to keep; older ones are deleted.
        """
        self.directory = directory.absolute()
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, create=True)
        self._manager = _Manager(self.directory, options=options)

    def save(self, state: TrainState) -> None:
        """Starts saving in the background. The caller may donate the state afterwards."""
        # On CPU the saving thread would otherwise read the buffers that the next step overwrites.
        state = jax.tree.map(jnp.copy, state)
        self._manager.save(int(state.step), args=ocp.args.PyTreeSave(state), force=True)

    def restore(
        self, shapes: TrainState, sharding: jax.sharding.Sharding | None = None
    ) -> TrainState | None:
        """Restores the newest checkpoint that can be read.

        Args:
          shapes: shapes and types of the state, see `state.abstract`.
          sharding: sharding of every array; by default, this process's first device.

        Returns:
          The state, or None if there are no checkpoints.

        Raises:
          CheckpointError: there are checkpoints, but none can be read.
        """
        if sharding is None:
            sharding = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        target = jax.tree.map(
            lambda x: (
                x
                if x is ocp.PLACEHOLDER
                else jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)
            ),
            shapes,
        )
        restore = ocp.args.PyTreeRestore(
            item=target, restore_args=ocp.checkpoint_utils.construct_restore_args(target)
        )
        failures = []
        for step in sorted(self._steps(), reverse=True):
            try:
                return self._manager.restore(step, args=restore)
            except Exception as error:  # Damaged files raise many types of exception.
                failures.append(f"{self.directory / str(step)}: {_first_line(error)}")
                logging.warning("checkpoint %s cannot be read, trying an older one", failures[-1])
        if failures:
            raise CheckpointError(
                "no checkpoint can be read; move them away to start afresh, or use the config that "
                "they were made with:\n  " + "\n  ".join(failures)
            )
        return None

    def restore_trained(self, shapes: TrainState) -> TrainState | None:
        """Restores only the arrays that `TrainState.eval_variables` needs.

        Optimizer states and the discriminator are not read, nor are the parameters that have an
        average. Their place in the state holds `...`.

        Args:
          shapes: shapes and types of the state, see `state.abstract`.

        Returns:
          The state, or None if there are no checkpoints.

        Raises:
          CheckpointError: there are checkpoints, but none can be read.
        """
        left_out = jax.tree.map(lambda x: ocp.PLACEHOLDER, shapes)
        params = left_out.params if shapes.ema is not None else of_side(shapes.params, "generator")
        needed = left_out.replace(
            step=shapes.step,
            params={**left_out.params, **params},
            extra={**left_out.extra, **of_side(shapes.extra, "generator")},
            ema=shapes.ema,
        )
        return self.restore(needed)

    def _steps(self) -> list[int]:
        folders = [f for f in self.directory.iterdir() if f.name.isdigit() and f.is_dir()]
        return [int(f.name) for f in folders if any(f.iterdir())]

    def wait(self) -> None:
        """Waits until the last state is saved."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits until the last state is saved, and releases Orbax's resources."""
        self._manager.wait_until_finished()
        self._manager.close()


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}"
