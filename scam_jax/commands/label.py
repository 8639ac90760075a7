"""Draws the label maps of photos: `python main.py --mode=label --workdir=RUN --photos=DIR`."""

import csv
import io
import operator
import pathlib
from collections.abc import Container, Mapping, Sequence

import jax
import numpy as np
from absl import logging
from etils import epath
from ml_collections import ConfigDict
from tqdm import tqdm

from scam_jax import files, images
from scam_jax.devices import sharding
from scam_jax.examples import Picture
from scam_jax.inference import label_files, photos
from scam_jax.inference.decoding import printable
from scam_jax.inference.fitting import fit
from scam_jax.inference.label_colors import LabelColors
from scam_jax.inference.label_map import LabelMap
from scam_jax.inference.model import parser_of
from scam_jax.inference.parsing import PhotoParser
from scam_jax.inference.resizing import resize_bilinear, resize_nearest

LABELS, TO_CHECK = "labels", "labels_to_check"
CONFIDENCES, LEGEND = "confidence.csv", "legend.png"
# Photos on a page, and in a row of it.
PAGE, ROW = 48, 6
# Height of a photo on a page.
SHOWN_HEIGHT = 160
# Rows and columns of a colour of the legend, and colours in a row of it.
SWATCH, LEGEND_ROW = (24, 160), 4


def label(workdir: epath.Path, folder: pathlib.Path) -> None:
    """Writes FOLDER/labels/NAME.png for every photo of a folder, and pages to look at.

    FOLDER/labels_to_check has all photos with a label map that the parser drew, the least confident
    first, the number and the colour of each label, and confidence.csv. A label map that exists is
    kept.

    Args:
      workdir: a run with a parser, or a release with one.
      folder: the photos.

    Raises:
      FileNotFoundError: the folder or the parser is missing.
      ValueError: there are no photos, two have one name, or some cannot be read; names them. Those
        that can be read have label maps. Or confidence.csv was changed.
    """
    found = _photos(folder)
    if (parser := parser_of(workdir)) is None:
        raise FileNotFoundError(
            f"{workdir} has no parser: train one by main.py --mode=parser --workdir={workdir}"
        )
    if jax.process_index() == 0:
        files.check_writable("--photos", folder / LABELS)
        files.check_writable("--photos", folder / TO_CHECK)
        _label(parser, folder, found, _Confidences(folder / TO_CHECK / CONFIDENCES))
    sharding.wait_for_all("label maps written")


def _photos(folder: pathlib.Path) -> list[pathlib.Path]:
    if not folder.is_dir():
        raise FileNotFoundError(f"--photos={folder} is no folder: give a folder of photos")
    found: dict[str, pathlib.Path] = {}
    visible = [f for f in sorted(folder.iterdir()) if not (f.is_dir() or f.name.startswith("."))]
    others = [f for f in visible if f.suffix.lower() not in images.FORMATS]
    for file in visible:
        if file in others:
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
    if others:
        logging.warning(
            "passed over %d of %d files, such as %s: photos end in %s",
            *(len(others), len(visible), printable(others[0].name), ", ".join(images.FORMATS)),
        )
    return [*found.values()]


class _Confidences:
    """The parser's confidence in each label map that it drew, in a file.

    The file is written as each photo is done, so that a stopped command loses none.
    """

    def __init__(self, file: pathlib.Path):
        self.file = file
        self.by_name: dict[str, float] = {}
        rows = [*csv.reader(file.read_text("utf-8").splitlines())] if file.is_file() else []
        for number, row in enumerate(rows[1:], 2):
            try:
                name, confidence = row
                self.by_name[name] = float(confidence)
            except ValueError as error:
                raise ValueError(
                    f"{file}, line {number}: not a photo and its confidence: remove this line"
                ) from error

    def add(self, name: str, confidence: float) -> None:
        self.by_name[name] = confidence
        self.write()

    def keep(self, names: Container[str]) -> None:
        """Leaves out all but some photos, and sorts: the least confident come first."""
        kept = {name: value for name, value in self.by_name.items() if name in names}
        self.by_name = dict(sorted(kept.items(), key=operator.itemgetter(1)))
        self.write()

    def write(self) -> None:
        text = io.StringIO()
        rows = [(name, f"{confidence:.4f}") for name, confidence in self.by_name.items()]
        csv.writer(text).writerows([("photo", "confidence"), *rows])
        files.write(self.file, text.getvalue())


