"""Pictures of a report: each model's panels, to be looked at side by side."""

import base64
import io
import pathlib
import re
import shutil
from collections.abc import Sequence
from typing import NamedTuple

from PIL import Image

from scam_jax.report.figure_tables import Group
from scam_jax.report.runs import Model, Run
from scam_jax.runs import run_folder

# Title, and what its rows are, see `panels`; those of attention say it themselves.
KINDS = {
    "reconstruction": ("Reconstruction", "Rows: image, labels, reconstruction."),
    "transfer": (
        "Transfer",
        "Rows: subject, target, the target's labels, the subject in the target's place.",
    ),
    "attention_encoder": (
        "Attention of the encoder",
        "By block: the latent that has the greatest weight at each pixel.",
    ),
    "attention_generator": (
        "Attention of the generator",
        "By modulation: the latent that has the greatest weight at each pixel.",
    ),
}
# Pixels; wider pictures are reduced in the HTML, narrower ones enlarged by a whole factor.
_WIDEST, _WIDE = 2400, 640


class Shown(NamedTuple):
    """A picture of a model.

    Attributes:
      number, model: which one.
      run: whose picture it is.
      file: the picture's.
    """

    number: int
    model: Model
    run: Run
    file: pathlib.Path


class Panel(NamedTuple):
    """One kind of picture of all models, on one split.

    Attributes:
      kind: of KINDS.
      group: data set and split.
      shown: a picture a model.
    """

    kind: str
    group: Group
    shown: Sequence[Shown]


class Embedded(NamedTuple):
    """A picture for HTML.

    Attributes:
      uri: the PNG itself, as a data URI.
      width, height: to be shown at, in CSS pixels.
      is_enlarged, is_reduced: it is shown larger than the file's; it is smaller.
    """

    uri: str
    width: int
    height: int
    is_enlarged: bool
    is_reduced: bool


def panels_of(groups: Sequence[Group]) -> list[Panel]:
    """All pictures; of each model those of its first seed that has any."""
    panels = []
    for group in groups:
        chosen = [(number, model, _first(model, group.split)) for number, model in group.models]
        for kind in KINDS:
            shown = [
                Shown(number, model, run, file)
                for number, model, run in chosen
                if run is not None and (file := _file(run, group.split, kind)).is_file()
            ]
            panels += [Panel(kind, group, shown)] if shown else []
    return panels


def _first(model: Model, split: str) -> Run | None:
    for run in model.runs:
        if any(_file(run, split, kind).is_file() for kind in KINDS):
            return run
    return None


def _file(run: Run, split: str, kind: str) -> pathlib.Path:
    return run_folder.evaluation(run.folder, split) / f"{kind}.png"


def embed(file: pathlib.Path) -> Embedded:
    """A PNG as a data URI, reduced if very wide.

    Raises:
      ValueError: names a file that is no picture.
    """
    content = file.read_bytes()
    try:
        with Image.open(io.BytesIO(content)) as picture:
            width, height = picture.size
            if width > _WIDEST:
                reduced = _WIDEST, round(height * _WIDEST / width)
                content = _png(picture.convert("RGB").resize(reduced, Image.Resampling.LANCZOS))
    except OSError as error:
        raise ValueError(
            f"{file} is damaged ({error}): draw it anew by main.py --mode=eval"
        ) from error
    scale = max(1, _WIDE // width)
    uri = "data:image/png;base64," + base64.b64encode(content).decode("ascii")
    return Embedded(uri, width * scale, height * scale, scale > 1, width > _WIDEST)


def _png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, format="png")
    return file.getvalue()


def copy(shown: Shown, panel: Panel, folder: pathlib.Path) -> pathlib.Path:
    """Copies a picture as it is; returns its path. Names of models need not be those of files."""
    plain = re.sub(r"[^A-Za-z0-9-]+", "_", shown.model.name)
    name = f"{shown.number}_{plain}_seed_{shown.run.seed}_{panel.group.split}_{panel.kind}.png"
    shutil.copyfile(shown.file, folder / name)
    return folder / name
