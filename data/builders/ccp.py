"""TFDS builder of Clothing Co-Parsing (CCP): street photos with 59 labels, from a git clone."""

import dataclasses
import io
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import numpy as np
import scipy.io
import tensorflow_datasets as tfds
from etils import epath

from data.builders.manual_download import (
    UNPACK_AGAIN,
    Example,
    ManualDownloadBuilder,
    decode,
    ordered_map,
    raise_if_any,
)
from scam_jax.inference.label_orders import CCP
from scam_jax.inference.resizing import resize_bilinear, resize_nearest

FOLDER = "clothing-co-parsing"
# The crop is the box of the person, this much larger.
MARGIN = 0.06
# Of the sorted names, one in so many is test; of the others, one in so many is validation.
TEST_EVERY, VALIDATION_EVERY = 10, 20
_DESCRIPTION = """\
1 003 street photos of people and label maps of 59 labels, cropped to the person and resized:
photos bilinear with antialiasing, label maps nearest. Every tenth photo is test, and every
twentieth of the others is validation. One photo of the 1 004 with label maps shows nobody who is
labelled, and is left out.
"""


@dataclasses.dataclass
class CcpConfig(tfds.core.BuilderConfig):
    """The image size, and how many photos the clone has.

    Attributes:
      height: height of photos and label maps, in pixels.
      width: width of photos and label maps, in pixels.
      num_photos: number of photos with label maps.
    """

    height: int = 256
    width: int = 170
    num_photos: int = 1_004


class Box(NamedTuple):
    """Rows from `top` to `bottom` and columns from `left` to `right`, ends excluded."""

    top: int
    bottom: int
    left: int
    right: int


class _Person(NamedTuple):
    """The files of a photo with a label map."""

    name: str
    photo: epath.Path
    labels: epath.Path


class Ccp(ManualDownloadBuilder):
    """Clothing Co-Parsing at one size, cropped to the person; examples are sorted by name.

    Features: `id` (the photo's number as four digits), `image` (uint8 `[H, W, 3]`) and `label`
    (uint8 `[H, W]`, indices into `label_orders.CCP`). The pixels are stored raw.
    """

    # TFDS would look this path up with importlib_resources, which it does not depend on.
    code_path = epath.Path(__file__)
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "First version."}
    BUILDER_CONFIGS: ClassVar = [
        CcpConfig(name="256x170", description="256×170.", height=256, width=170),
        CcpConfig(name="96x64", description="96×64.", height=96, width=64),
    ]
    MANUAL_DOWNLOAD_INSTRUCTIONS = """\
Clothing Co-Parsing is a git repository of 130 MB:
  git clone https://github.com/bearpaw/clothing-co-parsing

Give the folder in which you cloned it as config.data.manual_dir, the MANUAL_DIR below. These files
must then exist:
  MANUAL_DIR/clothing-co-parsing/photos/0001.jpg … 1004.jpg
  MANUAL_DIR/clothing-co-parsing/annotations/pixel-level/0001.mat … 1004.mat
"""

    def _info(self) -> tfds.core.DatasetInfo:
        c = self.builder_config
        homepage = "https://github.com/bearpaw/clothing-co-parsing"
        return self._info_of_raw_pixels(_DESCRIPTION, homepage, c.height, c.width)

    def _list_items(self, manual_dir: epath.Path) -> dict[str, Sequence[_Person]]:
        photos, labels = (
            manual_dir / FOLDER / name for name in ("photos", "annotations/pixel-level")
        )
        names = [name for name in self._list_names(labels) if name.endswith(".mat")]
        people = [
            _Person(stem, photos / f"{stem}.jpg", labels / f"{stem}.mat")
            for stem in (name.removesuffix(".mat") for name in names)
        ]
        there = set(self._list_names(photos))
        missing = [p.photo.name for p in people if p.photo.name not in there]
        raise_if_any(missing, f"of {len(people)} photos are missing from {photos}")
        # The splits go by position: another number would give others.
        if len(people) != (count := self.builder_config.num_photos):
            raise ValueError(f"{labels} holds {len(people)} .mat files, not {count}: clone again")
        test = people[TEST_EVERY - 1 :: TEST_EVERY]
        others = [p for i, p in enumerate(people, 1) if i % TEST_EVERY]
        splits = {
            "train": [p for i, p in enumerate(others, 1) if i % VALIDATION_EVERY],
            "validation": others[VALIDATION_EVERY - 1 :: VALIDATION_EVERY],
            "test": test,
        }
        shown = dict(zip(people, ordered_map(_shows_somebody, people), strict=True))
        return {split: [p for p in chosen if shown[p]] for split, chosen in splits.items()}

    def _read_example(self, item: _Person) -> Example:
        height, width = self.builder_config.height, self.builder_config.width
        photo = np.asarray(decode(item.photo.read_bytes(), item.photo).convert("RGB"))
        labels = read_labels(item.labels)
        if photo.shape[:2] != labels.shape:
            raise ValueError(
                f"{item.labels} is {labels.shape[1]}×{labels.shape[0]}, but {item.photo} is "
                f"{photo.shape[1]}×{photo.shape[0]}: {UNPACK_AGAIN}"
            )
        top, bottom, left, right = person_box(labels, width / height)
        return {
            "id": item.name,
            "image": resize_bilinear(photo[top:bottom, left:right], height, width),
            "label": resize_nearest(labels[top:bottom, left:right], height, width),
        }

    def _bytes_per_example(self) -> int:
        return 4 * self.builder_config.height * self.builder_config.width


