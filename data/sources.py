"""Views of sources, which are random access to examples."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from scam_jax.examples import Example, Source


@dataclasses.dataclass(frozen=True)
class Mapped:
    """The examples of a source, with a function applied to each."""

    source: Sequence[Any] | Source
    function: Callable[[Any], Example]

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Example:
        return self.function(self.source[index])


@dataclasses.dataclass(frozen=True)
class Subset:
    """The examples of a source at some indices."""

    source: Source
    indices: Sequence[int]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Example:
        return self.source[self.indices[index]]


@dataclasses.dataclass(frozen=True)
class Augmented:
    """The examples of a source, each augmented once, with the random numbers of the first epoch."""

    source: Source
    augment: Callable[[Example, np.random.Generator], Example]
    seed: int

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Example:
        return self.augment(self.source[index], np.random.default_rng((self.seed, 0, index)))
