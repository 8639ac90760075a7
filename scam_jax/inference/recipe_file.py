"""Recipes as JSON files.

  {"pictures": {"target": {"photo": "b.jpg", "labels": "b.png"},
                "subject": {"photo": "a.jpg", "labels": "a.png"}},
   "givers": {"hair": {"subject": 1.0}, "top": {"subject": 0.5}},
   "absent": "outerwear<top"}

Pictures other than the target have any names. The keys of `givers` are labels, by name or number;
what the shares of a label leave to 1 is the target's. `absent` says what stands in for labels that
a giver lacks, see `sources`. `labels` may hold another label map to generate than the target's.

Files are read as `TrainedModel.read` does, and may lack `labels` if the model has a parser. A
picture may also lie in the recipe itself, as 'data:image/png;base64,…'. It then has the model's
size, and its label map has the model's own labels. So has `labels`.
"""

import base64
import binascii
import contextlib
import io
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from scam_jax import console, files
from scam_jax.examples import Picture
from scam_jax.inference import sources
from scam_jax.inference.decoding import decode
from scam_jax.inference.model import TrainedModel
from scam_jax.inference.recipe import TARGET, Recipe

_EMBEDDED = "data:image/png;base64,"
_KEYS = ("pictures", "givers", "labels", "absent")


def read(file: pathlib.Path, model: TrainedModel) -> Recipe:
    """Reads a recipe; the paths in it are relative to its folder.

    Args:
      file: the JSON file.
      model: the model to use it with.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it is no recipe for this model, or a picture cannot be read; names what is wrong.
    """
    with _naming(file):
        return from_json(files.read_json(file), model, file.parent)


def files_of(file: pathlib.Path) -> list[pathlib.Path]:
    """Returns the files that a recipe's pictures are read from.

    Args:
      file: the JSON file.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it is no JSON file, or has no pictures.
    """
    with _naming(file):
        pictures = _object(files.read_json(file), "pictures")
        given = [_object(pictures, name) for name in pictures]
    names = [text for picture in given for text in picture.values() if isinstance(text, str)]
    return [_place(file.parent, name) for name in names if not name.startswith(_EMBEDDED)]


@contextlib.contextmanager
def _naming(file: pathlib.Path) -> Iterator[None]:
    """Names the recipe in errors of what it holds."""
    try:
        yield
    except ValueError as error:
        raise error if str(file) in str(error) else ValueError(f"{file}: {error}") from error


def _place(folder: pathlib.Path, name: str) -> pathlib.Path:
    return folder / console.path(name)


def from_json(
    values: Mapping[str, Any], model: TrainedModel, folder: pathlib.Path | None = None
) -> Recipe:
    """Converts the values of a recipe file.

    Args:
      values: the values.
      model: the model to use the recipe with.
      folder: the folder of relative paths, or None to refuse paths.

    Raises:
      ValueError: see `read`.
    """
    if unknown := sorted(values.keys() - {*_KEYS}):
        raise ValueError(f"unknown key {unknown[0]!r}: a recipe has {', '.join(_KEYS)}")
    given = _object(values, "pictures")
    pictures = {name: _picture(name, _object(given, name), model, folder) for name in given}
    labels = None
    if values.get("labels") is not None:
        labels = _label_map("labels", values["labels"], model)
    return assemble(values, pictures, labels, model)


def assemble(
    values: Mapping[str, Any],
    pictures: Mapping[str, Picture],
    labels: np.ndarray | None,
    model: TrainedModel,
) -> Recipe:
    """Returns a recipe of pictures, with `givers` and `absent` of the values of a file.

    Args:
      values: the values.
      pictures: its pictures, of the model's size.
      labels: the label map to generate, or None for the target's.
      model: the model to use the recipe with.

    Raises:
      ValueError: see `read`.
    """
    if TARGET not in pictures:
        raise ValueError("pictures.target is missing: the picture whose label map is generated")
    absent = values.get("absent", sources.TARGET)
    num_labels, names = model.config.data.num_labels, model.label_names
    if not isinstance(absent, str):
        raise ValueError(f"absent: a text is needed, not {absent!r}")
    sources.AbsentRule.parse(absent, num_labels, names)
    givers = {}
    for key, shares in _object(values, "givers", {}).items():
        label = sources.find_label(key, num_labels, names)
        if label in givers:
            raise ValueError(f"givers.{key}: label {label} is there twice: keep one of the two")
        givers[label] = _shares(f"givers.{key}", shares, pictures)
    if labels is not None:
        labels = _checked("labels", labels, model)
    return Recipe(pictures, givers, labels, absent)


