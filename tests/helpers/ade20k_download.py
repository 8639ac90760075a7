"""A small download of ADE20K in its real layout."""

import pathlib

import numpy as np
from PIL import Image

from data.builders.ade20k import Ade20kConfig

ROOT = "ADEChallengeData2016"
TRAIN_PHOTOS, TRAIN_LABELS = f"{ROOT}/images/training", f"{ROOT}/annotations/training"
GREY, CMYK = 1, 3  # of the train split
TINY = Ade20kConfig(name="tiny", description="For tests.", num_train=5, num_test=2)


def name_of(split: str, i: int) -> str:
    prefix = {"training": "ADE_train", "validation": "ADE_val"}[split]
    return f"{prefix}_{i + 1:08d}"


def labels_of(i: int, split: str) -> np.ndarray:
    """A label map of a size of its own, whose highest label is 150."""
    labels = np.random.default_rng((i, len(split))).integers(0, 151, (20 + i, 30), np.uint8)
    labels[0, 0] = 150
    return labels


def write_download(folder: pathlib.Path) -> None:
    for split, count in (("training", 5), ("validation", 2)):
        images, annotations = (folder / ROOT / kind / split for kind in ("images", "annotations"))
        images.mkdir(parents=True)
        annotations.mkdir(parents=True)
        # Not in the order of the names.
        for i in reversed(range(count)):
            labels = labels_of(i, split)
            file = annotations / f"{name_of(split, i)}.png"
            Image.fromarray(labels).save(file, compress_level=0)
            noise = np.random.default_rng(i).integers(0, 256, (*labels.shape, 3), np.uint8)
            modes = {GREY: "L", CMYK: "CMYK"} if split == "training" else {}
            photo = Image.fromarray(noise).convert(modes.get(i, "RGB"))
            photo.save(images / f"{name_of(split, i)}.jpg", quality=90)
        for hidden in (".DS_Store", "._ADE_train_00000001.jpg", "Thumbs.db"):
            (images / hidden).write_bytes(b"not a photo")
