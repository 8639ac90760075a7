"""Galleries: plots of logged metrics over steps, and the pictures that evaluations drew."""

import io
import itertools
import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from etils import epath
from matplotlib import style
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.rcsetup import cycler
from PIL import Image

from scam_jax.evaluation.results import number
from scam_jax.report.document import Gallery, Picture, file_name
from scam_jax.report.runs import Model
from scam_jax.report.tables import Group
from scam_jax.runs import run_folder

# Prefix of metrics that evaluations during training log.
_VALIDATION = "eval/"
# Longer curves of training are drawn as means of consecutive values.
MOST_POINTS = 200
_STYLE: dict[Any, Any] = {
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "font.size": 8.5,
    "grid.color": "#dddddd",
    "savefig.dpi": 160,
    "text.parse_math": False,
}
# Six colours that the colour-blind can tell apart, then the same with other dashes.
_LINES = cycler(linestyle=["-", "--", ":"]) * style.library["petroff6"]["axes.prop_cycle"]
_Lines = Mapping[str, Mapping[str, Any]]
# Titles of galleries by a pattern of the metrics in them.
_CURVES = {
    "Validation during training": _VALIDATION,
    "Training losses": "[^/]*$",
    "Gradient norms and weights": f"(?!{_VALIDATION}).*/",
}
# Explanation by file name; pictures of attention carry their own labels.
_PANELS = {
    "reconstruction": "Rows: image, labels, reconstruction.",
    "transfer": "Rows: subject, target, its labels, subject in place of the target.",
    "attention_encoder": "Per block: latent of most weight per pixel.",
    "attention_generator": "Per modulation: latent of most weight per pixel.",
}
# Narrower pictures, in pixels, are enlarged without smoothing.
_SMALL_WIDTH = 640


def curve_of(model: Model, metric: str) -> np.ndarray | None:
    """Returns a metric of a model at the steps that all of its seeds logged.

    Returns:
      Steps, mean over the seeds, minimum, maximum: `[4, N]`; None if a seed lacks the metric.
    """
    logged = [run.curves.get(metric, {}) for run in model.runs]
    steps = sorted(set.intersection(*map(set, logged)))
    if not steps:
        return None
    size = 1 if metric.startswith(_VALIDATION) else -(-len(steps) // MOST_POINTS)
    values = np.array([steps, *([run[step] for step in steps] for run in logged)])
    starts = np.arange(0, len(steps), size)
    at, *means = np.add.reduceat(values, starts, axis=1) / np.diff(starts, append=len(steps))
    return np.stack([at, np.mean(means, 0), np.min(means, 0), np.max(means, 0)])


@matplotlib.rc_context(_STYLE)
def curves(models: Sequence[Model]) -> list[Gallery]:
    """Returns, per data set, plots of validation metrics, of losses, and of the rest.

    A gallery of several models starts with the key to their lines. Constant metrics are listed.
    """
    galleries: list[Gallery] = []
    lines = dict(zip((model.name for model in models), _LINES(), strict=False))
    data_sets = dict.fromkeys(model.data for model in models)
    for data, (title, pattern) in itertools.product(data_sets, _CURVES.items()):
        same = [model for model in models if model.data == data]
        names = {name for model in same for run in model.runs for name in run.curves}
        plots: list[Picture] = []
        constants: list[str] = []
        drawn: dict[str, Mapping[str, Any]] = {}
        for metric in sorted(filter(re.compile(pattern).match, names)):
            found = {m.name: c for m in same if (c := curve_of(m, metric)) is not None}
            values = np.concatenate([np.empty(0), *(c[2:].ravel() for c in found.values())])
            if values.size and np.ptp(values) == 0:
                constants.append(f"{metric} = {number(values[0])}")
            elif values.size:
                drawn |= {model: lines[model] for model in found}
                file = file_name("curves", len(galleries), len(plots), metric)
                plots.append(Picture(file, _plot(metric, found, lines), metric))
        if len(drawn) > 1:
            file = file_name("curves", len(galleries), "key")
            plots.insert(0, Picture(file, _key(drawn), f"Key: {', '.join(drawn)}"))
        about = f"Constant, not drawn: {', '.join(constants)}." if constants else ""
        if about or plots:
            galleries.append(Gallery(f"{title} · {data}", about, plots))
    return galleries


def _plot(title: str, curves: Mapping[str, np.ndarray], lines: _Lines) -> bytes:
    figure = Figure((3.6, 2.5), layout="constrained")
    axes = figure.add_subplot(title=title, xlabel="step")
    for name, (steps, mean, low, high) in curves.items():
        axes.plot(steps, mean, marker="." if len(steps) < 12 else "", **lines[name])
        axes.fill_between(steps, low, high, color=lines[name]["color"], alpha=0.2, linewidth=0)
    axes.locator_params(axis="x", nbins=5, integer=True)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    return _png(figure)


def _key(lines: _Lines) -> bytes:
    labels = [textwrap.fill(name, 40) for name in lines]
    figure = Figure((3.6, max(2.5, 0.25 * len("\n".join(labels).splitlines()))))
    handles = [Line2D([], [], label=a, **b) for a, b in zip(labels, lines.values(), strict=True)]
    figure.legend(handles=handles, loc="upper left", frameon=False)
    return _png(figure)


def _png(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def panels(groups: Sequence[Group]) -> list[Gallery]:
    """Returns a gallery per kind of picture, with one picture per model.

    Raises:
      ValueError: names a file that is no picture.
    """
    galleries: list[Gallery] = []
    for group, (kind, about) in itertools.product(groups, _PANELS.items()):
        title = kind.replace("_", ": ").capitalize()
        pictures: list[Picture] = []
        for model in group.models:
            for run in model.runs:
                file = run_folder.evaluation(run.folder, group.split) / f"{kind}.png"
                if file.is_file():
                    caption = f"{model.name}, seed {run.seed}"
                    name = file_name(kind, len(galleries), len(pictures), caption)
                    png = file.read_bytes()
                    is_small = _is_small(file, png)
                    pictures.append(Picture(name, png, f"{title}, {caption}", caption, is_small))
                    break
        if pictures:
            title = f"{title} · {group.data} · {group.split} split"
            galleries.append(Gallery(title, about, pictures, kind.startswith("attention")))
    return galleries


def _is_small(file: epath.Path, content: bytes) -> bool:
    try:
        with Image.open(io.BytesIO(content)) as picture:
            return picture.width < _SMALL_WIDTH
    except OSError as error:
        raise ValueError(
            f"{file} is damaged ({error}): draw it anew by main.py --mode=eval"
        ) from error