def config_for(height: int, width: int) -> CcpConfig | str:
    """Returns the config of any size, or only its name if `Ccp.BUILDER_CONFIGS` lists it."""
    name = f"{height}x{width}"
    config = CcpConfig(name=name, description=f"{height}×{width}.", height=height, width=width)
    # TFDS refuses a copy of a listed config, such as the one that a worker process unpickles.
    return name if name in Ccp.builder_configs else config


def read_labels(file: epath.Path) -> np.ndarray:
    """Reads the label map of a MATLAB file.

    Returns:
      uint8 `[H, W]`, indices into `label_orders.CCP`.

    Raises:
      ValueError: the file is damaged, or holds something else; names it.
    """
    try:
        labels = scipy.io.loadmat(io.BytesIO(file.read_bytes()))["groundtruth"]
    except Exception as error:  # SciPy raises many types for a damaged file.
        raise ValueError(f"{file} holds no label map 'groundtruth': {UNPACK_AGAIN}") from error
    if labels.ndim != 2 or labels.min() < 0 or labels.max() >= len(CCP):
        raise ValueError(
            f"{file} holds {labels.shape} with values {labels.min()} … {labels.max()}, not [H, W] "
            f"with labels 0 … {len(CCP) - 1}: {UNPACK_AGAIN}"
        )
    return labels.astype(np.uint8)


def _shows_somebody(item: _Person) -> bool:
    return bool(read_labels(item.labels).any())


def person_box(labels: np.ndarray, aspect: float) -> Box:
    """Returns the crop to a person: the box of all labels above 0 with a margin, at an aspect.

    The box grows to the aspect about its centre, shrinks to the photo if it must, and moves into
    the photo.

    Args:
      labels: label map `[H, W]` that shows somebody.
      aspect: width through height of the crop.
    """
    ranges = []
    for axis in (1, 0):
        shown = np.flatnonzero((labels > 0).any(axis))
        begin, end = int(shown[0]), int(shown[-1]) + 1
        ranges.append(((begin + end) / 2, (1 + MARGIN) * (end - begin)))
    (y, height), (x, width) = ranges
    height, width = max(height, width / aspect), max(width, height * aspect)
    shrink = min(1.0, labels.shape[0] / height, labels.shape[1] / width)
    sides = []
    for centre, size, limit in ((y, height, labels.shape[0]), (x, width, labels.shape[1])):
        length = min(round(size * shrink), limit)
        begin = min(max(round(centre - length / 2), 0), limit - length)
        sides += [begin, begin + length]
    return Box(*sides)