def to_json(recipe: Recipe, label_names: Sequence[str] = ()) -> dict[str, Any]:
    """Returns the values of a recipe file that holds its pictures."""

    def name_of(label: int) -> str:
        name = label_names[label] if label < len(label_names) else ""
        return name if list(label_names).count(name) == 1 else str(label)

    pictures = {
        name: {"photo": _embedded(picture.image), "labels": _embedded(picture.labels)}
        for name, picture in recipe.pictures.items()
    }
    givers = {name_of(label): dict(shares) for label, shares in recipe.givers.items()}
    values: dict[str, Any] = {"pictures": pictures, "givers": givers, "absent": recipe.absent}
    if recipe.labels is not None:
        values["labels"] = _embedded(recipe.labels)
    return values


def _object(values: Mapping[str, Any], key: str, default: Any = None) -> Mapping[str, Any]:
    value = values.get(key, default)
    if not isinstance(value, dict):
        raise ValueError(f"{key}: {{…}} is needed, not {str(value)[:40]}")
    return value


def _shares(key: str, shares: Any, pictures: Mapping[str, Picture]) -> dict[str, float]:
    if not isinstance(shares, dict):
        raise ValueError(f"{key}: {{…}} is needed, such as {{'subject': 1.0}}")
    for name, share in shares.items():
        if name not in pictures or name == TARGET:
            known = ", ".join(sorted(pictures.keys() - {TARGET})) or "none"
            raise ValueError(f"{key}: {name!r} is no giver of this recipe, which has {known}")
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
            raise ValueError(f"{key}.{name} = {share!r}: a number from 0 to 1 is needed")
    if sum(shares.values()) > 1 + 1e-6:
        raise ValueError(f"{key}: the shares sum to {sum(shares.values()):g}, more than 1")
    return {name: float(share) for name, share in shares.items()}


def _picture(
    name: str, given: Mapping[str, Any], model: TrainedModel, folder: pathlib.Path | None
) -> Picture:
    photo, labels = given.get("photo"), given.get("labels")
    if not isinstance(photo, str) or not isinstance(labels, str | None):
        raise ValueError(f"pictures.{name}: a photo is needed, and its labels: two texts")
    if photo.startswith(_EMBEDDED):
        key = f"pictures.{name}.photo"
        image = np.asarray(_decoded(key, photo).convert("RGB"))
        if image.shape[:2] != _size(model):
            raise ValueError(f"{key} is {_times(image.shape)}: need {_times(_size(model))}")
        return Picture(image, _label_map(f"pictures.{name}.labels", labels, model))
    if folder is None:
        raise ValueError(f"pictures.{name}.photo does not lie in the recipe")
    return model.read(_place(folder, photo), None if labels is None else _place(folder, labels))


def _label_map(key: str, value: Any, model: TrainedModel) -> np.ndarray:
    if not isinstance(value, str) or not value.startswith(_EMBEDDED):
        raise ValueError(f"{key}: need {_EMBEDDED}…, a label map of the model's own labels")
    picture, content = _decoded(key, value), _content(key, value)
    # Pillow scales grey values of fewer bits to 0 … 255.
    if content[25:26] == b"\0" and content[24] < 8:
        raise ValueError(f"{key}: a PNG of {content[24]} bits a pixel: save it with 8")
    if picture.mode not in ("L", "P"):
        raise ValueError(f"{key}: a picture with one channel is needed, not {picture.mode}")
    return _checked(key, np.array(picture), model)


def _checked(key: str, labels: np.ndarray, model: TrainedModel) -> np.ndarray:
    num_labels = model.config.data.num_labels
    if labels.shape != _size(model):
        raise ValueError(f"{key} is {_times(labels.shape)}: need {_times(_size(model))}")
    if labels.max() > num_labels - (model.networks.ignored is None):
        raise ValueError(f"{key} has the label {labels.max()}: need 0 … {num_labels - 1}")
    return labels


def _size(model: TrainedModel) -> tuple[int, int]:
    return model.config.data.height, model.config.data.width


def _times(shape: Sequence[int]) -> str:
    return f"{shape[0]}×{shape[1]}"


def _decoded(key: str, value: str) -> Image.Image:
    return decode(io.BytesIO(_content(key, value)), pathlib.Path(key))


def _content(key: str, value: str) -> bytes:
    try:
        return base64.b64decode(value.removeprefix(_EMBEDDED), validate=True)
    except binascii.Error as error:
        raise ValueError(f"{key}: not base64 ({error})") from error


def _embedded(array: np.ndarray) -> str:
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "PNG")
    return _EMBEDDED + base64.b64encode(stream.getvalue()).decode()
