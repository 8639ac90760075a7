"""TFDS builder of synthetic people, which are drawn locally; nothing is downloaded."""

import dataclasses
import io
import zlib
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds
from etils import epath
from PIL import Image

from data.array_record_builder import ArrayRecordBuilder, log_progress
from data.synthetic import scenes

# The demo's settings were chosen on images of seed 2022, so these images are new to them.
SEED = 2023

_DESCRIPTION = """\
Drawn pictures of people, each from three independent factors: a background, a pose (all geometry)
and an appearance (all colours and patterns). Label maps are exact, and so is the truth of subject
transfer: the person of one scene drawn in the pose and before the background of another.
"""

Scene = tuple[scenes.Background, scenes.Pose, scenes.Appearance]


@dataclasses.dataclass
class SyntheticPeopleConfig(tfds.core.BuilderConfig):
    """The image size in pixels and the number of examples of each split."""

    height: int = 64
    width: int = 64
    num_train: int = 8192
    num_validation: int = 256
    num_test: int = 256


class SyntheticPeople(ArrayRecordBuilder, tfds.core.GeneratorBasedBuilder):
    """Synthetic people with label maps and, except in the train split, perfect subject transfers.

    Example i of a split depends only on `SEED`, the split and i. The features are `id`, `image`
    (PNG, `[H, W, 3]`), `label` (8-bit grayscale PNG, `[H, W, 1]`, values below
    `scenes.NUM_LABELS`) and `transfer`. The latter is a sequence: empty in the train split, and one
    entry in the validation and test splits. An entry has `target_image` and `target_label`, the
    scene that receives the example's person, and `image`, the perfect transfer, whose label map is
    `target_label`.
    """

    # TFDS would look this path up with importlib_resources, which it does not depend on.
    code_path = epath.Path(__file__)
    VERSION = tfds.core.Version("2.0.0")
    RELEASE_NOTES: ClassVar = {
        "1.0.0": "First version.",
        "2.0.0": "Other pictures; a validation split.",
    }
    BUILDER_CONFIGS: ClassVar = [
        SyntheticPeopleConfig(name="32", description="32×32 pixels.", height=32, width=32),
        SyntheticPeopleConfig(name="64", description="64×64 pixels."),
        SyntheticPeopleConfig(
            name="256",
            description="256×256 pixels.",
            height=256,
            width=256,
            num_train=2048,
            num_validation=128,
            num_test=128,
        ),
    ]

    def _info(self) -> tfds.core.DatasetInfo:
        height, width = self.builder_config.height, self.builder_config.width

        def image() -> tfds.features.Image:
            return tfds.features.Image(shape=(height, width, 3), encoding_format="png")

        def label() -> tfds.features.Image:
            return tfds.features.Image(shape=(height, width, 1), encoding_format="png")

        return tfds.core.DatasetInfo(
            builder=self,
            description=_DESCRIPTION,
            features=tfds.features.FeaturesDict(
                {
                    "id": tfds.features.Text(),
                    "image": image(),
                    "label": label(),
                    "transfer": tfds.features.Sequence(
                        {"target_image": image(), "target_label": label(), "image": image()}
                    ),
                }
            ),
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        return {
            split: self._generate_examples(split, getattr(self.builder_config, f"num_{split}"))
            for split in ("train", "validation", "test")
        }

    def _generate_examples(self, split: str, count: int) -> Iterator[tuple[str, dict[str, Any]]]:
        for index in log_progress(range(count), f"drawing {self.name}: {split}", count):
            name = f"{split}_{index:06d}"
            yield name, {"id": name, **self._example(split, index)}

    def _example(self, split: str, index: int) -> dict[str, Any]:
        """Returns the encoded features of one example, without its id."""
        size = self.builder_config.height, self.builder_config.width
        subject, target = sample_scenes(split, index)
        image, label = scenes.draw(*subject, *size)
        example: dict[str, Any] = {"image": _png(image), "label": _png(label), "transfer": []}
        if split != "train":
            target_image, target_label = scenes.draw(*target, *size)
            transferred, _ = scenes.draw(target[0], target[1], subject[2], *size)
            example["transfer"] = [
                {
                    "target_image": _png(target_image),
                    "target_label": _png(target_label),
                    "image": _png(transferred),
                }
            ]
        return example


def sample_scenes(split: str, index: int) -> tuple[Scene, Scene]:
    """Samples the factors of an example's scene and of the scene that receives its person.

    A hat is the only part that a scene may lack. If the subject has no hat, neither has the target,
    because an image without a hat does not show what the person's hat looks like.

    Args:
      split: 'train', 'validation' or 'test'.
      index: index of the example in its split.

    Returns:
      (background, pose, appearance) of the subject, and of the target.
    """
    # crc32 rather than hash(), which differs between processes.
    rng = np.random.default_rng((SEED, zlib.crc32(split.encode()), index))
    subject = _sample_scene(rng)
    while True:
        target = _sample_scene(rng)
        if subject[1].hat != "none" or target[1].hat == "none":
            return subject, target


def _sample_scene(rng: np.random.Generator) -> Scene:
    return (
        scenes.Background.sample(rng),
        scenes.Pose.sample(rng),
        scenes.Appearance.sample(rng),
    )


def _png(pixels: np.ndarray) -> bytes:
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, format="PNG")
    return encoded.getvalue()
