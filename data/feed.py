"""All that a run reads, as one of several hosts."""

import dataclasses
import functools
import pathlib
from collections.abc import Iterator

import grain
import ml_collections
import numpy as np

from data import datasets, kinds, pipeline
from data.kinds import Skipped
from data.sources import Example, Source
from scam_jax.inference import photos


@dataclasses.dataclass(frozen=True)
class Feed:
    """The data of a run; prepared already.

    Attributes:
        config: the data set's, `config.data` of the run.
        seed: of order and augmentation.
        batch_size: of training, of all hosts together.
        skipped: the files that the run does without.
        process_index: number of this host.
        process_count: how many hosts share each batch.
    """

    config: ml_collections.ConfigDict
    seed: int
    batch_size: int
    skipped: Skipped
    process_index: int = 0
    process_count: int = 1

    @functools.cached_property
    def _training(self) -> tuple[Source, pipeline.Augment]:
        return datasets.load_for_training(self.config, self.skipped)

    @property
    def num_training_examples(self) -> int:
        """How many examples an epoch has."""
        return len(self._training[0])

    def train_batches(self, start_step: int) -> grain.DatasetIterator[Example]:
        """This host's share of the batches from a step on, see `pipeline.train_batches`."""
        source, augment = self._training
        return pipeline.train_batches(
            source,
            batch_size=self.batch_size,
            seed=self.seed,
            augment=augment,
            start_step=start_step,
            **self._hosts(),
        )

    def eval_batches(self, source: Source, batch_size: int) -> grain.DatasetIterator[Example]:
        """This host's share of all examples of a source once, see `pipeline.eval_batches`."""
        return pipeline.eval_batches(source, batch_size=batch_size, **self._hosts())

    def _hosts(self) -> dict[str, int]:
        return {
            "process_index": self.process_index,
            "process_count": self.process_count,
            "num_workers": self.config.num_workers,
        }

    def split(self, split: str) -> Source:
        """A split as it is evaluated.

        Raises:
            ValueError: the split is empty.
        """
        source = datasets.load(self.config, split, self.skipped)
        if not len(source):
            raise ValueError(
                f"the {split} split is empty: {self.config.name} has too few training examples to "
                "hold some out, or the run was trained on all of them (config.data.train_split = "
                f"{self.config.train_split!r})"
            )
        return source

    def validation(self) -> Source | None:
        """The validation split as it is evaluated; None if it is empty."""
        source = datasets.load(self.config, "validation", self.skipped)
        return source if len(source) else None

    def examples_to_show(self, count: int) -> Iterator[Example]:
        """Examples for pictures in training: of the validation split, or of train without one.

        The test split is for the figures alone: not even a panel shows it.
        """
        source = self.validation() or datasets.load(self.config, "train", self.skipped)
        return (source[i % len(source)] for i in range(count))

    def transfers(self, split: str) -> Source | None:
        """The transfers of a split whose truth is known, see `datasets.load_transfers`."""
        return datasets.load_transfers(self.config, split)

    def read_pair(self, image: str, labels: str) -> Example:
        """A photo and its label map from two files, as an example that is evaluated."""
        pair = photos.read_pair(
            pathlib.Path(image), pathlib.Path(labels), kinds.label_map(self.config)
        )
        example: dict[str, np.ndarray] = dict(zip(("image", "label"), pair, strict=True))
        return datasets.for_evaluation(self.config)(example)
