"""The interface through which commands read a run's data; main.py passes the implementation."""

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from etils import epath
from ml_collections import ConfigDict

from scam_jax.examples import Batches, Example, Source


class Feed(Protocol):
    """A prepared data set, as one of several hosts reads it."""

    @property
    def num_training_examples(self) -> int:
        """The number of examples in an epoch."""

    @property
    def training_data(self) -> str:
        """A digest of the training examples, without regard to skipped files."""

    @property
    def label_names(self) -> Sequence[str]:
        """The names of the model's labels from 0 on, empty if unknown."""

    def train_batches(self, start_step: int) -> Batches:
        """Returns this host's share of the training batches from a step on."""

    def eval_batches(self, source: Source, batch_size: int) -> Batches:
        """Returns this host's share of batches with every example of a source once.

        Args:
          source: the examples.
          batch_size: number of examples in a batch, over all hosts.

        Returns:
          Batches with `mask` `[B]`: 1 for an example, 0 for padding.
        """

    def split(self, split: str) -> Source:
        """Returns the 'validation' or 'test' split; raises ValueError if it is empty."""

    def validation(self) -> Source | None:
        """Returns the validation split, or None if it is empty."""

    def examples_to_show(self, count: int) -> Iterator[Example]:
        """Returns examples for the pictures of a training run, never from the test split."""

    def transfers(self, split: str) -> Source | None:
        """Returns the transfers of a split whose true result is known, or None."""

    def real_images(self, augmented: bool) -> tuple[str, Source]:
        """Returns the real images to compare generated images with, after their unique name.

        Args:
          augmented: whether the images are augmented as in training.
        """


# Maps a config and the run's folder to the run's data, and prepares the data if needed.
OpenFeed = Callable[[ConfigDict, epath.Path], Feed]
