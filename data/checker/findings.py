"""The check itself: reads every pair of a folder, counts labels and collects all faults."""

import collections
import concurrent.futures
import dataclasses
import hashlib
import os
import pathlib
import shlex
from collections.abc import Collection, Iterable, Iterator

import numpy as np
from PIL import Image
from tqdm import tqdm

from data.folder import Pair, find_pairs, first_names
from scam_jax.inference import label_files, photos
from scam_jax.inference.decoding import printable
from scam_jax.inference.label_map import LabelMap

_NUM_VALUES = 256
_NUM_SAMPLES, _MAX_RENUMBERED = 8, 32


@dataclasses.dataclass
class Split:
    """The contents of one split. All counts are over the usable pairs.

    Attributes:
      num_pairs: number of pairs found in the folders.
      faults: one message per fault, with the file's name.
      usable: the pairs that can be read and trained on, keyed by name.
      sizes: number of photos of each size `(height, width)`.
      resized: names of the pairs whose label map has the photo's aspect ratio but another size.
      misshapen: names of the pairs whose label map has another aspect ratio than the photo.
      pixels: number of pixels of each label, int `[256]`.
      containing: number of photos that contain each label, int `[256]`.
      transparent: number of transparent pixels of the photos that have some, keyed by name.
      digests: SHA-256 digests of the photo files, keyed by name.
    """

    num_pairs: int
    faults: list[str]
    usable: dict[str, Pair] = dataclasses.field(default_factory=dict)
    sizes: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    resized: list[str] = dataclasses.field(default_factory=list)
    misshapen: list[str] = dataclasses.field(default_factory=list)
    pixels: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(_NUM_VALUES, int))
    containing: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(_NUM_VALUES, int))
    transparent: dict[str, int] = dataclasses.field(default_factory=dict)
    digests: dict[str, bytes] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Report:
    """The result of a check.

    Attributes:
      directory: the folder that was checked.
      label_map: the label map that was applied. If no number of labels was given, it has as many
        labels as occur in the files.
      splits: the splits, keyed by name, in order.
      warnings: messages about things that are allowed but probably unintended.
      faults: one message per fault, with the file's name.
      samples: (split, name) of some usable pairs, spread over the splits.
    """

    directory: pathlib.Path
    label_map: LabelMap
    splits: dict[str, Split]
    warnings: tuple[str, ...]
    faults: tuple[str, ...]
    samples: tuple[tuple[str, str], ...]


@dataclasses.dataclass(frozen=True)
class _Reading:
    """The result for one pair: its faults, or all other fields."""

    faults: tuple[str, ...]
    pixels: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(_NUM_VALUES, int))
    photo_size: photos.Size = (0, 0)
    relation: photos.Relation = "same"
    transparent: int = 0
    digest: bytes = b""


def check(
    directory: str | os.PathLike, label_map: str = "", num_labels: int | None = None
) -> Report:
    """Reads every pair of a folder of photos and label maps.

    Args:
      directory: the folder that contains the splits.
      label_map: as config.data.label_map.
      num_labels: as config.data.num_labels. If None, it is taken from the label map, or from the
        files where there is no label map.

    Returns:
      The report. Faults of the files are part of it and never raise.

    Raises:
      NotADirectoryError: `directory` is not a folder.
      ValueError: the label map or the number of labels is invalid.
    """
    root = pathlib.Path(directory).expanduser()
    if not root.is_dir():
        raise NotADirectoryError(f"there is no folder {root}: give the one that holds train, test")
    label_map = label_map.strip()
    if num_labels is None:
        labels = LabelMap(label_map, label_map.count("|") + 1 if label_map else _NUM_VALUES)
    else:
        labels = LabelMap(label_map, num_labels)
    names = ["train", *["validation"] * (root / "validation").is_dir(), "test"]
    splits = {name: _read_split(root, name, labels) for name in names}
    if num_labels is None and not label_map:
        occurring = np.flatnonzero(sum(split.pixels for split in splits.values()))
        labels = LabelMap("", int(occurring.max(initial=0)) + 1)
    return Report(
        directory=root,
        label_map=labels,
        splits=splits,
        warnings=(
            *_size_warnings(splits),
            *_transparency_warnings(splits),
            *_leaks(splits),
            *_label_warnings(splits, labels),
        ),
        faults=tuple(fault for split in splits.values() for fault in split.faults),
        samples=tuple(_samples(splits)),
    )


def _read_split(root: pathlib.Path, name: str, label_map: LabelMap) -> Split:
    pairs, faults = find_pairs(root, name)
    split = Split(len(pairs), [str(fault) for fault in faults])
    readings = _read_all(pairs.values(), label_map)
    readings = tqdm(readings, f"reading {name}", len(pairs), unit="pair", disable=None)
    for (pair_name, pair), reading in zip(pairs.items(), readings, strict=True):
        if reading.faults:
            split.faults += reading.faults
        else:
            _count(split, pair_name, pair, reading)
    return split


