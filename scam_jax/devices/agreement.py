"""What all processes must decide alike. Every process calls these functions."""

from collections.abc import Sequence

import jax
import numpy as np
from jax.experimental import multihost_utils


def everywhere(holds: bool) -> bool:
    """Returns whether `holds` is true in every process."""
    if jax.process_count() == 1:
        return holds
    return bool(multihost_utils.process_allgather(np.array(holds)).all())


def is_of_first_process(text: str) -> bool:
    """Returns whether a text is the one that process 0 has."""
    numbers = [*text.encode()]
    return of_first_process(numbers) == numbers


def of_first_process(numbers: Sequence[int]) -> list[int]:
    """Returns the numbers that process 0 has, such as the steps it found in a folder.

    Args:
      numbers: any number of integers below 2³¹.
    """
    if jax.process_count() == 1:
        return list(numbers)
    count = int(multihost_utils.broadcast_one_to_all(np.int32(len(numbers))))
    first = np.zeros(count, np.int32)
    if jax.process_index() == 0:
        first[:] = numbers
    return [int(number) for number in multihost_utils.broadcast_one_to_all(first)]
