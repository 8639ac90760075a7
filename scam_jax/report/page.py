"""A report as one HTML file that needs no other."""

import pathlib
from collections.abc import Sequence
from typing import Any

import jinja2
from markupsafe import Markup, escape

from scam_jax.evaluation.results import number
from scam_jax.report import curves, pictures
from scam_jax.report.content import Report
from scam_jax.report.facts import runs_table

_TEMPLATE, _STYLE = "report.html.jinja", "report.css"
_FOLDER = pathlib.Path(__file__).parent
_DASHES = ("none", "7 2", "2 2", "7 2 2 2")
# Kinds of pictures that are open at first, and how many plots may be.
_OPEN = ("reconstruction", "transfer")


def html(report: Report) -> str:
    """The whole page; everything that comes from runs is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.globals["style"] = curves.style
    environment.filters["prose"] = _prose
    return environment.get_template(_TEMPLATE).render(
        report=report,
        css=Markup(_css()),
        models=[model.name for model in report.models],
        runs=runs_table(report.models),
        curves=[_curves(plots) for plots in report.plots],
        panels=[_panel(panel, len(report.panels)) for panel in report.panels],
    )


def _css() -> str:
    """The style, with the series' colours in both schemes."""
    schemes = [
        " ".join(f"--series-{i}: {pair[k]};" for i, pair in enumerate(curves.COLOURS))
        for k in (0, 1)
    ]
    lines = [
        (_FOLDER / _STYLE).read_text(),
        f":root {{ {schemes[0]} }}",
        f"@media screen and (prefers-color-scheme: dark) {{ :root {{ {schemes[1]} }} }}",
    ]
    lines += [f".series-{i} {{ stroke: var(--series-{i}); }}" for i in range(len(curves.COLOURS))]
    lines += [f".dash-{i} {{ stroke-dasharray: {dash}; }}" for i, dash in enumerate(_DASHES)]
    return "\n".join(lines)


def _prose(text: str) -> Markup:
    """Text whose `commands` are set as code."""
    parts = [
        Markup("<code>{}</code>").format(part) if i % 2 else escape(part)
        for i, part in enumerate(text.split("`"))
    ]
    return Markup("").join(parts)


def _curves(plots: curves.Plots) -> dict[str, Any]:
    constant = ", ".join(f"{name} = {number(value)}" for name, value in plots.constant.items())
    return {
        "title": plots.title,
        "points": plots.points,
        "constant": constant,
        "drawings": [Markup(svg) for svg in curves.svgs(plots)],
        "open": plots.is_main,
    }


def _panel(panel: pictures.Panel, count: int) -> dict[str, Any]:
    title, about = pictures.KINDS[panel.kind]
    embedded: Sequence[tuple] = [
        (shown.model.name, shown.run.seed, shown.number, pictures.embed(shown.file))
        for shown in panel.shown
    ]
    return {
        "title": f"{title} · {panel.group.data} · {panel.group.split} split",
        "about": about,
        "pictures": embedded,
        "open": panel.kind in _OPEN or count <= len(_OPEN),
        "reduced": any(picture.is_reduced for *_, picture in embedded),
    }