def _read_all(pairs: Iterable[Pair], label_map: LabelMap) -> Iterator[_Reading]:
    """Yields the readings in order; threads read a few pairs ahead."""
    workers = os.cpu_count() or 1
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        pending: collections.deque[concurrent.futures.Future[_Reading]] = collections.deque()
        for pair in pairs:
            pending.append(pool.submit(_read, *pair, label_map))
            if len(pending) > 2 * workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def _read(image_file: pathlib.Path, label_file: pathlib.Path, label_map: LabelMap) -> _Reading:
    pixels = np.zeros(_NUM_VALUES, int)

    def count(numbers: np.ndarray, name: str) -> np.ndarray:
        # Mapping each value once is cheaper than mapping each pixel. This runs before the label
        # map is resized, which may lose labels.
        histogram = np.array(Image.fromarray(numbers).histogram())
        values = np.flatnonzero(histogram)
        np.add.at(pixels, label_map(values.astype(np.uint8), name), histogram[values])
        return numbers

    try:
        pair = photos.read_pair(image_file, label_file, count)
        with image_file.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").digest()
        return _Reading((), pixels, pair.photo_size, pair.relation, pair.transparent, digest)
    except (OSError, ValueError) as error:
        faults = [str(error)]
    try:
        # A fault of the photo hides faults of the label map.
        count(label_files.read_numbers(label_file), f"label map {printable(label_file)}")
    except (OSError, ValueError) as error:
        faults.append(str(error))
    return _Reading(tuple(dict.fromkeys(faults)))


def _count(split: Split, name: str, pair: Pair, reading: _Reading) -> None:
    """Adds a usable pair to the counts of its split."""
    split.usable[name] = pair
    split.sizes[reading.photo_size] += 1
    split.pixels += reading.pixels
    split.containing += reading.pixels > 0
    split.digests[name] = reading.digest
    if reading.transparent:
        split.transparent[name] = reading.transparent
    if reading.relation == "misshapen":
        split.misshapen.append(name)
    elif reading.relation == "resized":
        split.resized.append(name)


def _size_warnings(splits: dict[str, Split]) -> Iterator[str]:
    for name, split in splits.items():
        if split.misshapen:
            yield (
                f"{len(split.misshapen)} of {split.num_pairs} label maps of {name} have another "
                f"SHAPE than their photos ({first_names(split.misshapen)}): stretched to fit, they "
                "may not lie where the photo's regions are; make them from the photos as they are"
            )
        if split.resized:
            yield (
                f"{len(split.resized)} of {split.num_pairs} label maps of {name} have another size "
                f"than their photos ({first_names(split.resized)}): they are resized, nearest"
            )


def _transparency_warnings(splits: dict[str, Split]) -> Iterator[str]:
    for name, split in splits.items():
        if found := split.transparent:
            pixels = [f"{photo}: {count} pixels" for photo, count in found.items()]
            yield (
                f"{len(found)} of {split.num_pairs} photos of {name} have transparent pixels "
                f"({first_names(pixels)}): they are read as on white; if that is not meant, save "
                "the photos without transparency"
            )


def _leaks(splits: dict[str, Split]) -> Iterator[str]:
    train = {digest: photo for photo, digest in splits["train"].digests.items()}
    for name, split in splits.items():
        digests = split.digests.items()
        same = [f"{name}'s {photo} is train's {train[d]}" for photo, d in digests if d in train]
        if name != "train" and same:
            count = "1 photo" if len(same) == 1 else f"{len(same)} photos"
            yield (
                f"byte for byte in train too: {count} of {name} ({first_names(same)}); remove from "
                f"either, or the figures of {name} flatter the model"
            )


def _label_warnings(splits: dict[str, Split], label_map: LabelMap) -> Iterator[str]:
    occurring = {name: set(np.flatnonzero(split.pixels).tolist()) for name, split in splits.items()}
    for name, labels in occurring.items():
        unseen = labels - occurring["train"]
        if unseen:
            yield f"in {name} but never in train, where they could be learned: {_ranges(unseen)}"
    everywhere = set().union(*occurring.values())
    if everywhere == {0, 255} and not label_map.text:
        flags = label_flags("0|255", 2)
        yield f"the only values are 0 and 255: make them labels 0 and 1 with {flags}"
        return
    missing = set(range(label_map.num_labels)) - everywhere
    if missing and everywhere:
        # Label 0 keeps its number: it is the background.
        kept = sorted(everywhere | {0})
        warning = f"never used, of labels 0–{label_map.num_labels - 1}: {_ranges(missing)}"
        # Pairs with faults may contain the missing labels.
        complete = not any(split.faults for split in splits.values())
        if complete and not label_map.text and len(kept) <= _MAX_RENUMBERED:
            warning += f"; leave them out with {label_flags('|'.join(map(str, kept)), len(kept))}"
        yield warning


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


def label_flags(label_map: str, num_labels: int) -> str:
    """Returns the flags of main.py that set the label map and the number of labels."""
    given = [f"--config.data.label_map={shlex.quote(label_map)}"] * bool(label_map)
    return " ".join([*given, f"--config.data.num_labels={num_labels}"])


def _ranges(labels: Collection[int]) -> str:
    """Formats label numbers, such as 'labels 2–4, 7'."""
    starts = sorted(label for label in labels if label - 1 not in labels)
    ends = sorted(label for label in labels if label + 1 not in labels)
    runs = (f"{a}–{b}" if a < b else str(a) for a, b in zip(starts, ends, strict=True))
    return f"label{'s' * (len(labels) > 1)} {', '.join(runs)}"
