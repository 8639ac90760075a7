"""The base class of TFDS builders of photos and label maps that the user has downloaded."""

import abc
import collections
import concurrent.futures
import functools
import io
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
import tensorflow_datasets as tfds
from etils import epath
from PIL import Image

from data.array_record_builder import ArrayRecordBuilder, log_progress
from data.folder import first_names, is_of_system
from scam_jax.inference import decoding, label_files

# TFDS keeps the examples of a shard in memory while it writes the shard.
SHARD_BYTES = 1 << 27
UNPACK_AGAIN = "unpack the download again"

_LOOK_AHEAD = 2  # items per thread

Item = TypeVar("Item")
Result = TypeVar("Result")
Example = dict[str, Any]


class ManualDownloadBuilder(  # type: ignore[call-arg]
    ArrayRecordBuilder, tfds.core.ShardBasedBuilder, skip_registration=True
):
    """Converts the files in `manual_dir` to array_record files, in the order of the items.

    An item is anything that one example can be read from. A subclass lists the items, reads them,
    and sets `MANUAL_DOWNLOAD_INSTRUCTIONS` and `disable_shuffling`.

    TFDS's `GeneratorBasedBuilder` would not do: for a split of more than 1000 MiB it needs
    TensorFlow, and it sorts the whole split in memory.
    """

    def _info_of_raw_pixels(
        self, description: str, homepage: str, height: int, width: int
    ) -> tfds.core.DatasetInfo:
        """Returns the info of `id`, `image` and `label`, stored raw at one size.

        Decoding a PNG photo takes several times as long as reading a raw record, and array_record
        compresses records anyway.
        """
        pixels = functools.partial(tfds.features.Tensor, dtype=np.uint8, encoding="bytes")
        return tfds.core.DatasetInfo(
            builder=self,
            description=description,
            homepage=homepage,
            features=tfds.features.FeaturesDict(
                {
                    "id": tfds.features.Text(),
                    "image": pixels(shape=(height, width, 3)),
                    "label": pixels(shape=(height, width)),
                }
            ),
            disable_shuffling=True,
        )

    @abc.abstractmethod
    def _list_items(self, manual_dir: epath.Path) -> dict[str, Sequence[Any]]:
        """Returns the items of each split, in order; raises an error if a file is missing."""

    @abc.abstractmethod
    def _read_example(self, item: Any) -> Example:
        """Returns the features of an item, including `id`. Several threads call this."""

    @abc.abstractmethod
    def _bytes_per_example(self) -> int:
        """Returns the approximate size of an example."""

    def _shard_iterators_per_split(
        self, dl_manager: tfds.download.DownloadManager
    ) -> dict[str, list[Callable[[], Iterator[tuple[str, Example]]]]]:
        try:
            manual_dir = dl_manager.manual_dir
        except AssertionError as error:  # the message has the folder and the instructions
            raise FileNotFoundError(str(error)) from error
        size = max(1, SHARD_BYTES // self._bytes_per_example())
        return {
            split: [
                functools.partial(self._read_shard, split, items, start, start + size)
                for start in range(0, len(items), size)
            ]
            for split, items in self._list_items(manual_dir).items()
        }

    def _read_shard(
        self, split: str, items: Sequence[Any], start: int, stop: int
    ) -> Iterator[tuple[str, Example]]:
        """Yields (key, example) of the items from `start` to `stop` or to the last item."""
        examples = ordered_map(self._read_example, items[start:stop])
        for example in log_progress(examples, f"preparing {self.name}: {split}", len(items), start):
            yield example["id"], example

    def _list_names(self, folder: epath.Path) -> list[str]:
        """Returns the sorted file names of a folder, except files that operating systems add.

        Raises:
          FileNotFoundError: the folder does not exist.
        """
        if not folder.is_dir():
            raise FileNotFoundError(
                f"there is no folder {folder}\n{self.MANUAL_DOWNLOAD_INSTRUCTIONS}"
            )
        return sorted(file.name for file in folder.iterdir() if not is_of_system(file.name))


def ordered_map(
    function: Callable[[Item], Result], items: Iterable[Item], num_threads: int | None = None
) -> Iterator[Result]:
    """Applies a function to items in threads and yields the results in order.

    Threads are enough because Pillow releases the GIL while it decodes. At most `num_threads` items
    are processed at a time, and at most as many results wait.

    Args:
      function: the function; it must be thread-safe.
      items: the items.
      num_threads: number of threads; by default the number of CPUs.

    Yields:
      The results, in the order of the items.

    Raises:
      BaseException: an error of the function, in place of the result. Later items are dropped.
    """
    num_threads = num_threads or os.cpu_count() or 1
    pool = concurrent.futures.ThreadPoolExecutor(num_threads)
    pending: collections.deque[concurrent.futures.Future[Result]] = collections.deque()
    try:
        for item in items:
            if len(pending) == _LOOK_AHEAD * num_threads:
                yield pending.popleft().result()
            pending.append(pool.submit(function, item))
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def raise_if_any(
    names: Sequence[str], fault: str, error: type[Exception] = FileNotFoundError
) -> None:
    """Raises an error about files, unless there are none.

    The message has the number of files, the fault, the first five names and the remedy.

    Args:
      names: names of the files, in order.
      fault: description of the fault; it follows the number of files.
      error: type of the error.
    """
    if names:
        raise error(f"{len(names)} {fault}: {first_names(names)}; {UNPACK_AGAIN}")


def decode(data: bytes, file: epath.Path) -> Image.Image:
    """Decodes an image.

    Args:
      data: the bytes of the file.
      file: path of the file, for error messages.

    Returns:
      The fully loaded image, in the mode of the file.

    Raises:
      ValueError: the file is damaged. The message names it.
    """
    return decoding.decode(io.BytesIO(data), file, UNPACK_AGAIN)


def to_numbers(
    picture: Image.Image, file: epath.Path, modes: Collection[str], num_labels: int
) -> np.ndarray:
    """Converts a decoded label map to an array of label numbers.

    Args:
      picture: a single-channel image whose values or palette indices are label numbers.
      file: path of the file, for error messages.
      modes: the accepted single-channel modes, as Pillow names them.
      num_labels: number of labels, including label 0.

    Returns:
      uint8 `[H, W]`, values below `num_labels`.

    Raises:
      ValueError: the image has another mode, a format that changes numbers, or a value of at
        least `num_labels`. The message names the file.
    """
    label_files.require_exact(picture, file)
    if picture.mode not in modes:
        raise ValueError(
            f"label map {file} has mode {picture.mode}, not {' or '.join(modes)}: {UNPACK_AGAIN}"
        )
    numbers = np.asarray(picture)
    if numbers.min() < 0:
        raise ValueError(f"label map {file} holds the value {numbers.min()}: {UNPACK_AGAIN}")
    if numbers.max() >= num_labels:
        raise ValueError(
            f"label map {file} holds the value {numbers.max()}, above the last label "
            f"{num_labels - 1}: {UNPACK_AGAIN}"
        )
    return numbers.astype(np.uint8)
