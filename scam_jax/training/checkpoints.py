"""Checkpoints of the training state, stored by Orbax with a checksum of every array.

A checkpoint counts as sound if it can be read and every array has the checksum it was saved with.
"""

import contextlib
import errno
import functools
import itertools
import re
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import orbax.checkpoint as ocp
from absl import logging
from etils import epath

from scam_jax import buckets
from scam_jax.devices import agreement, sharding
from scam_jax.training.checksums import checksums
from scam_jax.training.committed import committed_steps
from scam_jax.training.state import MadeWith, Shapes, TrainState, of_side

# Orbax's name for the only item of a checkpoint.
_ITEM = "default"
# Too many open files, too little memory, or a file share that is away.
_OF_SYSTEM = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE, errno.EHOSTDOWN)
# The same in the words of TensorStore and JAX.
_STATUS_OF_SYSTEM = re.compile("RESOURCE_EXHAUSTED|UNAVAILABLE|DEADLINE_EXCEEDED")
_CHECKSUMS, _FIGURES, _MADE_WITH = "checksums", "figures", "made_with"


class CheckpointError(RuntimeError):
    """There are checkpoints, but none can be read; or one could not be saved."""


class _Damaged(Exception):
    """An array differs from the one that was saved."""


class _Manager(ocp.CheckpointManager):
    def reached_preemption(self, step: int) -> bool:
        """Returns False, because `processes.StopRequest` handles preemption.

        Orbax would ask JAX from the saving thread, about a past step, and several processes could
        agree to stop at a step that never comes.
        """
        return False


