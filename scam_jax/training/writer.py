"""Writes a run's metrics and pictures: to TensorBoard, and scalars to metrics.jsonl as well."""

import json
from collections.abc import Mapping

import numpy as np
from etils import epath

from scam_jax.files import read_json_lines, write
from scam_jax.training.event_file import EventFile


class Writer:
    """Writes to `directory`. Only one process of a run has a writer.

    metrics.jsonl is identical for two runs with the same seed, because timings are written to
    TensorBoard only.
    """

    def __init__(self, directory: epath.Path, start_step: int = 0):
        """Opens the files, and removes what was written after `start_step`.

        Args:
          directory: the run's folder, created if needed.
          start_step: step that the run starts or resumes from.
        """
        self._file = directory / "metrics.jsonl"
        self._entries = []
        for place, entry in read_json_lines(self._file):
            if not isinstance(entry.get("step"), int):
                raise ValueError(f"{place}: it has no step: remove this line")
            if entry["step"] <= start_step:
                self._entries.append(entry)
        self._write()
        self._board = EventFile(directory / "tensorboard", first_step=start_step + 1)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Writes scalars to metrics.jsonl and TensorBoard."""
        self._entries.append({"step": step, **values})
        self._write()
        self.timings(step, values)

    def keys(self, step: int) -> set[str]:
        """Returns the names of the scalars that metrics.jsonl has of a step."""
        return {key for entry in self._entries if entry["step"] == step for key in entry}

    def timings(self, step: int, values: Mapping[str, float]) -> None:
        """Writes scalars to TensorBoard only."""
        for name, value in values.items():
            self._board.scalar(name, value, step)

    def picture(self, step: int, name: str, image: np.ndarray) -> None:
        """Writes a picture `uint8 [H, W, 3]` to TensorBoard."""
        self._board.picture(name, image, step)

    def close(self) -> None:
        """Closes the files."""
        self._board.close()

    def _write(self) -> None:
        write(self._file, "".join(f"{json.dumps(entry)}\n" for entry in self._entries))
