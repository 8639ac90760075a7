"""The base class of all TFDS builders of this project."""

import logging as python_logging
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import tensorflow_datasets as tfds
from absl import logging

_SECONDS_BETWEEN_LINES = 10
# Warnings of TFDS that a user can do nothing about.
_NEEDLESS_WARNINGS = (
    # JPEGs are decoded with Pillow in any case, see kinds.py.
    "OpenCV is not installed.",
    # Sizes that a builder does not list are meant to work.
    "Using custom data configuration:",
)

Item = TypeVar("Item")


class ArrayRecordBuilder(tfds.core.DatasetBuilder, skip_registration=True):  # type: ignore[call-arg]
    """Writes array_record files and reports its progress in plain log lines.

    Inherit from this class before one of TFDS's base classes.
    """

    def __init__(self, **kwargs: Any):
        """Creates a builder.

        Args:
          **kwargs: arguments of `tfds.core.DatasetBuilder`, such as `config` and `data_dir`.
        """
        # Here rather than in `download_and_prepare`: worker processes only unpickle the builder.
        logging.get_absl_logger().addFilter(_is_needed)
        # Random access needs array_record; reading TFDS's default format needs TensorFlow.
        super().__init__(**{"file_format": "array_record", **kwargs})

    def download_and_prepare(self, **kwargs: Any) -> None:
        """Prepares the data set, unless it is prepared already.

        Args:
          **kwargs: arguments of `tfds.core.DatasetBuilder.download_and_prepare`.
        """
        # TFDS draws a bar for the splits, and over it a bar for each split.
        tfds.disable_progress_bar()
        super().download_and_prepare(**kwargs)

    # TFDS prints these two messages to standard output, and the first one gives sizes that are
    # unknown here.

    def _log_download_bytes(self) -> None:
        logging.info("preparing %s in %s", self.name, self.data_dir)

    def _log_download_done(self) -> None:
        logging.info("prepared %s; later runs read it from %s", self.name, self.data_dir)


def log_progress(items: Iterable[Item], task: str, total: int, done: int = 0) -> Iterator[Item]:
    """Yields items, and logs every ten seconds and at the end how many are done.

    Args:
      items: the items.
      task: the beginning of each line, such as 'drawing synthetic_people: train'.
      total: number of items of the whole task.
      done: number of items that were done before these.
    """
    line = "%s %d of %d"
    for number, item in enumerate(items, done + 1):
        yield item
        if number == total:
            logging.info(line, task, number, total)
        else:
            logging.log_every_n_seconds(
                logging.INFO, line, _SECONDS_BETWEEN_LINES, task, number, total
            )


def _is_needed(record: python_logging.LogRecord) -> bool:
    return not str(record.msg).startswith(_NEEDLESS_WARNINGS)
