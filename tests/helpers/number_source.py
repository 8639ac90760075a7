"""A source of numbers, and the child processes that read it."""

import pathlib

import numpy as np


class Numbers:
    """Examples that are their own position; reading `broken` fails."""

    def __init__(self, count: int, broken: int | None = None):
        self.count, self.broken = count, broken

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        if index == self.broken:
            raise ValueError(f"cannot read file{index}.png: replace it")
        return {
            "image": np.full((2, 3, 3), index, np.uint8),
            "label": np.full((2, 3), index, np.uint8),
        }


def children(process: int) -> list[str]:
    tasks = pathlib.Path(f"/proc/{process}/task").glob("*/children")
    return [child for task in tasks for child in task.read_text().split()]
