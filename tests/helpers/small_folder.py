"""A folder of photos and label maps that the tests of data start from."""

import pathlib

import numpy as np
from PIL import Image

HEIGHT, WIDTH, NUM_LABELS = 12, 8, 5


def write(
    root: pathlib.Path, name: str, image: np.ndarray, label: np.ndarray, split: str = "train"
) -> None:
    """Writes a pair; `name` is that of the photo."""
    for kind, file, pixels in (("images", name, image), ("labels", f"{name[:-4]}.png", label)):
        folder = root / split / kind
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / file)


def make(root: pathlib.Path) -> None:
    """Three pairs in each of train and test, of other sizes than asked for."""
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        for name in ("b.png", "a.jpg", "c.png"):
            image = rng.integers(0, 256, (30, 20, 3), dtype=np.uint8)
            label = rng.integers(0, NUM_LABELS, (15, 10), dtype=np.uint8)
            write(root, name, image, label, split)


def labels_of(root: pathlib.Path, name: str) -> np.ndarray:
    """A training pair's label map as it is in the file."""
    return np.asarray(Image.open(root / "train" / "labels" / f"{name}.png"))
