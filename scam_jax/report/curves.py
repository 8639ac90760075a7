"""Curves of a report: what was logged against the step, a colour a model, seeds as a band."""

import io
import math
import pathlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from scam_jax.report.figure_tables import Key, Numbered
from scam_jax.report.runs import Model

# On a light and on a dark ground; told apart by the colour-blind too, best by threes, which is how
# the dashes change. The first are Okabe and Ito's.
COLOURS = (
    ("#0072b2", "#4aa8e8"),
    ("#d55e00", "#ff8a3d"),
    ("#009e73", "#5fe0b0"),
    ("#c45ad0", "#d77fe0"),
    ("#6b3d00", "#f5e27a"),
    ("#26282b", "#ffffff"),
)
DASHES = ("solid", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (5, 1.5, 1, 1.5)))
# Points that a curve is drawn with at most; of more, each is the mean of so many.
MOST_POINTS = 200
_COLUMNS, _WIDTH, _HEIGHT = 3, 3.6, 2.5
# Drawn in these, and replaced by what the page's colour scheme says.
_TEXT, _RULE = "#010203", "#040506"
_STYLE = {
    "font.size": 8.5,
    "axes.titlesize": 9.5,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.linewidth": 0.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "svg.fonttype": "none",
    "path.simplify": True,
}


class Curve(NamedTuple):
    """A metric of a model: over the steps that all of its seeds logged.

    Attributes:
      steps: `[N]`.
      mean, low, high: `[N]` each, over the seeds.
      points: of how many logged values of a run each is the mean.
    """

    steps: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    points: int


class Plots(NamedTuple):
    """Plots that stand together.

    Attributes:
      title: what they are of.
      name: for files.
      metrics: a plot each.
      models: that are drawn, with their numbers.
      points: of how many logged values a point is the mean, at most.
      constant: the value of each metric that never changes, and so has no plot.
      is_main: what is looked at first.
    """

    title: str
    name: str
    metrics: Sequence[str]
    models: Sequence[Numbered]
    points: int
    constant: Mapping[str, float]
    is_main: bool


def curve_of(model: Model, metric: str) -> Curve | None:
    """None if a seed has not logged the metric."""
    logged = [run.curves.get(metric, {}) for run in model.runs]
    steps = sorted(set.intersection(*(set(values) for values in logged)))
    if not steps:
        return None
    size = 1 if is_figure(metric) else math.ceil(len(steps) / MOST_POINTS)
    parts = [slice(i, i + size) for i in range(0, len(steps), size)]
    values = np.array([[run[step] for step in steps] for run in logged])
    means = np.stack([values[:, part].mean(1) for part in parts], 1)
    at = np.array([np.mean(steps[part]) for part in parts])
    return Curve(at, means.mean(0), means.min(0), means.max(0), size)


def plots_of(models: Sequence[Model]) -> list[Plots]:
    """Validation figures, losses, and the rest, of each data set."""
    plots = []
    rest = "Gradient norms and weights"
    by_data = dict.fromkeys(model.data for model in models)
    for data in by_data:
        same = [(i, model) for i, model in enumerate(models) if model.data == data]
        names = sorted({name for _, m in same for run in m.runs for name in run.curves})
        kinds = {
            "Validation during training": sorted(filter(is_figure, names), key=_place),
            "Training losses": [n for n in names if "/" not in n],
            rest: [n for n in names if "/" in n and not n.startswith("eval/")],
        }
        for kind, metrics in kinds.items():
            title = kind if len(by_data) == 1 else f"{kind} · {data}"
            made = _plots(title, f"curves_{len(plots)}", same, metrics)
            plots += [made._replace(is_main=kind != rest)] if metrics else []
    return plots


def is_figure(metric: str) -> bool:
    """Whether it is of an evaluation in training: 'eval/PROTOCOL/METRIC'."""
    return metric.startswith("eval/") and metric.count("/") > 1


def _place(metric: str) -> tuple:
    _, protocol, name = metric.split("/", 2)
    return Key(name, protocol).place


def _plots(title: str, name: str, models: Sequence[Numbered], metrics: Sequence[str]) -> Plots:
    constant, changing, points = {}, [], 1
    for metric in metrics:
        curves = [c for _, model in models if (c := curve_of(model, metric)) is not None]
        values = np.concatenate([np.concatenate([c.low, c.high]) for c in curves] or [[]])
        if len(values) and np.ptp(values) == 0:
            constant[metric] = float(values[0])
        elif len(values):
            changing.append(metric)
            points = max(points, *(c.points for c in curves))
    return Plots(title, name, changing, models, points, constant, is_main=True)


def style(number: int) -> tuple[int, int]:
    """A model's colour and dash, by its number in the report."""
    return number % len(COLOURS), number // 3 % len(DASHES)


