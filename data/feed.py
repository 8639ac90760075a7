"""All that a command reads of a run's data set, as one of several hosts."""

import dataclasses
import functools
import pathlib
from collections.abc import Iterator

import jax
import ml_collections

from data import datasets, pipeline
from data.kinds import Skipped
from scam_jax.devices import sharding
from scam_jax.examples import Batches, Example, Source
from scam_jax.runs import run_folder


def prepare(config: ml_collections.ConfigDict, workdir: pathlib.Path) -> "Feed":
    """Prepares the data set of a run, by one process, and opens it.

    Where a run goes without bad files, they are found before the first checkpoint, and the list is
    kept in the run's folder.

    Args:
      config: of the run.
      workdir: the run's folder.

    Raises:
      FileNotFoundError, ValueError: as `datasets.prepare`.
    """
    if jax.process_index() == 0:
        datasets.prepare(config.data)
        if config.data.skip_bad_files and not run_folder.is_begun(workdir):
            run_folder.record_skipped(datasets.find_bad_files(config.data), workdir)
    sharding.wait_for_all("data set prepared")
    return Feed(
        config.data,
        seed=config.seed,
        batch_size=config.train.batch_size,
        skipped=run_folder.load_skipped(workdir),
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )


@dataclasses.dataclass(frozen=True)
class Feed:
    """The data of a run, prepared already; see `scam_jax.commands.feed` for who uses it.

    Attributes:
      config: `config.data` of the run.
      seed: of order and augmentation.
      batch_size: of training, over all hosts.
      skipped: the bad files that the run goes without.
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

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names of the model's labels, see `datasets.label_names`."""
        return datasets.label_names(self.config)

    def train_batches(self, start_step: int) -> Batches:
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

    def eval_batches(self, source: Source, batch_size: int) -> Batches:
        """This host's share of all examples of a source once, see `pipeline.eval_batches`."""
        return pipeline.eval_batches(source, batch_size=batch_size, **self._hosts())

    def _hosts(self) -> dict[str, int]:
        return {
            "process_index": self.process_index,
            "process_count": self.process_count,
            "num_workers": self.config.num_workers,
        }

    def split(self, split: str) -> Source:
        """A split, fitted for evaluation.

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
        """The validation split, fitted for evaluation; None if it is empty."""
        source = datasets.load(self.config, "validation", self.skipped)
        return source if len(source) else None

    def examples_to_show(self, count: int) -> Iterator[Example]:
        """Examples for pictures in training: of the validation split, or of train without one.

        The test split is for the final figures alone: not even a panel shows it.
        """
        source = self.validation() or datasets.load(self.config, "train", self.skipped)
        return (source[i % len(source)] for i in range(count))

    def transfers(self, split: str) -> Source | None:
        """The transfers of a split whose true result is known, see `datasets.load_transfers`."""
        return datasets.load_transfers(self.config, split)

    def real_images(self, augmented: bool) -> tuple[str, Source]:
        """The real images of FID and a name for them, see `datasets.load_real`."""
        return datasets.load_real(self.config, augmented=augmented, skipped=self.skipped)
