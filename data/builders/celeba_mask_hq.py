"""TFDS builder of CelebAMask-HQ: faces with 19 labels, from the user's own download."""

import dataclasses
import re
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import tensorflow_datasets as tfds
from etils import epath
from PIL import Image

from data.builders.manual_download import (
    UNPACK_AGAIN,
    Example,
    ManualDownloadBuilder,
    decode,
    raise_if_any,
    to_numbers,
)
from scam_jax.inference.label_orders import CELEBA_MASK_HQ
from scam_jax.inference.resizing import resize_nearest

LABELS = CELEBA_MASK_HQ
PARTS = LABELS[1:]  # later parts cover earlier ones
FOLDER_SIZE = 2000  # photos per folder of the official masks

_KINDS = ("official", "sean")
# Pillow's modes of merged label maps; in a palette file ("P") the indices are the labels.
_LABEL_MODES = ("1", "L", "P", "I", "I;16")
_MASK_NAME = re.compile(rf"(\d{{5}})_({'|'.join(PARTS)})\.png")
_DESCRIPTION = """\
30 000 photos of faces and label maps of 19 labels, resized: photos bilinear with antialiasing,
label maps nearest. The first 28 000 are the train split, the last 2 000 the test split.
"""


@dataclasses.dataclass
class CelebaMaskHqConfig(tfds.core.BuilderConfig):
    """The image size, the source of the label maps, and the number of examples of each split.

    Attributes:
      height: height of photos and label maps, in pixels.
      width: width of photos and label maps, in pixels.
      labels: 'official' (one mask per part, merged here) or 'sean' (merged by SEAN's authors).
      num_train: photos 0 … num_train - 1 are the train split.
      num_test: the next `num_test` photos are the test split.
    """

    height: int = 256
    width: int = 256
    labels: str = "official"
    num_train: int = 28_000
    num_test: int = 2_000

    def __post_init__(self) -> None:
        if self.labels not in _KINDS:
            raise ValueError(f"labels = {self.labels!r}: use one of {', '.join(_KINDS)}")


@dataclasses.dataclass(frozen=True)
class _Masked:
    """A photo, the folder of its masks, and the parts that have a mask, in order."""

    number: int
    photo: epath.Path
    folder: epath.Path
    parts: tuple[str, ...]

    def read_labels(self) -> np.ndarray:
        """Returns the label map at the size of the masks; raises ValueError if one is damaged."""
        files = [self.folder / f"{self.number:05d}_{part}.png" for part in self.parts]
        masks = [_is_set(decode(file.read_bytes(), file)) for file in files]
        labels = np.zeros(masks[0].shape, np.uint8)
        for part, file, mask in zip(self.parts, files, masks, strict=True):
            if mask.shape != labels.shape:
                sizes = [f"{m.shape[1]}×{m.shape[0]}" for m in (masks[0], mask)]
                raise ValueError(
                    f"masks of one photo differ in size: {files[0]} is {sizes[0]}, {file} is "
                    f"{sizes[1]}; {UNPACK_AGAIN}"
                )
            labels[mask] = LABELS.index(part)
        return labels


@dataclasses.dataclass(frozen=True)
class _Merged:
    """A photo and its label map."""

    number: int
    photo: epath.Path
    label_map: epath.Path

    def read_labels(self) -> np.ndarray:
        """Returns the label map at the size of its file; raises ValueError if it is invalid."""
        picture = decode(self.label_map.read_bytes(), self.label_map)
        return to_numbers(picture, self.label_map, _LABEL_MODES, len(LABELS))


_Face = _Masked | _Merged


