"""Examples of a data set, and what reads them: the types that all rooms share."""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

import numpy as np

# Arrays by name, such as `image` `uint8 [H, W, 3]` and `label` `uint8 [H, W]`.
Example = Mapping[str, np.ndarray]


class Source(Protocol):
    """Random access to examples."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Example: ...


class Batches(Protocol):
    """An iterator over one host's batches; `close` stops what reads ahead."""

    def __iter__(self) -> "Batches": ...

    def __next__(self) -> Example: ...

    def close(self) -> None: ...


class Picture(NamedTuple):
    """An image `uint8 [H, W, 3]` and its label map `uint8 [H, W]`."""

    image: np.ndarray
    labels: np.ndarray

    @classmethod
    def of(cls, example: Example) -> "Picture":
        """The `image` and `label` of an example."""
        return cls(example["image"], example["label"])
