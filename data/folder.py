"""Images and label maps in folders.

    DIRECTORY/{train,test}/images/NAME.{jpg,jpeg,png}
    DIRECTORY/{train,test}/labels/NAME.png

Label maps are single-channel PNG files whose values are label numbers.
"""

import os
import pathlib
import struct
import zlib

import numpy as np
from PIL import Image

_LAYOUT = "{train,test}/images/NAME.{jpg,jpeg,png} and {train,test}/labels/NAME.png"
_IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
_LABEL_SUFFIXES = (".png",)
# Modes of single-channel PNG files; of a palette file ("P") the indices are the labels.
_LABEL_MODES = ("1", "L", "P", "I", "I;16")
# What Pillow raises for damaged files.
_UNREADABLE = (
    OSError,
    SyntaxError,
    ValueError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
_NAMES_SHOWN = 5


class FolderSource:
    """Random access to one split of a folder of images and label maps, sorted by name.

    `source[i]` is `{'image': uint8 [H, W, 3], 'label': uint8 [H, W]}`. Images of any colour mode
    become RGB and are resized bilinearly, with antialiasing; label maps are resized to the nearest
    pixel, source index `floor(dst * in / out)`. EXIF orientation is not applied.
    """

    def __init__(
        self, directory: str | os.PathLike, split: str, height: int, width: int, num_labels: int
    ):
        """Lists the files of a split and checks that images and label maps match by name.

        Args:
            directory: the folder that holds the splits.
            split: name of the split's folder, 'train' or 'test'.
            height: rows of what is returned.
            width: columns of what is returned.
            num_labels: label values must be below it, 256 at most.

        Raises:
            FileNotFoundError: if a folder, every image, or the other half of some pair is missing.
            ValueError: if a file has a wrong suffix, two images share a name, or a number is out
                of range.
        """
        if height < 1 or width < 1:
            raise ValueError(f"image size {height}×{width}: height and width must be at least 1")
        if not 1 <= num_labels <= 256:
            raise ValueError(f"num_labels={num_labels}: must be 1 … 256, labels are bytes")
        self._height, self._width, self._num_labels = height, width, num_labels
        root = pathlib.Path(directory).expanduser()
        images, labels = _folders(root, split)
        image_files = _files_by_stem(images, _IMAGE_SUFFIXES)
        label_files = _files_by_stem(labels, _LABEL_SUFFIXES)
        if not image_files:
            raise FileNotFoundError(f"{images} holds no images; expected {_LAYOUT} in {root}")
        _check_pairs(image_files, label_files, images, labels)
        self._pairs = [(image_files[stem], label_files[stem]) for stem in sorted(image_files)]

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        """Reads one pair.

        Raises:
            ValueError: if a file cannot be read, or the label map has colours or a value out of
                range.
        """
        image_file, label_file = self._pairs[index]
        labels = read_labels(label_file, self._num_labels)
        return {
            "image": _resize_bilinear(read_image(image_file), self._height, self._width),
            "label": _resize_nearest(labels, self._height, self._width),
        }


def _folders(root: pathlib.Path, split: str) -> tuple[pathlib.Path, pathlib.Path]:
    images, labels = root / split / "images", root / split / "labels"
    for folder in (root, root / split, images, labels):
        if not folder.is_dir():
            raise FileNotFoundError(f"there is no folder {folder}; expected {_LAYOUT} in {root}")
    return images, labels


def _files_by_stem(folder: pathlib.Path, suffixes: tuple[str, ...]) -> dict[str, pathlib.Path]:
    files: dict[str, pathlib.Path] = {}
    for file in sorted(folder.iterdir()):
        if file.name.startswith("."):
            continue
        if file.suffix.lower() not in suffixes:
            raise ValueError(
                f"{file} is not a {' or '.join(suffixes)} file: "
                "convert it, or move it out of the folder"
            )
        if file.stem in files:
            raise ValueError(
                f"{files[file.stem]} and {file.name} share the name {file.stem!r}: "
                "rename or remove one"
            )
        files[file.stem] = file
    return files


def _check_pairs(
    image_files: dict[str, pathlib.Path],
    label_files: dict[str, pathlib.Path],
    images: pathlib.Path,
    labels: pathlib.Path,
) -> None:
    without_labels = sorted(image_files.keys() - label_files.keys())
    if without_labels:
        raise FileNotFoundError(
            f"{len(without_labels)} of {len(image_files)} images in {images} have no label map: "
            f"{_first(without_labels)}; add {labels / without_labels[0]}.png and so on, "
            "or remove them"
        )
    without_image = sorted(label_files.keys() - image_files.keys())
    if without_image:
        raise FileNotFoundError(
            f"{len(without_image)} of {len(label_files)} label maps in {labels} have no image: "
            f"{_first(without_image)}; add {images / without_image[0]}.jpg and so on, "
            "or remove them"
        )


def _first(names: list[str]) -> str:
    return ", ".join(names[:_NAMES_SHOWN]) + (", …" if len(names) > _NAMES_SHOWN else "")


def _open(file: pathlib.Path) -> Image.Image:
    """Returns the decoded picture."""
    try:
        with Image.open(file) as picture:
            picture.load()
            return picture
    except _UNREADABLE as error:
        raise ValueError(f"cannot read {file} ({error}): replace or remove it") from error


def read_image(file: pathlib.Path) -> np.ndarray:
    """Reads a photo as RGB, uint8 `[H, W, 3]`, at its own size.

    Raises:
        ValueError: names the file that cannot be read.
    """
    picture = _open(file)
    # 16-bit gray: Pillow would clip to 255 instead of scaling.
    if picture.mode in ("I", "I;16"):
        picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    return np.asarray(picture.convert("RGB"))


def _resize_bilinear(image: np.ndarray, height: int, width: int) -> np.ndarray:
    if image.shape[:2] == (height, width):
        return image
    picture = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(picture)


def read_labels(file: pathlib.Path, num_labels: int) -> np.ndarray:
    """Reads a label map, uint8 `[H, W]`, at its own size.

    Raises:
        ValueError: names the file that cannot be read, has colour, or a value ≥ num_labels.
    """
    picture = _open(file)
    if picture.mode not in _LABEL_MODES:
        raise ValueError(
            f"label map {file} has colour or transparency (mode {picture.mode}): save it as a "
            "single-channel PNG whose values are label numbers"
        )
    labels = np.asarray(picture)
    highest = int(labels.max())
    if highest >= num_labels:
        remedy = "correct the label map"
        if highest < 256:
            remedy = f"set num_labels to at least {highest + 1}, or {remedy}"
        raise ValueError(
            f"label map {file} holds the value {highest}, but num_labels={num_labels}: {remedy}"
        )
    return labels.astype(np.uint8)


def _resize_nearest(labels: np.ndarray, height: int, width: int) -> np.ndarray:
    rows = np.arange(height) * labels.shape[0] // height
    columns = np.arange(width) * labels.shape[1] // width
    return labels[rows[:, None], columns]
