"""Draws the label maps of photos: `python main.py --mode=label --workdir=RUN --photos=DIR`."""

import csv
import io
import pathlib
from typing import NamedTuple

import jax
import numpy as np
from absl import logging
from etils import epath
from ml_collections import ConfigDict
from tqdm import tqdm

from scam_jax import files, images
from scam_jax.devices import sharding
from scam_jax.inference import label_files, photos
from scam_jax.inference.decoding import printable
from scam_jax.inference.model import parser_of
from scam_jax.inference.parsing import PhotoParser
from scam_jax.inference.resizing import resize_bilinear, resize_nearest

LABELS, TO_CHECK = "labels", "labels_to_check"
# Photos on a page, and in a row of it.
PAGE, ROW = 48, 6
# Height of a photo on a page.
SHOWN_HEIGHT = 160


class _Drawn(NamedTuple):
    name: str
    confidence: float
    pair: np.ndarray


def label(workdir: epath.Path, folder: pathlib.Path) -> None:
    """Writes FOLDER/labels/NAME.png for every photo of a folder, and pages to look at.

    FOLDER/labels_to_check has photos beside their label maps, the least confident first, and
    confidence.csv. A label map that exists is kept.

    Args:
      workdir: a run with a parser, or a release with one.
      folder: the photos.

    Raises:
      FileNotFoundError: the folder or the parser is missing.
      ValueError: there are no photos, two have one name, or some cannot be read; names them. Those
        that can be read have label maps.
    """
    found = _photos(folder)
    if (parser := parser_of(workdir)) is None:
        raise FileNotFoundError(
            f"{workdir} has no parser: train one by main.py --mode=parser --workdir={workdir}"
        )
    if jax.process_index() == 0:
        files.check_writable("--photos", folder / LABELS)
        files.check_writable("--photos", folder / TO_CHECK)
        _label(parser, folder, found)
    sharding.wait_for_all("label maps written")


def _photos(folder: pathlib.Path) -> list[pathlib.Path]:
    if not folder.is_dir():
        raise FileNotFoundError(f"--photos={folder} is no folder: give a folder of photos")
    found: dict[str, pathlib.Path] = {}
    for file in sorted(folder.iterdir()):
        if file.name.startswith(".") or file.suffix.lower() not in images.FORMATS:
            continue
        if other := found.get(file.stem):
            raise ValueError(
                f"{printable(other)} and {printable(file)} would share "
                f"{printable(file.stem)}.png: rename one"
            )
        found[file.stem] = file
    if not found:
        raise ValueError(
            f"--photos={folder} has no photos: files that end in {', '.join(images.FORMATS)}"
        )
    return [*found.values()]


def _label(parser: PhotoParser, folder: pathlib.Path, found: list[pathlib.Path]) -> None:
    drawn: list[_Drawn] = []
    faults: list[ValueError] = []
    kept = 0
    for photo in tqdm(found, unit="photo", disable=None):
        place = folder / LABELS / f"{photo.stem}.png"
        if place.exists():
            kept += 1
            continue
        try:
            image = photos.read_photo(photo)
        except ValueError as error:
            logging.error("%s", error)
            faults.append(error)
            continue
        labels, confidence = parser(image)
        label_files.write(place, labels, parser.config.data)
        drawn.append(
            _Drawn(printable(photo.name), confidence, _beside(image, labels, parser.config))
        )
    if drawn:
        drawn.sort(key=lambda one: one.confidence)
        _write_pages(folder / TO_CHECK, drawn)
        average = sum(one.confidence for one in drawn) / len(drawn)
        print(
            f"wrote {len(drawn)} label maps to {folder / LABELS}, mean confidence {average:.0%}\n"
            f"Look at {folder / TO_CHECK}: the least confident come first"
        )
    if kept:
        print(f"kept {kept} label maps that were there")
    if faults:
        raise ValueError(f"{len(faults)} of {len(found)} photos have no label map: {faults[0]}")


def _beside(image: np.ndarray, labels: np.ndarray, config: ConfigDict) -> np.ndarray:
    """Draws a photo, and its label map over it, in the shape of the model."""
    width = round(SHOWN_HEIGHT * config.data.width / config.data.height)
    image = resize_bilinear(image, SHOWN_HEIGHT, width)
    colors = images.colorize(resize_nearest(labels, SHOWN_HEIGHT, width), config.data.num_labels)
    over = (0.3 * image + 0.7 * colors).round().astype(np.uint8)
    return np.concatenate([image, over], axis=1)


def _write_pages(folder: pathlib.Path, drawn: list[_Drawn]) -> None:
    text = io.StringIO()
    csv.writer(text).writerows(
        [("photo", "confidence"), *((one.name, f"{one.confidence:.4f}") for one in drawn)]
    )
    files.write(folder / "confidence.csv", text.getvalue())
    for start in range(0, len(drawn), PAGE):
        page = drawn[start : start + PAGE]
        cells = [
            images.captioned(one.pair, f"{one.name[:28]} {one.confidence:.0%}") for one in page
        ]
        rows = [cells[i : i + ROW] for i in range(0, len(cells), ROW)]
        images.save(folder / f"page_{1 + start // PAGE:03}.jpg", images.grid(rows))
