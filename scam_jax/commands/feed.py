"""The data that commands work on; main.py hands it to them."""

import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from ml_collections import ConfigDict

from scam_jax.examples import Batches, Example, Source


class Feed(Protocol):
    """A prepared data set, as one of several hosts reads it."""

    @property
    def num_training_examples(self) -> int:
        """How many examples an epoch has."""

    @property
    def label_names(self) -> Sequence[str]:
        """Names of the model's labels from 0 on; empty where they are not known."""

    def train_batches(self, start_step: int) -> Batches:
        """This host's share of the training batches from a step on."""

    def eval_batches(self, source: Source, batch_size: int) -> Batches:
        """This host's share of all examples of a source once, in batches with a `mask [B]`."""

    def split(self, split: str) -> Source:
        """The 'validation' or 'test' split; raises ValueError if it is empty."""

    def validation(self) -> Source | None:
        """The validation split; None if it is empty."""

    def examples_to_show(self, count: int) -> Iterator[Example]:
        """Examples for pictures in training; never of the test split."""

    def transfers(self, split: str) -> Source | None:
        """Transfers of a split whose true result is known; None if there are none."""

    def real_images(self, augmented: bool) -> tuple[str, Source]:
        """The real images that generated ones are compared with, and their unique name."""


# A config and the run's folder to the run's data, prepared if need be.
OpenFeed = Callable[[ConfigDict, pathlib.Path], Feed]