def _label(
    parser: PhotoParser, folder: pathlib.Path, found: list[pathlib.Path], confidences: _Confidences
) -> None:
    faults: list[ValueError] = []
    drawn: list[float] = []
    kept = 0
    for photo in tqdm(found, unit="photo", disable=None):
        place = _label_map_of(photo)
        if place.exists():
            kept += 1
            continue
        try:
            image = photos.read_photo(photo)
        except ValueError as error:
            logging.error("%s", error)
            faults.append(error)
            continue
        photos.tell_stretched(photo, image.shape[:2], parser.config.data)
        labels, confidence = parser(image)
        confidences.add(printable(photo.name), confidence)
        label_files.write(place, labels, parser.config.data)
        drawn.append(confidence)
    labelled = {printable(photo.name): photo for photo in found if _label_map_of(photo).exists()}
    confidences.keep(labelled)
    if labelled:
        images.save(folder / TO_CHECK / LEGEND, _legend(parser.config.data, parser.label_names))
    _write_pages(folder / TO_CHECK, confidences.by_name, labelled, parser.config.data)
    if drawn:
        print(
            f"wrote {len(drawn)} label maps to {folder / LABELS}, mean confidence "
            f"{sum(drawn) / len(drawn):.0%}\n"
            f"Look at {folder / TO_CHECK}: the least confident come first"
        )
    if kept:
        print(f"kept {kept} label maps that were there")
    if faults:
        raise ValueError(f"{len(faults)} of {len(found)} photos have no label map: {faults[0]}")


def _label_map_of(photo: pathlib.Path) -> pathlib.Path:
    return photo.parent / LABELS / f"{photo.stem}.png"


def _write_pages(
    folder: pathlib.Path,
    confidences: Mapping[str, float],
    labelled: Mapping[str, pathlib.Path],
    data: ConfigDict,
) -> None:
    """Draws all photos beside their label maps, and removes pages of earlier times."""
    names = [*confidences]
    pages = [names[start : start + PAGE] for start in range(0, len(names), PAGE)]
    files_of_pages = [folder / f"page_{number:03}.jpg" for number in range(1, len(pages) + 1)]
    for file, page in zip(files_of_pages, pages, strict=True):
        cells = [
            images.captioned(_beside(labelled[name], data), f"{name[:28]} {confidences[name]:.0%}")
            for name in page
        ]
        images.save(file, images.grid([cells[i : i + ROW] for i in range(0, len(cells), ROW)]))
    for file in {*folder.glob("page_*.jpg")} - {*files_of_pages}:
        file.unlink()


def _legend(data: ConfigDict, names: Sequence[str]) -> np.ndarray:
    """Draws the number of each label in files, its name, and its colour on the pages."""
    names = names or [""] * data.num_labels
    shown = zip(LabelMap.of(data).numbers, names, _colors(data)[: data.num_labels], strict=True)
    cells = [
        images.captioned(np.full((*SWATCH, 3), color), f"{number} {name}", SWATCH[0])
        for number, name, color in shown
        if number >= 0
    ]
    blank = np.full_like(cells[0], 255)
    cells += [blank] * (-len(cells) % LEGEND_ROW)
    return images.grid([cells[i : i + LEGEND_ROW] for i in range(0, len(cells), LEGEND_ROW)])


def _colors(data: ConfigDict) -> np.ndarray:
    """Returns the colour of each label, that in files if these are in colours: uint8 `[L + 1, 3]`.

    The last one, white, is that of pixels to leave out.
    """
    label_map = LabelMap.of(data)
    colors = images.colorize(np.arange(data.num_labels + 1), data.num_labels)
    listed = LabelColors.of(data, label_map)
    if listed is not None:
        has_color = np.flatnonzero(label_map.numbers >= 0)
        colors[has_color] = np.array(listed.colors, np.uint8)[label_map.numbers[has_color]]
    return colors


def _beside(photo: pathlib.Path, data: ConfigDict) -> np.ndarray:
    """Draws a photo, and its label map over it, in the shape of the model."""
    width = round(SHOWN_HEIGHT * data.width / data.height)
    label_map = LabelMap.of(data)
    pair = photos.read_pair(photo, _label_map_of(photo), label_map, LabelColors.of(data, label_map))
    picture = fit(Picture(pair.image, pair.labels), data)
    image = resize_bilinear(picture.image, SHOWN_HEIGHT, width)
    colors = _colors(data)[resize_nearest(picture.labels, SHOWN_HEIGHT, width)]
    over = (0.3 * image + 0.7 * colors).round().astype(np.uint8)
    return np.concatenate([image, over], axis=1)
