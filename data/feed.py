"""The data set of a run, as one of several hosts reads it."""

import dataclasses
import functools
import hashlib
from collections.abc import Iterator

import jax
import ml_collections
from etils import epath

from data import datasets, pipeline
from data.kinds import KINDS, Skipped
from scam_jax.devices import sharding
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
      FileNotFoundError, ValueError: see `datasets.prepare`.
    """
    if jax.process_index() == 0:
        datasets.prepare(config.data)
        if config.data.skip_bad_files and not _has_list(config.data, workdir):
            run_folder.record_skipped(datasets.find_bad_files(config.data), workdir)
    sharding.wait_for_all("data set prepared")
    return Feed(
        config.data,
        seed=config.seed,
        batch_size=config.train.batch_size,
        skipped=run_folder.load_skipped(workdir) if config.data.skip_bad_files else {},
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )


def _has_list(data: ml_collections.ConfigDict, workdir: epath.Path) -> bool:
    """Returns whether a run's list of bad files is that of the present data."""
    if not (run_folder.is_begun(workdir) and (workdir / run_folder.SKIPPED_FILE).is_file()):
        return False
    now = _digest(data)
    return run_folder.last_start(workdir).get("training_data", now) == now


def _digest(data: ml_collections.ConfigDict) -> str:
    kind = KINDS[data.name]
    contents = kind.contents(data, {})
    # Without a split of its own, validation takes a part of these.
    contents += f" {kind.has_validation(data)}"
    return hashlib.sha256(contents.encode()).hexdigest()[:16]


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
        """A digest of the training data, without regard to skipped files."""
        return _digest(self.config)

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
