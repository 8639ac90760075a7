"""TFDS builder of ADE20K: scenes with 151 labels, from the user's own download.

SCAM is trained on the label maps of the MIT scene parsing challenge of 2016. TFDS does not have
them. Its `scene_parse150` has the *instance* masks of the challenge of 2017: red is the category
(one of 100 kinds of object), green the instance; see instancesegmentation/README.md of
https://github.com/CSAILVision/placeschallenge. Preparing it also needs TensorFlow.
"""

import dataclasses
import io
from collections.abc import Sequence
from typing import ClassVar

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

NUM_LABELS = 151  # 0 is "other"

_FOLDER = "ADEChallengeData2016"
# Mean size of a photo and its label map together, rounded up.
_BYTES_PER_EXAMPLE = 50_000
_DESCRIPTION = """\
22 210 photos of scenes and label maps of 151 labels (0 is "other"), of the MIT scene parsing
challenge of 2016: its training images are the train split, its validation images the test split.
"""


@dataclasses.dataclass
class Ade20kConfig(tfds.core.BuilderConfig):
    """The number of examples of each split.

    Attributes:
      num_train: number of photos in the folder `training` of the download.
      num_test: number of photos in the folder `validation` of the download.
    """

    num_train: int = 20_210
    num_test: int = 2_000


@dataclasses.dataclass(frozen=True)
class _Scene:
    """A photo and its label map."""

    name: str
    photo: epath.Path
    label_map: epath.Path


class Ade20k(ManualDownloadBuilder):
    """ADE20K of the scene parsing challenge of 2016: photos in their own sizes, sorted by name.

    Features: `id` (the file's name), `image` (uint8 `[H, W, 3]`) and `label` (uint8 `[H, W, 1]`,
    values below `NUM_LABELS`). The bytes of the files are stored unchanged, except that photos
    which are not RGB are converted to RGB and stored as PNG.
    """

    # TFDS would look this path up with importlib_resources, which it does not depend on.
    code_path = epath.Path(__file__)
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "First version."}
    BUILDER_CONFIGS: ClassVar = [
        Ade20kConfig(name="challenge2016", description="Scene parsing challenge of 2016."),
    ]
    MANUAL_DOWNLOAD_INSTRUCTIONS = """\
Read the terms of ADE20K at http://groups.csail.mit.edu/vision/datasets/ADE20K before you
download it.

MANUAL_DIR is config.data.manual_dir; by default downloads/manual in config.data.directory.

Get http://data.csail.mit.edu/places/ADEchallenge/ADEChallengeData2016.zip (923 MB) and unpack it.
These files must then exist:
  MANUAL_DIR/ADEChallengeData2016/images/training/ADE_train_00000001.jpg …
  MANUAL_DIR/ADEChallengeData2016/images/validation/ADE_val_00000001.jpg …
  MANUAL_DIR/ADEChallengeData2016/annotations/training/ADE_train_00000001.png …
  MANUAL_DIR/ADEChallengeData2016/annotations/validation/ADE_val_00000001.png …
"""

    def _info(self) -> tfds.core.DatasetInfo:
        image = tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg")
        label = tfds.features.Image(shape=(None, None, 1), encoding_format="png")
        return tfds.core.DatasetInfo(
            builder=self,
            description=_DESCRIPTION,
            homepage="http://sceneparsing.csail.mit.edu/",
            features=tfds.features.FeaturesDict(
                {"id": tfds.features.Text(), "image": image, "label": label}
            ),
            disable_shuffling=True,
        )

    def _list_items(self, manual_dir: epath.Path) -> dict[str, Sequence[_Scene]]:
        config = self.builder_config
        return {
            "train": self._list_split(manual_dir / _FOLDER, "training", config.num_train),
            "test": self._list_split(manual_dir / _FOLDER, "validation", config.num_test),
        }

    def _list_split(self, root: epath.Path, split: str, count: int) -> list[_Scene]:
        """Returns the pairs of a folder; raises an error unless there are `count` full pairs."""
        images, annotations = root / "images" / split, root / "annotations" / split
        photos = self._list_stems(images, ".jpg")
        label_maps = self._list_stems(annotations, ".png")
        alone = [f"{name}.jpg" for name in photos if name not in set(label_maps)]
        raise_if_any(alone, f"of {len(photos)} photos in {images} have no label map")
        alone = [f"{name}.png" for name in label_maps if name not in set(photos)]
        raise_if_any(alone, f"of {len(label_maps)} label maps in {annotations} have no photo")
        if len(photos) != count:
            raise ValueError(f"{images} holds {len(photos)} photos, not {count}: {UNPACK_AGAIN}")
        return [_Scene(n, images / f"{n}.jpg", annotations / f"{n}.png") for n in photos]

    def _list_stems(self, folder: epath.Path, suffix: str) -> list[str]:
        """Returns sorted file names without the suffix; raises an error for any other suffix."""
        names = self._list_names(folder)
        other = [name for name in names if not name.endswith(suffix)]
        raise_if_any(other, f"file(s) in {folder} are not {suffix} files", ValueError)
        return sorted(name.removesuffix(suffix) for name in names)

    def _read_example(self, item: _Scene) -> Example:
        photo, photo_bytes = _read_photo(item.photo)
        label_bytes = item.label_map.read_bytes()
        label_map = decode(label_bytes, item.label_map)
        to_numbers(label_map, item.label_map, ("L",), NUM_LABELS)
        if label_map.size != photo.size:
            raise ValueError(
                f"{item.label_map} is {label_map.width}×{label_map.height}, but {item.photo} is "
                f"{photo.width}×{photo.height}: {UNPACK_AGAIN}"
            )
        return {"id": item.name, "image": photo_bytes, "label": label_bytes}

    def _bytes_per_example(self) -> int:
        return _BYTES_PER_EXAMPLE


def _read_photo(file: epath.Path) -> tuple[Image.Image, bytes]:
    """Returns a photo and the bytes to store; the bytes decode to an RGB image."""
    data = file.read_bytes()
    photo = decode(data, file)
    if (photo.format, photo.mode) == ("JPEG", "RGB"):
        return photo, data
    encoded = io.BytesIO()
    photo.convert("RGB").save(encoded, format="PNG")
    return photo, encoded.getvalue()
