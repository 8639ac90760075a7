"""Photos and label maps in folders.

  DIRECTORY/{train,test}/images/NAME.{jpg,jpeg,png}
  DIRECTORY/{train,test}/labels/NAME.png

A label map is a single-channel PNG file whose values are label numbers. A folder `validation` with
the same layout is optional. Hidden files, and those that operating systems and network drives leave
in folders, are passed over. Links are followed.
"""

import concurrent.futures
import hashlib
import os
import pathlib
import stat
import unicodedata
from collections.abc import Collection, Sequence

import numpy as np
from absl import logging

from scam_jax import console
from scam_jax.inference import photos
from scam_jax.inference.decoding import printable
from scam_jax.inference.label_colors import LabelColors
from scam_jax.inference.label_map import LabelMap

LAYOUT = "{train,test}/images/NAME.{jpg,jpeg,png} and {train,test}/labels/NAME.png"
_IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
_LABEL_SUFFIXES = (".png",)
# What Windows, macOS, Linux and the makers of network drives keep among the user's files.
_SYSTEM_NAMES = (
    *("thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "icon\r"),
    *("$recycle.bin", "recycler", "system volume information", "lost+found", "__macosx"),
    *("network trash folder", "temporary items", "thevolumesettingsfolder"),
    *("@eadir", "@recycle", "@recently-snapshot", "#recycle", "#snapshot"),
)
# Bytes of each file's end that tell it from others.
_END_BYTES = 4096
_NAMES_SHOWN = 5
# Further transparent photos are left to the checker.
_NOTES_LOGGED = 5

Pair = tuple[pathlib.Path, pathlib.Path]


def is_of_system(name: str) -> bool:
    """Returns whether a file or folder is hidden, or one that operating systems add."""
    return name.startswith(".") or name.casefold() in _SYSTEM_NAMES


class FolderSource:
    """Random access to one split of a folder of photos and label maps, sorted by name.

    `source[i]` is `{'image': uint8 [h, w, 3], 'label': uint8 [h, w]}` at the photo's own size.

    Attributes:
      pairs: the files of each pair, by name.
      places: place of each pair among all pairs, those that are left out included.
    """

    def __init__(
        self,
        directory: str | os.PathLike,
        split: str,
        label_map: LabelMap,
        skip: Collection[str] = (),
        colors: LabelColors | None = None,
    ):
        """Lists the files of a split and checks that photos and label maps match by name.

        Args:
          directory: the folder that contains the splits.
          split: name of the split's folder.
          label_map: maps the files' label numbers to the model's.
          skip: names, without suffix, of pairs to leave out.
          colors: the colours of the label numbers, or None if the values are the numbers.

        Raises:
          FileNotFoundError: a folder is missing, there are no photos, a photo or label map has no
            counterpart, or all pairs are skipped.
          ValueError: a file has a wrong suffix, or two files share a name.
        """
        pairs, faults = find_pairs(directory, split)
        if faults:
            raise faults[0]
        self.pairs = {name: pair for name, pair in pairs.items() if name not in skip}
        self.places = np.flatnonzero([name not in skip for name in pairs])
        if not self.pairs:
            raise FileNotFoundError(
                f"all {len(pairs)} pairs of {printable(pathlib.Path(directory) / split)} are "
                "skipped: none is left"
            )
        self._names = tuple(self.pairs)
        self._label_map = label_map
        self._colors = colors

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        """Reads one pair.

        Raises:
          ValueError: see `photos.read_pair`.
        """
        return self.read(self._names[index])

    def read(self, name: str) -> dict[str, np.ndarray]:
        """Reads the pair with the given name; raises the errors of `photos.read_pair`."""
        pair = photos.read_pair(*self.pairs[name], self._label_map, self._colors)
        if pair.transparent:
            note = pair.transparency_note(self.pairs[name][0])
            logging.log_first_n(logging.WARNING, "%s", _NOTES_LOGGED, note)
        return {"image": pair.image, "label": pair.labels}

    def contents(self) -> str:
        """Returns a digest of all photos, label maps and colours of labels.

        Files count by name, place, size and end.
        What is compressed last depends on the whole picture. The folder may be copied or moved. A
        file that cannot be read counts as such.
        """
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            colors = self._colors.colors if self._colors else ()
            ends = pool.map(lambda pair: [_size_and_end(f) for f in pair], self.pairs.values())
            listed = [*self._names, *self.places.tolist(), *ends, *colors]
            return hashlib.sha256(repr(listed).encode()).hexdigest()

    def find_bad(self) -> dict[str, str]:
        """Reads every pair; returns one message for each unusable pair, keyed by name."""
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            return {n: fault for n, fault in pool.map(self._fault, self._names) if fault}

    def _fault(self, name: str) -> tuple[str, str]:
        try:
            self.read(name)
        except ValueError as error:
            return name, str(error)
        return name, ""

    def compare_sizes(self) -> dict[photos.Relation, list[str]]:
        """Compares the sizes of label maps and photos; returns the names of pairs by relation.

        This reads only the headers of the files.

        Raises:
          ValueError: a header cannot be read, or a label map has colours or a format that changes
            numbers. The message names the file.
        """
        found: dict[photos.Relation, list[str]] = {"same": [], "resized": [], "misshapen": []}
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            for name, relation in pool.map(self._compare, self._names):
                found[relation].append(name)
        return found

    def _compare(self, name: str) -> tuple[str, photos.Relation]:
        image_file, label_file = self.pairs[name]
        return name, photos.compare(image_file, label_file, self._colors)


def _size_and_end(file: pathlib.Path) -> tuple[int, bytes]:
    """Returns the size of a file, and a digest of its end; −1 and nothing if it is unreadable."""
    try:
        with file.open("rb") as opened:
            size = opened.seek(0, os.SEEK_END)
            opened.seek(max(0, size - _END_BYTES))
            return size, hashlib.sha256(opened.read()).digest()
    except OSError:  # The run may skip it; reading it for training tells what is wrong.
        return -1, b""


def find_pairs(
    directory: str | os.PathLike, split: str
) -> tuple[dict[str, Pair], list[FileNotFoundError | ValueError]]:
    """Lists the pairs of photo and label map of a split, and all faults of its folders.

    Args:
      directory: the folder that contains the splits.
      split: name of the split's folder.

    Returns:
      The pairs, sorted by name, and the faults. A fault that concerns several files is listed once.
    """
    root = console.path(os.fspath(directory))
    folders = images, labels = root / split / "images", root / split / "labels"
    for folder in (root, root / split, *folders):
        if not folder.is_dir():
            place = printable(folder)
            message = f"there is no folder {place}; expected {LAYOUT} in {printable(root)}"
            return {}, [FileNotFoundError(message)]
    image_files, image_faults = _files_by_name(images, _IMAGE_SUFFIXES)
    label_files, label_faults = _files_by_name(labels, _LABEL_SUFFIXES)
    faults: list[FileNotFoundError | ValueError] = [*image_faults, *label_faults]
    if not image_files:
        message = f"{printable(images)} holds no images; expected {LAYOUT} in {printable(root)}"
        return {}, [*faults, FileNotFoundError(message)]
    faults += _incomplete(image_files, label_files, printable(images), printable(labels))
    names = sorted(image_files.keys() & label_files.keys())
    return {name: (image_files[name], label_files[name]) for name in names}, faults


def _files_by_name(
    folder: pathlib.Path, suffixes: tuple[str, ...]
) -> tuple[dict[str, pathlib.Path], list[ValueError]]:
    """Returns the files of a folder, keyed by a printable name without suffix, and its faults."""
    files: dict[str, pathlib.Path] = {}
    faults = []
    for file in sorted(folder.iterdir()):
        if is_of_system(file.name):
            continue
        # Some file systems store é as one character, others as e and an accent.
        name = unicodedata.normalize("NFC", printable(file.stem))
        if fault := _fault_of_entry(file, suffixes):
            faults.append(ValueError(fault))
        elif name in files:
            both = f"{printable(files[name])} and {printable(file.name)}"
            faults.append(ValueError(f"{both} share the name {name!r}: rename or remove one"))
        else:
            files[name] = file
    return files, faults


def _fault_of_entry(file: pathlib.Path, suffixes: tuple[str, ...]) -> str:
    """Returns what is wrong with an entry of a folder of pictures, '' if nothing is."""
    name, folder = printable(file), printable(file.parent)
    try:
        mode = file.stat().st_mode
    except OSError:  # A link to nothing is a file that cannot be read.
        mode = stat.S_IFREG
    if stat.S_ISDIR(mode):
        return (
            f"{name} is a folder, but pictures must lie directly in {folder}: move its files there "
            "(each name may occur once), or move it elsewhere"
        )
    if not stat.S_ISREG(mode):
        return f"{name} is neither a file nor a folder: move it elsewhere"
    if file.suffix.lower() not in suffixes:
        expected = " or ".join(suffixes)
        return f"{name} is not a {expected} file: convert it, or move it out of the folder"
    return ""


def _incomplete(
    image_files: dict[str, pathlib.Path],
    label_files: dict[str, pathlib.Path],
    images: str,
    labels: str,
) -> list[FileNotFoundError]:
    faults = []
    without_labels = sorted(image_files.keys() - label_files.keys())
    if without_labels:
        message = (
            f"{len(without_labels)} of {len(image_files)} images in {images} have no label map: "
            f"{first_names(without_labels)}; add {labels}/{without_labels[0]}.png and so on, "
            "or remove them"
        )
        faults.append(FileNotFoundError(message))
    without_image = sorted(label_files.keys() - image_files.keys())
    if without_image:
        message = (
            f"{len(without_image)} of {len(label_files)} label maps in {labels} have no image: "
            f"{first_names(without_image)}; add {images}/{without_image[0]}.jpg and so on, "
            "or remove them"
        )
        faults.append(FileNotFoundError(message))
    return faults


def first_names(names: Sequence[str]) -> str:
    """Formats the first five names, with an ellipsis if there are more."""
    return ", ".join(names[:_NAMES_SHOWN]) + (", …" if len(names) > _NAMES_SHOWN else "")