def svgs(plots: Plots) -> Iterator[str]:
    """Each plot as an inline SVG whose colours are the page's: --series-N, --rule, its text."""
    for number, metric in enumerate(plots.metrics):
        salt = f"{plots.name}_{number}"
        with matplotlib.rc_context({**_STYLE, "svg.hashsalt": salt, **_colours(_TEXT, _RULE)}):
            figure = Figure((_WIDTH, _HEIGHT), layout="constrained")
            _draw(figure.add_subplot(), plots, metric)
            file = io.StringIO()
            figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
        yield _for_page(file.getvalue(), metric, salt)


def save_png(plots: Plots, path: pathlib.Path) -> None:
    """All plots as one picture, on white, with the models' names."""
    rows = math.ceil(len(plots.metrics) / _COLUMNS)
    with matplotlib.rc_context({**_STYLE, **_colours("#222222", "#dddddd")}):
        figure = Figure((_COLUMNS * _WIDTH, rows * _HEIGHT + 0.4), layout="constrained")
        axes = figure.subplots(rows, _COLUMNS, squeeze=False).ravel()
        for axis, metric in zip(axes, plots.metrics, strict=False):
            _draw(axis, plots, metric)
        for axis in axes[len(plots.metrics) :]:
            axis.set_axis_off()
        lines = [_line([], [], number) for number, _ in plots.models]
        names = [_plain(model.name) for _, model in plots.models]
        figure.legend(lines, names, loc="outside upper left", ncols=5, frameon=False)
        figure.savefig(path, dpi=130)


def _draw(axes: Axes, plots: Plots, metric: str) -> None:
    for number, model in plots.models:
        curve = curve_of(model, metric)
        if curve is None:
            continue
        line = _line(curve.steps, curve.mean, number)
        if len(curve.steps) < 12:
            line.set(marker="o", markersize=2.5)
        axes.add_line(line)
        if len(model.runs) > 1:
            axes.fill_between(
                curve.steps, curve.low, curve.high, color=line.get_color(), alpha=0.18, linewidth=0
            )
    axes.autoscale()
    axes.set_title(_plain(title_of(metric)), loc="left")
    axes.set_xlabel("step")
    axes.set_ylabel(_plain(unit_of(metric)))
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.xaxis.set_major_formatter(lambda step, _: f"{step:,.0f}")


def _line(steps: Sequence[float], values: Sequence[float], number: int) -> Line2D:
    colour, dash = style(number)
    return Line2D(steps, values, color=COLOURS[colour][0], linestyle=DASHES[dash], linewidth=1.4)


def title_of(metric: str) -> str:
    """'PSNR (ours)' of 'eval/ours/PSNR'; other names with spaces."""
    if is_figure(metric):
        _, protocol, name = metric.split("/", 2)
        return f"{name} ({protocol})"
    return metric.replace("_", " ").replace("/", ": ")


def unit_of(metric: str) -> str:
    """What the vertical axis says."""
    if is_figure(metric):
        return "dB" if metric.endswith("PSNR") else metric.split("/")[-1]
    if metric.startswith("gradient_norm/"):
        return "norm"
    return "weight" if metric.startswith("weight/") else "loss"


def _plain(text: str) -> str:
    """Text in which matplotlib sees no formula."""
    return text.replace("$", r"\$")


def _colours(text: str, rule: str) -> dict[str, str]:
    names = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
    return {**dict.fromkeys(names, text), "grid.color": rule}


def _for_page(svg: str, metric: str, salt: str) -> str:
    """The SVG's element alone, its colours the page's, its ids its own, with a name to read out."""
    svg = svg[svg.index("<svg") :].replace(_TEXT, "currentColor").replace(_RULE, "var(--rule)")
    for number, (light, _) in enumerate(COLOURS):
        svg = svg.replace(light, f"var(--series-{number})")
    svg = re.sub(r' id="([^"]+)"', rf' id="{salt}_\1"', svg)
    svg = re.sub(r'"#([^"]+)"|url\(#([^)]+)\)', lambda m: _renamed(m, salt), svg)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' (width|height)="[\d.]+pt"', "", svg, count=2)
    svg = re.sub(r'font: [^;"]*?(\d[\d.]*)px [^;"]*', r"font-size: \1px", svg)
    return svg.replace("<svg", f'<svg role="img" aria-label="{_attribute(title_of(metric))}"', 1)


def _renamed(match: re.Match, salt: str) -> str:
    target, clip = match.groups()
    return f'"#{salt}_{target}"' if target else f"url(#{salt}_{clip})"


def _attribute(text: str) -> str:
    quoted = text.replace("&", "&amp;").replace("<", "&lt;")
    return quoted.replace('"', "&quot;")
