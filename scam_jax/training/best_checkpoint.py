"""The best checkpoint of a run by a figure of the validation split, kept beside the newest."""

from collections.abc import Mapping

from absl import logging

from scam_jax.devices import agreement
from scam_jax.training.checkpoints import Checkpoints
from scam_jax.training.state import TrainState


class BestCheckpoint:
    """Keeps the checkpoint with the best value of a figure."""

    def __init__(self, checkpoints: Checkpoints, figure: str, higher_is_better: bool):
        """Reads the best value so far, if there is one; every process must call this.

        Args:
          checkpoints: a folder of their own.
          figure: the figure's name.
          higher_is_better: whether a higher value is better.
        """
        self._checkpoints, self._figure = checkpoints, figure
        self._sign = 1 if higher_is_better else -1
        self.value: float | None = None
        sound = []
        for step in agreement.of_first_process(checkpoints.steps()):
            figures = checkpoints.figures(step)
            if not agreement.everywhere(bool(figures)):
                checkpoints.set_aside(step)
                continue
            sound.append(step)
            if self.value is None:
                self.value = figures.get(figure)
        if len(sound) > 1:  # A run was killed before it deleted the older one.
            checkpoints.keep_only(sound[0])

    def forget(self) -> None:
        """Sets aside what another run left: this one is new. Every process must call this."""
        for step in agreement.of_first_process(self._checkpoints.steps()):
            self._checkpoints.set_aside(step)
        self.value = None

    def offer(self, state: TrainState, figures: Mapping[str, float]) -> None:
        """Keeps a state instead of the best so far, if its figure is better."""
        value = figures.get(self._figure)
        if value is None:
            logging.warning("step %d has no %s: it is not kept", int(state.step), self._figure)
            return
        if self.value is not None and self._sign * (value - self.value) <= 0:
            return
        step = int(state.step)
        logging.info("step %d is the best so far: %s = %.4g", step, self._figure, value)
        if step in agreement.of_first_process(self._checkpoints.steps()):
            # The run went back to a step before, and has come here again.
            self._checkpoints.delete(step)
        self._checkpoints.save(state, figures)
        self._checkpoints.keep_only(step)
        self.value = value
