"""Small downloads of CelebAMask-HQ in the official layout and in that of SEAN's authors."""

import pathlib

import numpy as np
from PIL import Image

from data.builders.celeba_mask_hq import LABELS, PARTS

PHOTOS, MASKS = "CelebAMask-HQ/CelebA-HQ-img", "CelebAMask-HQ/CelebAMask-HQ-mask-anno"
SEAN = "CelebA-HQ/train"
HEIGHT, WIDTH = 16, 24


def photo_of(number: int) -> Image.Image:
    noise = np.random.default_rng((1, number)).integers(0, 256, (8, 8, 3), np.uint8)
    return Image.fromarray(noise).resize((32, 32))


def masks_of(number: int) -> dict[str, np.ndarray]:
    """A few large rectangles, which overlap."""
    rng = np.random.default_rng((2, number))
    masks = {str(part): np.zeros((16, 16), bool) for part in rng.choice(PARTS, 5, replace=False)}
    for mask in masks.values():
        top, left = rng.integers(0, 8, 2)
        mask[top : top + rng.integers(5, 9), left : left + rng.integers(5, 9)] = True
    assert np.sum(list(masks.values()), axis=0).max() > 1
    return masks


def labels_of(number: int, height: int, width: int) -> np.ndarray:
    # A later part's label is higher, so that "later over earlier" is the maximum.
    labels = np.max([mask * LABELS.index(part) for part, mask in masks_of(number).items()], axis=0)
    rows, columns = [[i * 16 // n for i in range(n)] for n in (height, width)]
    return np.array([[labels[row, column] for column in columns] for row in rows])


def sean_labels_of(number: int) -> np.ndarray:
    return np.random.default_rng((3, number)).integers(0, 19, (HEIGHT, WIDTH), np.uint8)


def as_saved(mask: np.ndarray) -> list[Image.Image]:
    """A mask in each mode that it may be saved in."""
    grey = Image.fromarray(np.where(mask, 255, 0).astype(np.uint8))
    faint_blue = Image.fromarray(mask[..., None] * np.array([0, 0, 1], np.uint8))
    white_first = Image.fromarray(np.where(mask, 0, 1).astype(np.uint8), "P")
    white_first.putpalette([255, 255, 255, 0, 0, 0])
    faint = Image.fromarray(mask.astype(np.uint16))
    return [grey, faint_blue, white_first, faint, grey.convert("1"), grey.convert("RGBA")]


def save(picture: Image.Image, file: pathlib.Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    picture.save(file)


def mask_file(folder: pathlib.Path, number: int, part: str) -> pathlib.Path:
    return folder / MASKS / str(number // 4) / f"{number:05d}_{part}.png"


def write_download(folder: pathlib.Path) -> None:
    """Numbers 0 to 8, both as published and as SEAN's authors merged them."""
    for number in range(9):
        save(photo_of(number), folder / PHOTOS / f"{number}.jpg")
        for i, (part, mask) in enumerate(masks_of(number).items()):
            save(as_saved(mask)[(number + i) % 6], mask_file(folder, number, part))
        split = folder / "CelebA-HQ" / ("train" if number < 6 else "test")
        save(photo_of(number), split / "images" / f"{number}.{'jpg' if number % 2 else 'png'}")
        labels = Image.fromarray(sean_labels_of(number))
        if number == 3:
            labels = labels.convert("P")
            labels.putpalette([255 - i // 3 for i in range(768)])
        save(labels, split / "labels" / f"{number}.png")
    for name in (".DS_Store", "._00000_skin.png", "Thumbs.db"):
        (folder / MASKS / "0" / name).write_bytes(b"not a mask")
