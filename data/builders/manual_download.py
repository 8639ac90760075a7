"""What the TFDS builders have in common that prepare photos and label maps the user downloaded."""

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
from scam_jax.inference import photos

# TFDS keeps the examples of a shard in memory while it writes the shard.
SHARD_BYTES = 1 << 27
UNPACK_AGAIN = "unpack the download again"

_NAMES_SHOWN = 5
_LOOK_AHEAD = 2  # items a thread

Item = TypeVar("Item")
Result = TypeVar("Result")
Example = dict[str, Any]


class ManualDownloadBuilder(
    ArrayRecordBuilder, tfds.core.ShardBasedBuilder, skip_registration=True
):
    """Turns files in the user's `manual_dir` into array_record files, in the order of the items.

    Not a GeneratorBasedBuilder: that one needs TensorFlow for a split of more than 1000 MiB, and
    then loads the whole split to sort it.

    A subclass sets `MANUAL_DOWNLOAD_INSTRUCTIONS` and `disable_shuffling`, and says what its items
    are: anything that one example each can be read from.
    """

    @abc.abstractmethod
    def _list_items(self, manual_dir: epath.Path) -> dict[str, Sequence[Any]]:
        """Returns the items of each split, in order; raises if any file is missing."""

    @abc.abstractmethod
    def _read_example(self, item: Any) -> Example:
        """Returns the features of an item, `id` among them; several threads call this."""

    @abc.abstractmethod
    def _bytes_per_example(self) -> int:
        """Returns about how large an example is."""

    def _shard_iterators_per_split(
        self, dl_manager: tfds.download.DownloadManager
    ) -> dict[str, list[Callable[[], Iterator[tuple[str, Example]]]]]:
        try:
            manual_dir = dl_manager.manual_dir
        except AssertionError as error:  # its message holds the folder and the instructions
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
        """Yields the examples of items `start` to `stop` (or the last), each with its key."""
        examples = ordered_map(self._read_example, items[start:stop])
        for example in log_progress(examples, f"preparing {self.name}: {split}", len(items), start):
            yield example["id"], example

    def _list_names(self, folder: epath.Path) -> list[str]:
        """Returns the names in a folder, sorted, without those that operating systems leave there.

        Raises:
            FileNotFoundError: if there is no such folder.
        """
        if not folder.is_dir():
            raise FileNotFoundError(
                f"there is no folder {folder}\n{self.MANUAL_DOWNLOAD_INSTRUCTIONS}"
            )
        names = (file.name for file in folder.iterdir())
        return sorted(n for n in names if not n.startswith(".") and n != "Thumbs.db")


def ordered_map(
    function: Callable[[Item], Result], items: Iterable[Item], num_threads: int | None = None
) -> Iterator[Result]:
    """Applies a function to items in threads, which suffice as Pillow decodes outside the GIL.

    At most `num_threads` items are at work and as many results wait.

    Args:
        function: what to apply; thread-safe.
        items: what to apply it to.
        num_threads: how many at once, by default as many as there are CPUs.

    Yields:
        The results, in the order of the items.

    Raises:
        BaseException: the function's, in the place of the result; later items are given up.
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
    names: Collection[str], fault: str, error: type[Exception] = FileNotFoundError
) -> None:
    """Raises an error about files, if there are any: how many, the first five and the remedy.

    Args:
        names: of the files, in order.
        fault: what is wrong with them, to follow their number.
        error: what to raise.
    """
    if names:
        shown = ", ".join(list(names)[:_NAMES_SHOWN])
        more = ", …" if len(names) > _NAMES_SHOWN else ""
        raise error(f"{len(names)} {fault}: {shown}{more}; {UNPACK_AGAIN}")


def decode(data: bytes, file: epath.Path) -> Image.Image:
    """Decodes a picture.

    Args:
        data: the bytes of a file.
        file: its path, to be named in errors.

    Returns:
        The whole picture, in its own mode.

    Raises:
        ValueError: names the file, if it is damaged.
    """
    return photos.decode(io.BytesIO(data), file, UNPACK_AGAIN)


def to_numbers(
    picture: Image.Image, file: epath.Path, modes: Collection[str], num_labels: int
) -> np.ndarray:
    """Takes the label numbers out of a decoded label map.

    Args:
        picture: a single-channel picture whose values, or indices of a palette, are label numbers.
        file: its path, to be named in errors.
        modes: Pillow's names of the single-channel modes that it may have.
        num_labels: how many labels there are, 0 among them.

    Returns:
        uint8 `[H, W]`, values below `num_labels`.

    Raises:
        ValueError: names the file, if it has another mode or a higher value.
    """
    if picture.mode not in modes:
        raise ValueError(
            f"label map {file} has mode {picture.mode}, not {' or '.join(modes)}: {UNPACK_AGAIN}"
        )
    numbers = np.asarray(picture)
    if numbers.max() >= num_labels:
        raise ValueError(
            f"label map {file} holds the value {numbers.max()}, above the last label "
            f"{num_labels - 1}: {UNPACK_AGAIN}"
        )
    return numbers.astype(np.uint8)
