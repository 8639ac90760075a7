"""Pictures in the folder `examples` of a release, so that who has it can try the model.

NN.png and NN_labels.png                          a picture
NN_subject.png, NN_target.png, and their labels   the two pictures of a transfer, with
NN_transfer.png                                   its true result
"""

import contextlib
import pathlib
import tempfile
from collections.abc import Iterable, Iterator

import numpy as np
from etils import epath
from ml_collections import ConfigDict

from scam_jax import buckets, images
from scam_jax.examples import Example, Picture
from scam_jax.inference import label_files, photos

FOLDER = "examples"
PEOPLE = ("subject", "target")
TRUTH = "transfer_image"


def write(folder: pathlib.Path, examples: Iterable[Example], data: ConfigDict) -> None:
    """Writes examples as picture files.

    Args:
      folder: the folder of the release.
      examples: pictures, or transfers with their true results.
      data: `config.data` of the model, whose numbers the label maps get.
    """
    for i, example in enumerate(examples):
        start = folder / FOLDER / f"{i:02}"
        if TRUTH in example:
            images.save(start.with_name(f"{start.name}_transfer.png"), example[TRUTH])
            people = {f"{start.name}_{who}": person_of(example, who) for who in PEOPLE}
        else:
            people = {start.name: Picture.of(example)}
        for name, picture in people.items():
            images.save(start.with_name(f"{name}.png"), picture.image)
            label_files.write(start.with_name(f"{name}_labels.png"), picture.labels, data)


def person_of(example: Example, who: str) -> Picture:
    """Returns the 'subject' or the 'target' of a transfer."""
    return Picture(example[f"{who}_image"], example[f"{who}_label"])


def load(folder: epath.Path, data: ConfigDict) -> list[Example]:
    """Reads the examples of a release; an empty list if it has none.

    Args:
      folder: the release, in a bucket too.
      data: `config.data` of the model.

    Raises:
      ValueError: a file is missing or damaged; names it.
    """

    with _in_a_folder(folder / FOLDER) as place:
        return _read(place, data)


@contextlib.contextmanager
def _in_a_folder(place: epath.Path) -> Iterator[pathlib.Path]:
    """Gives a folder, or for a time a copy of one in a bucket: photos are read from folders."""
    if not buckets.is_in_bucket(place):
        yield pathlib.Path(place)
        return
    with tempfile.TemporaryDirectory() as copy:
        for file in place.glob("*.png"):
            (pathlib.Path(copy) / file.name).write_bytes(file.read_bytes())
        yield pathlib.Path(copy)


def _read(place: pathlib.Path, data: ConfigDict) -> list[Example]:
    def read(name: str) -> Picture:
        return photos.read_picture(place / f"{name}.png", place / f"{name}_labels.png", data)

    examples: list[Example] = []
    names = sorted(file.name for file in place.glob("*_labels.png"))
    for start in dict.fromkeys(name.split("_")[0] for name in names):
        if f"{start}_labels.png" in names:
            picture = read(start)
            examples.append({"image": picture.image, "label": picture.labels})
            continue
        truth = np.asarray(photos.read_photo(place / f"{start}_transfer.png"))
        example = {TRUTH: truth}
        for who in PEOPLE:
            picture = read(f"{start}_{who}")
            example |= {f"{who}_image": picture.image, f"{who}_label": picture.labels}
        examples.append(example)
    return examples
