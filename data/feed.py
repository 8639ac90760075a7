"""The data set of a run, as one of several hosts reads it."""

import dataclasses
import functools
from collections.abc import Iterator

import jax
import ml_collections
from absl import logging
from etils import epath

from data import datasets, pipeline
from data.kinds import KINDS, Skipped
from scam_jax.devices import agreement, sharding
from scam_jax.examples import Batches, Example, Source
from scam_jax.runs import run_folder


def prepare(config: ml_collections.ConfigDict, workdir: epath.Path) -> "Feed":
    """Prepares the data set of a run in one process, and opens it in every process.

    If the run skips bad files, they are searched for at each start until the first checkpoint, at
    the first start that skips them, and where the training data changed. The run's folder keeps the
    list.

    Args:
      config: the whole config.
      workdir: the run's folder.

    Raises:
      FileNotFoundError: see `datasets.prepare`; or a process does not see the prepared data set.
      ValueError: see `datasets.prepare`; or a process has other training data than the first.
    """
    data = config.data
    if jax.process_index() == 0:
        datasets.prepare(data)
    sharding.wait_for_all("data set prepared")
    if jax.process_count() > 1:
        _check_alike(data)
    return Feed(
        data,
        seed=config.seed,
        batch_size=config.train.batch_size,
        skipped=_skipped(data, workdir) if data.skip_bad_files else {},
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )


def _check_alike(data: ml_collections.ConfigDict) -> None:
    """Compares the training data of all processes."""
    index, place = jax.process_index(), f"config.data.directory = {data.directory}"
    if not agreement.everywhere(KINDS[data.name].is_prepared(data)):
        raise FileNotFoundError(
            f"{place}: not every process sees {data.name} there: give a folder that all hosts "
            "share, or copy it to each"
        )
    digest = datasets.training_data(data)
    if not agreement.everywhere(agreement.is_of_first_process(digest)):
        raise ValueError(
            f"{place}: the training photos, label maps or names of labels are not the same in "
            f"every process (the digest is {digest} in process {index}): copy them to each host "
            "anew"
        )


def _skipped(data: ml_collections.ConfigDict, workdir: epath.Path) -> Skipped:
    """Returns the bad files that a run skips; process 0 searches for them if needed."""
    training_data = datasets.training_data(data)
    if jax.process_index() == 0:
        kept = run_folder.load_skipped(workdir, training_data)
        if kept is None or not run_folder.is_begun(workdir):
            run_folder.record_skipped(datasets.find_bad_files(data), workdir, training_data)
    sharding.wait_for_all("bad files found")
    skipped = run_folder.load_skipped(workdir, training_data)
    if skipped is None:
        raise ValueError(
            f"{workdir / run_folder.SKIPPED_FILE} is not there, or of other data, in process "
            f"{jax.process_index()}: give a --workdir that all hosts share"
        )
    for split, bad in skipped.items():
        first, file = next(iter(bad.values())), workdir / run_folder.SKIPPED_FILE
        listed = len(bad), split, file, first
        logging.warning("skipping %d pairs of %s, listed in %s; the first: %s", *listed)
    return skipped


@dataclasses.dataclass(frozen=True)
class Feed:
    """The prepared data of a run; implements `scam_jax.commands.feed.Feed`.

    Attributes:
      config: `config.data` of the run.
      seed: seed of the order and of the augmentation.
      batch_size: number of examples in a training batch, over all hosts.
      skipped: the bad files that the run skips.
      process_index: index of this host.
      process_count: number of hosts that share each batch.
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
        """The number of examples in an epoch."""
        return len(self._training[0])

    @functools.cached_property
    def training_data(self) -> str:
        """A digest of the training examples, see `datasets.training_data`."""
        return datasets.training_data(self.config)

    @property
    def label_names(self) -> tuple[str, ...]:
        """The names of the model's labels, see `datasets.names_of_labels`."""
        return datasets.names_of_labels(self.config)

    def train_batches(self, start_step: int) -> Batches:
        """Returns this host's share of the batches from a step on, see `pipeline.train_batches`."""
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
        """Returns this host's share of batches with every example once.

        Args:
          source: the examples.
          batch_size: number of examples in a batch, over all hosts.

        Returns:
          The batches, see `pipeline.eval_batches`.
        """
        return pipeline.eval_batches(source, batch_size=batch_size, **self._hosts())

    def _hosts(self) -> dict[str, int]:
        return {
            "process_index": self.process_index,
            "process_count": self.process_count,
            "num_workers": self.config.num_workers,
        }

    def split(self, split: str) -> Source:
        """Opens a split, fitted for evaluation.

        Args:
          split: 'train', 'validation' or 'test'.

        Raises:
          ValueError: the split is empty.
        """
        source = datasets.load(self.config, split, self.skipped)
        if not len(source):
            raise ValueError(
                f"the {split} split is empty: {self.config.name} has too few training examples to "
                "hold some out, or the run trains on all of them (config.data.train_split = "
                f"{self.config.train_split!r})"
            )
        return source

    def validation(self) -> Source | None:
        """Opens the validation split, fitted for evaluation; returns None if it is empty."""
        source = datasets.load(self.config, "validation", self.skipped)
        return source if len(source) else None

    def examples_to_show(self, count: int) -> Iterator[Example]:
        """Returns examples for the pictures of a training run.

        They come from the validation split, or from the train split if validation is empty. The
        test split is used only for the final figures.

        Args:
          count: number of examples. A small split repeats its examples.
        """
        source = self.validation() or datasets.load(self.config, "train", self.skipped)
        return (source[i % len(source)] for i in range(count))

    def transfers(self, split: str) -> Source | None:
        """Opens the transfers with a known true result, see `datasets.load_transfers`."""
        return datasets.load_transfers(self.config, split)

    def real_images(self, augmented: bool) -> tuple[str, Source]:
        """Returns a name for the real images of FID, and the images, see `datasets.load_real`."""
        return datasets.load_real(self.config, augmented=augmented, skipped=self.skipped)