class Checkpoints:
    """Saves states to `directory/STEP` in the background, and restores the newest sound one."""

    def __init__(self, directory: epath.Path, keep: int = 2, made_with: MadeWith | None = None):
        """Neither reads nor writes anything yet.

        Args:
          directory: folder of the checkpoints, created by the first `save`.
          keep: number of newest checkpoints to keep; older ones are deleted.
          made_with: what the states to save are made with, see `state.made_with`.
        """
        self.directory = buckets.absolute(directory)
        self._keep = keep
        self._own = {_MADE_WITH: made_with or {}}
        self._handler = ocp.PyTreeCheckpointHandler()

    @functools.cached_property
    def _manager(self) -> _Manager:
        # Orbax judges the whole folder by its newest entry, so it must not see a damaged one.
        options = ocp.CheckpointManagerOptions(max_to_keep=self._keep, create=True)
        return _Manager(self.directory, options=options)

    def steps(self) -> list[int]:
        """Returns the steps of all whole checkpoints, sound or not, from the newest on."""
        return committed_steps(self.directory)

    def save(self, state: TrainState, figures: Mapping[str, float] | None = None) -> None:
        """Starts saving in the background. The caller may donate the state afterwards.

        Args:
          state: the state, replicated over all devices.
          figures: figures of the state to keep with it, see `figures`.
        """
        # On CPU the saving thread would otherwise read the buffers that the next step overwrites.
        state = sharding.copied(state)
        metadata = {_CHECKSUMS: checksums(state), _FIGURES: dict(figures or {}), **self._own}
        args = ocp.args.PyTreeSave(state, custom_metadata=metadata)
        self.wait()
        with self._explained():
            self._manager.save(int(state.step), args=args, force=True)

    def figures(self, step: int) -> dict[str, float]:
        """Returns the figures that were saved with a checkpoint; empty if it is damaged."""
        try:
            return self._metadata(step)[_FIGURES]
        except Exception as error:  # Damaged files raise many types of exception.
            if _is_of_system(error):
                raise
            logging.warning("%s", _fault(self.directory / str(step), error))
            return {}

    def _metadata(self, step: int) -> dict[str, Any]:
        return self._handler.metadata(self.directory / str(step) / _ITEM).custom_metadata

    def made_with(self, step: int) -> MadeWith:
        """Returns what the state of a sound checkpoint was made with; empty if it was not told."""
        return self._metadata(step)[_MADE_WITH]

    def resume(self, shapes: Shapes, where: jax.sharding.Sharding) -> TrainState | None:
        """Restores the newest sound checkpoint, and sets newer ones aside.

        A damaged checkpoint is renamed to `STEP.damaged`, so that training gets past its step.

        Args:
          shapes: maps what a state was made with to its shapes and types, see `state.shapes_of`.
          where: sharding of every array.

        Returns:
          The state, or None if there are no checkpoints.

        Raises:
          CheckpointError: there are checkpoints, but none can be read. None is renamed.
        """
        steps = agreement.of_first_process(self.steps())  # listed before any is renamed
        restored = self.restore(shapes, where)
        if restored is not None:
            for step in steps:
                if step > int(restored.step):
                    self.set_aside(step)
        return restored

    def set_aside(self, step: int) -> None:
        """Renames a checkpoint to `STEP.damaged`; every process must call this."""
        place = self.directory / str(step)
        if jax.process_index() == 0:
            names = (f"{step}.damaged{n}" for n in itertools.chain([""], itertools.count(2)))
            aside = next(p for p in map(place.with_name, names) if not p.exists())
            place.rename(aside)
            logging.warning("%s is renamed to %s: remove it to free its space", place, aside.name)
        sharding.wait_for_all(f"{place} set aside")

    def restore(
        self,
        shapes: Shapes,
        where: jax.sharding.Sharding | None = None,
        step: int | None = None,
    ) -> TrainState | None:
        """Restores the newest sound checkpoint; every process must call this.

        Args:
          shapes: maps what a state was made with to its shapes and types, see `state.shapes_of`.
          where: sharding of every array; by default, this process's first device.
          step: the step to restore, or None for the newest sound one.

        Returns:
          The state, or None if there are no checkpoints.

        Raises:
          CheckpointError: there are checkpoints, but none can be read, or none of this step.
        """
        steps = agreement.of_first_process(self.steps())
        if step is not None and step not in steps:
            known = ", ".join(map(str, steps)) or "none"
            raise CheckpointError(f"{self.directory} has no checkpoint of step {step}: {known}")
        failures = []
        for candidate in steps if step is None else [step]:
            try:
                restored, fault = self._read(candidate, shapes, where), ""
            except Exception as error:  # Damaged files raise many types of exception.
                if _is_of_system(error):
                    raise
                fault = _fault(self.directory / str(candidate), error)
            if agreement.everywhere(not fault):
                return restored
            failures.append(fault or f"{self.directory / str(candidate)}: damaged elsewhere")
            logging.warning("checkpoint %s cannot be read", failures[-1])
        if failures:
            raise CheckpointError(
                "no checkpoint can be read; move them away to start afresh, or use the config that "
                "they were made with:\n  " + "\n  ".join(failures)
            )
        return None

    def _read(self, step: int, shapes: Shapes, where: jax.sharding.Sharding | None) -> TrainState:
        metadata = self._metadata(step)
        place = where or jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        target = jax.tree.map(
            lambda x: (
                x
                if x is ocp.PLACEHOLDER
                else jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place)
            ),
            shapes(metadata[_MADE_WITH]),
        )
        arguments = ocp.args.PyTreeRestore(
            item=target, restore_args=ocp.checkpoint_utils.construct_restore_args(target)
        )
        saved = metadata[_CHECKSUMS]
        restored = self._handler.restore(self.directory / str(step) / _ITEM, args=arguments)
        for name, found in checksums(restored).items():
            if saved[name] != found:
                raise _Damaged(f"the array {name} is not the one that was saved")
        return restored

    def restore_trained(self, shapes: Shapes, step: int | None = None) -> TrainState | None:
        """Restores only the arrays that `TrainState.eval_variables` needs.

        Optimizer states and the discriminator are not read, nor are the parameters that have an
        average. Their place in the state holds `...`.

        Args:
          shapes: see `restore`.
          step: the step to restore, or None for the newest sound one.

        Returns:
          The state, or None if there are no checkpoints.

        Raises:
          CheckpointError: see `restore`.
        """
        return self.restore(lambda made_with: _trained(shapes(made_with)), step=step)

    def delete(self, step: int) -> None:
        """Deletes the checkpoint of a step."""
        self.wait()
        self._manager.delete(step)

    def keep_only(self, step: int) -> None:
        """Waits until `step` is saved, and deletes all other checkpoints."""
        self.wait()
        for other in self._manager.all_steps():
            if other != step:
                self._manager.delete(other)

    def wait(self) -> None:
        """Waits until the last state is saved.

        Raises:
          CheckpointError: it could not be saved, for example because the disk is full.
        """
        if "_manager" in self.__dict__:
            with self._explained():
                self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits until the last state is saved, and releases Orbax's resources."""
        if "_manager" in self.__dict__:
            self.wait()
            self._manager.close()

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Explains the errors of the threads that save."""
        try:
            yield
        except (OSError, ValueError) as error:
            raise CheckpointError(
                f"a checkpoint could not be saved in {self.directory} ({_reason(error)}): make "
                "room, or get the rights to write there; the same command then resumes from the "
                "checkpoint before"
            ) from error


def _is_of_system(error: Exception) -> bool:
    """Returns whether an error says nothing about the checkpoint that was read."""
    of_system = isinstance(error, MemoryError | PermissionError | ConnectionError | TimeoutError)
    return (
        of_system
        or getattr(error, "errno", None) in _OF_SYSTEM
        or bool(_STATUS_OF_SYSTEM.search(str(error)))
    )


def _trained(shapes: TrainState) -> TrainState:
    """Returns the shapes of what `eval_variables` needs; all others are left out."""
    left_out = jax.tree.map(lambda x: ocp.PLACEHOLDER, shapes)
    params = left_out.params if shapes.ema is not None else of_side(shapes.params, "generator")
    return left_out.replace(
        step=shapes.step,
        params={**left_out.params, **params},
        extra={**left_out.extra, **of_side(shapes.extra, "generator")},
        ema=shapes.ema,
    )


def _fault(place: epath.Path, error: Exception) -> str:
    return f"{place}: {type(error).__name__}: {_reason(error)}"


def _reason(error: Exception) -> str:
    """Returns what the system said of an error, or its first line."""
    if said := re.search(r"([^:]*) \[os_error_code=", str(error)):
        return said[1].strip()
    first_line = str(error).strip().splitlines()[0] if str(error).strip() else ""
    # TensorStore adds its whole specification.
    return re.split(r"\s*\[tensorstore_spec|\. See full TensorStore", first_line)[0]
