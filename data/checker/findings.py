"""The check itself: reads every pair of a folder, counts labels and collects all faults."""

import collections
import concurrent.futures
import dataclasses
import hashlib
import os
import pathlib
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from PIL import Image
from tqdm import tqdm

from data import label_names
from data.checker.report import NUM_VALUES, Report, Split
from data.checker.warnings import warnings_of
from data.folder import Pair, find_pairs
from scam_jax import console
from scam_jax.inference import label_files, label_orders, photos
from scam_jax.inference.decoding import printable
from scam_jax.inference.label_colors import LabelColors
from scam_jax.inference.label_map import LabelMap

_NUM_SAMPLES = 8


@dataclasses.dataclass(frozen=True)
class _Reading:
    """The result for one pair: its faults, or all other fields."""

    faults: tuple[str, ...]
    pixels: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(NUM_VALUES, int))
    left_out: int = 0
    photo_size: photos.Size = (0, 0)
    relation: photos.Relation = "same"
    transparent: int = 0
    digest: bytes = b""


def check(
    directory: str | os.PathLike,
    label_map: str = "",
    num_labels: int | None = None,
    colors: str = "",
    ignore_label: int = -1,
) -> Report:
    """Reads every pair of a folder of photos and label maps.

    Args:
      directory: the folder that contains the splits.
      label_map: as config.data.label_map.
      num_labels: as config.data.num_labels. If None, it is taken from the label map, or from the
        colours, or from the names of labels, or from the files if there is none of these.
      colors: as config.data.colors.
      ignore_label: as config.data.ignore_label.

    Returns:
      The report. Faults of the files are part of it and never raise.

    Raises:
      NotADirectoryError: `directory` is not a folder.
      ValueError: the label map, the number of labels or the list of colours is invalid.
    """
    root = console.path(str(directory))
    if not root.is_dir():
        place = printable(root)
        raise NotADirectoryError(f"there is no folder {place}: give the one that holds train, test")
    label_map, listed = label_map.strip(), LabelColors.load(colors) if colors else None
    names_of_numbers = () if listed else label_names.read(root)
    given = num_labels
    if given is None:
        given = _number_of_labels(label_map, listed, names_of_numbers, ignore_label)
    most = NUM_VALUES - (ignore_label >= 0)
    labels = LabelMap(label_map, most if given is None else given, ignore_label)
    if listed:
        listed.require_labels(labels)
    label_names.require_all(names_of_numbers, labels, root)
    names = ["train", *["validation"] * (root / "validation").is_dir(), "test"]
    splits = {name: _read_split(root, name, labels, listed) for name in names}
    if given is None:
        occurring = np.flatnonzero(sum(split.pixels for split in splits.values()))
        labels = LabelMap("", int(occurring.max(initial=0)) + 1, ignore_label)
    if listed:
        parts = listed.label_parts(labels)
    else:
        parts = label_orders.parts_of("folder", labels, names_of_numbers)
    return Report(
        directory=root,
        label_map=labels,
        colors=listed,
        label_names=label_orders.joined(parts),
        splits=splits,
        warnings=tuple(warnings_of(splits, labels, listed)),
        faults=tuple(fault for split in splits.values() for fault in split.faults),
        samples=tuple(_samples(splits)),
    )


def _number_of_labels(
    label_map: str, colors: LabelColors | None, names: Sequence[str], ignore_label: int
) -> int | None:
    """Returns the number of labels that a label map, a list of colours or of names tells."""
    if label_map:
        return label_map.count("|") + 1
    if colors:
        return colors.num_labels(ignore_label)
    return len(names) - (ignore_label == len(names) - 1) if names else None


def _read_split(
    root: pathlib.Path, name: str, label_map: LabelMap, colors: LabelColors | None
) -> Split:
    pairs, faults = find_pairs(root, name)
    split = Split(len(pairs), [str(fault) for fault in faults], len(faults))
    readings = _read_all(pairs.values(), label_map, colors)
    readings = tqdm(readings, f"reading {name}", len(pairs), unit="pair", disable=None)
    for (pair_name, pair), reading in zip(pairs.items(), readings, strict=True):
        if reading.faults:
            split.faults += reading.faults
        else:
            _count(split, pair_name, pair, reading)
    return split


def _read_all(
    pairs: Iterable[Pair], label_map: LabelMap, colors: LabelColors | None
) -> Iterator[_Reading]:
    """Yields the readings in order; threads read a few pairs ahead."""
    workers = os.cpu_count() or 1
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        pending: collections.deque[concurrent.futures.Future[_Reading]] = collections.deque()
        for pair in pairs:
            pending.append(pool.submit(_read, *pair, label_map, colors))
            if len(pending) > 2 * workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def _read(
    image_file: pathlib.Path,
    label_file: pathlib.Path,
    label_map: LabelMap,
    colors: LabelColors | None,
) -> _Reading:
    pixels = np.zeros(NUM_VALUES, int)

    def count(numbers: np.ndarray, name: str) -> np.ndarray:
        # Mapping each value once is cheaper than mapping each pixel. This runs before the label
        # map is resized, which may lose labels.
        histogram = np.array(Image.fromarray(numbers).histogram())
        values = np.flatnonzero(histogram)
        np.add.at(pixels, label_map(values.astype(np.uint8), name), histogram[values])
        return numbers

    try:
        pair = photos.read_pair(image_file, label_file, count, colors)
        with image_file.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").digest()
        left_out = 0
        if label_map.ignores:
            left_out, pixels[label_map.num_labels] = int(pixels[label_map.num_labels]), 0
        size, transparent = pair.photo_size, pair.transparent
        return _Reading((), pixels, left_out, size, pair.relation, transparent, digest)
    except (OSError, ValueError) as error:
        faults = [str(error)]
    try:
        # A fault of the photo hides faults of the label map.
        numbers = label_files.read_numbers(label_file, colors)
        count(numbers, f"label map {printable(label_file)}")
    except (OSError, ValueError) as error:
        faults.append(str(error))
    return _Reading(tuple(dict.fromkeys(faults)))


def _count(split: Split, name: str, pair: Pair, reading: _Reading) -> None:
    """Adds a usable pair to the counts of its split."""
    split.usable[name] = pair
    split.sizes[reading.photo_size] += 1
    split.pixels += reading.pixels
    split.containing += reading.pixels > 0
    split.left_out += reading.left_out
    split.digests[name] = reading.digest
    if reading.transparent:
        split.transparent[name] = reading.transparent
    if reading.relation == "misshapen":
        split.misshapen.append(name)
    elif reading.relation == "resized":
        split.resized.append(name)


def _samples(splits: dict[str, Split]) -> Iterator[tuple[str, str]]:
    """Yields (split, name) of samples, spread evenly over splits and over each split's pairs."""
    shares = dict.fromkeys(splits, 0)
    while sum(shares.values()) < _NUM_SAMPLES:
        growing = [name for name in splits if shares[name] < len(splits[name].usable)]
        if not growing:
            break
        shares[min(growing, key=shares.__getitem__)] += 1
    for name, share in shares.items():
        usable = list(splits[name].usable)
        for index in np.linspace(0, len(usable) - 1, share).astype(int):
            yield name, usable[index]