class CelebaMaskHq(ManualDownloadBuilder):
    """CelebAMask-HQ at one size; the examples of a split are in the order of the photos' numbers.

    Features: `id` (the photo's number as five digits), `image` (uint8 `[H, W, 3]`) and `label`
    (uint8 `[H, W]`, indices into `LABELS`). The pixels are stored raw.
    """

    # TFDS would look this path up with importlib_resources, which it does not depend on.
    code_path = epath.Path(__file__)
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "First version."}
    BUILDER_CONFIGS: ClassVar = [
        CelebaMaskHqConfig(name="256x256", description="256×256, official label maps."),
        CelebaMaskHqConfig(
            name="256x256_sean", description="256×256, label maps of SEAN.", labels="sean"
        ),
    ]
    MANUAL_DOWNLOAD_INSTRUCTIONS = """\
CelebAMask-HQ is for non-commercial research only; read its agreement at
https://github.com/switchablenorms/CelebAMask-HQ before you download it.

MANUAL_DIR is config.data.manual_dir; by default downloads/manual in config.data.directory.

For the official label maps, get CelebAMask-HQ.zip (about 3 GB) from the links there and unpack it.
These files must then exist:
  MANUAL_DIR/CelebAMask-HQ/CelebA-HQ-img/0.jpg … 29999.jpg
  MANUAL_DIR/CelebAMask-HQ/CelebAMask-HQ-mask-anno/0/00000_skin.png … 14/29999_skin.png
For the label maps of SEAN's authors, get the folder CelebA-HQ from the link at
https://github.com/ZPdesu/SEAN. These files must then exist, with photos as .jpg or .png:
  MANUAL_DIR/CelebA-HQ/train/images/0.jpg … 27999.jpg, train/labels/0.png … 27999.png
  MANUAL_DIR/CelebA-HQ/test/images/28000.jpg … 29999.jpg, test/labels/28000.png … 29999.png
"""

    def _info(self) -> tfds.core.DatasetInfo:
        c = self.builder_config
        homepage = "https://github.com/switchablenorms/CelebAMask-HQ"
        return self._info_of_raw_pixels(_DESCRIPTION, homepage, c.height, c.width)

    def _list_items(self, manual_dir: epath.Path) -> dict[str, Sequence[_Face]]:
        num_train, num_test = self.builder_config.num_train, self.builder_config.num_test
        if self.builder_config.labels == "official":
            items = self._list_official(manual_dir / "CelebAMask-HQ", range(num_train + num_test))
            return {"train": items[:num_train], "test": items[num_train:]}
        root = manual_dir / "CelebA-HQ"
        return {
            "train": self._list_sean(root / "train", range(num_train)),
            "test": self._list_sean(root / "test", range(num_train, num_train + num_test)),
        }

    def _list_official(self, root: epath.Path, numbers: range) -> list[_Masked]:
        """Returns the photos and their masks; raises an error for missing or unknown files.

        Listing whole folders is faster than looking for each of 540 000 possible masks.
        """
        photos = self._list_numbered(root / "CelebA-HQ-img", numbers, (".jpg",))
        root = root / "CelebAMask-HQ-mask-anno"
        parts: list[set[str]] = [set() for _ in numbers]
        unknown = []
        for folder in range(-(-len(numbers) // FOLDER_SIZE)):
            for name in self._list_names(root / str(folder)):
                match = _MASK_NAME.fullmatch(name)
                if not match or int(match[1]) // FOLDER_SIZE != folder:
                    unknown.append(f"{folder}/{name}")
                elif int(match[1]) in numbers:
                    parts[int(match[1])].add(match[2])
        raise_if_any(unknown, f"file(s) in {root} are no masks of a known part", ValueError)
        bare = [f"{number:05d}" for number in numbers if not parts[number]]
        raise_if_any(bare, f"of {len(numbers)} photos have no masks in {root}")
        return [
            _Masked(n, photo, root / str(n // FOLDER_SIZE), tuple(sorted(found, key=PARTS.index)))
            for n, photo, found in zip(numbers, photos, parts, strict=True)
        ]

    def _list_sean(self, folder: epath.Path, numbers: range) -> list[_Merged]:
        """Returns the photos and label maps of a split; raises an error if one is missing."""
        photos = self._list_numbered(folder / "images", numbers, (".jpg", ".png"))
        label_maps = self._list_numbered(folder / "labels", numbers, (".png",))
        return [_Merged(*files) for files in zip(numbers, photos, label_maps, strict=True)]

    def _list_numbered(
        self, folder: epath.Path, numbers: range, suffixes: Sequence[str]
    ) -> list[epath.Path]:
        """Returns the file of each number; raises an error if a number has none or two files."""
        names = set(self._list_names(folder))
        found = [[f"{n}{s}" for s in suffixes if f"{n}{s}" in names] for n in numbers]
        missing = [f"{n}{suffixes[0]}" for n, of_n in zip(numbers, found, strict=True) if not of_n]
        raise_if_any(missing, f"of {len(numbers)} files are missing from {folder}")
        double = [" and ".join(of_n) for of_n in found if len(of_n) > 1]
        raise_if_any(double, f"number(s) have two files in {folder}", ValueError)
        return [folder / name for (name,) in found]

    def _read_example(self, item: _Face) -> Example:
        height, width = self.builder_config.height, self.builder_config.width
        photo = decode(item.photo.read_bytes(), item.photo).convert("RGB")
        if photo.size != (width, height):
            photo = photo.resize((width, height), Image.Resampling.BILINEAR)
        return {
            "id": f"{item.number:05d}",
            "image": np.asarray(photo),
            "label": resize_nearest(item.read_labels(), height, width),
        }

    def _bytes_per_example(self) -> int:
        return 4 * self.builder_config.height * self.builder_config.width


def config_for(height: int, width: int, labels: str) -> CelebaMaskHqConfig | str:
    """Returns the config of any size, whether `CelebaMaskHq.BUILDER_CONFIGS` lists it or not.

    Args:
      height: height of photos and label maps, in pixels.
      width: width of photos and label maps, in pixels.
      labels: 'official' or 'sean'.

    Returns:
      The config named `{height}x{width}`, or `{height}x{width}_sean` for the label maps of SEAN's
      authors; only the name if `CelebaMaskHq.BUILDER_CONFIGS` lists it.

    Raises:
      ValueError: `labels` is neither.
    """
    name = f"{height}x{width}" + ("_sean" if labels == "sean" else "")
    config = CelebaMaskHqConfig(
        name=name,
        description=f"{height}×{width}, {labels} label maps.",
        height=height,
        width=width,
        labels=labels,
    )
    # TFDS refuses a copy of a listed config, such as the one that a worker process unpickles.
    return name if name in CelebaMaskHq.builder_configs else config


def _is_set(mask: Image.Image) -> np.ndarray:
    """Returns where a mask of any mode is not black; transparency does not matter."""
    if mask.mode in ("1", "L", "I", "I;16"):
        return np.asarray(mask) != 0
    # Converting to "L" would turn (0, 0, 1) black, and the index into a palette is not a colour.
    red, green, blue = np.moveaxis(np.asarray(mask.convert("RGB")), -1, 0)
    return (red | green | blue) != 0
