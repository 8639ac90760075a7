"""Where a run's numbers and pictures go: TensorBoard, and metrics.jsonl for scalars."""

import json
import pathlib
from collections.abc import Mapping

import numpy as np
import tensorboardX


class Writer:
    """Writes to `directory`, from one process of a run.

    metrics.jsonl holds nothing that differs between two runs of one seed: timings go to
    TensorBoard alone. On resuming, what was written after `start_step` is taken back.
    """

    def __init__(self, directory: pathlib.Path, start_step: int = 0):
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / "metrics.jsonl"
        kept = [line for line in _lines(path) if json.loads(line)["step"] <= start_step]
        path.write_text("".join(line + "\n" for line in kept))
        self._file = path.open("a")
        self._board = tensorboardX.SummaryWriter(
            str(directory / "tensorboard"), purge_step=start_step + 1
        )

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self._file.write(json.dumps({"step": step, **values}) + "\n")
        self._file.flush()
        self.timings(step, values)

    def timings(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._board.add_scalar(name, value, step)

    def picture(self, step: int, name: str, image: np.ndarray) -> None:
        """`uint8 [H, W, 3]`."""
        self._board.add_image(name, image, step, dataformats="HWC")

    def close(self) -> None:
        self._file.close()
        self._board.close()


def _lines(path: pathlib.Path) -> list[str]:
    """Whole lines of the file: a process killed while writing leaves half a line."""
    if not path.exists():
        return []
    text = path.read_text()
    return text[: text.rfind("\n") + 1].splitlines()
