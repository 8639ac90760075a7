"""Tables of metrics: by protocol, transfers against the truth, PSNR by region."""

import collections
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from scam_jax.evaluation.results import Figure, number
from scam_jax.evaluation.summary import PARSED
from scam_jax.report import published
from scam_jax.report.document import Cell, Table
from scam_jax.report.runs import SPLITS, Model, Run

# Follows a deviation over the seeds of an evaluation.
OF_EVALUATION = "ᵉ"
_TRANSFERS = ("transfer PSNR", "subject transfer PSNR")
# Decimals by metric, in the order of the columns; other metrics have four significant digits.
_DECIMALS = dict(PSNR=2, SSIM=4, L1=4, LPIPS=4) | {"R-FID": 2, "S-FID": 2}
_DECIMALS |= {"clean R-FID": 2, "clean S-FID": 2, "R-KID": 2, "S-KID": 2}
_DECIMALS |= dict(REIDSim=3, REIDAcc=3) | dict.fromkeys(_TRANSFERS, 2)
# A column: protocol, metric, unit, and whether higher is better (None: neither).
_Kind = tuple[str, str, str, bool | None]
_ARROWS = {True: " ↑", False: " ↓", None: ""}
# Training seed and figure of each run of a model that has the figure.
_Found = list[tuple[int, Figure]]


class Group(NamedTuple):
    """Models with comparable metrics: same data set and split."""

    data: str
    split: str
    models: Sequence[Model]

    @property
    def evaluated(self) -> list[Run]:
        return [run for model in self.models for run in model.evaluated(self.split)]

    @property
    def counts(self) -> set[int]:
        """Numbers of evaluated images; more than one if evaluations differ."""
        return {run.evaluations[self.split].count for run in self.evaluated}

    @property
    def title(self) -> str:
        images = f" · {_either(self.counts)} images" if self.counts else ""
        return f"{self.data} · {self.split} split{images}"

    def figures(self) -> dict[tuple[_Kind, str], list[_Found]]:
        """Returns the figures of each model, by kind and part."""
        found: dict[tuple[_Kind, str], list[_Found]] = collections.defaultdict(
            lambda: [[] for _ in self.models]
        )
        for i, model in enumerate(self.models):
            for run in model.evaluated(self.split):
                for f in run.evaluations[self.split].figures:
                    kind = f.protocol, f.metric, f.unit, f.higher_is_better
                    found[kind, f.part][i].append((run.seed, f))
        return dict(found)


def groups_of(models: Sequence[Model]) -> list[Group]:
    """Groups models by data set and evaluated split; by the test split if there is none."""
    groups = []
    for data in dict.fromkeys(model.data for model in models):
        same = [model for model in models if model.data == data]
        splits = [split for split in SPLITS if any(model.evaluated(split) for model in same)]
        groups += [Group(data, split, same) for split in splits or SPLITS[:1]]
    return groups


def metric_tables(group: Group, of_folders: str | None) -> tuple[Table, Table | None, Table | None]:
    """Returns the tables of whole images; the last two are None if they would be empty.

    Returns:
      Metrics, with comparable published rows (see `published.rows_beside`); standard deviations
      over images, averaged over runs; transfers against the truth, with methods without a model.
    """
    columns: dict[_Kind, list[Cell]] = {}
    spreads: dict[_Kind, list[Cell]] = {}
    transfers: dict[_Kind, list[Cell]] = {}
    no_model: dict[str, dict[_Kind, str]] = collections.defaultdict(dict)
    for (kind, part), found in group.figures().items():
        protocol, metric, unit, _ = kind
        if not part:
            same = transfers if metric in _TRANSFERS else columns
            same[kind] = _cells(group, kind, found)
            values = [[f.spread for _, f in some if f.spread is not None] for some in found]
            texts = [_formatted(statistics.fmean(v), metric) if v else "–" for v in values]
            if any(values):
                spreads[protocol, metric, unit, None] = [Cell(text) for text in texts]
        elif metric in _TRANSFERS:
            # Equal for all evaluations of the same images.
            equal = {_formatted(f.mean, metric) for some in found for _, f in some}
            name = part if part == PARSED else f"{part} (no model)"
            no_model[name][kind] = " or ".join(sorted(equal))
    rows, note = published.rows_beside(group.models[0].config, group.split, of_folders)
    title = f"Standard deviation over images · {group.data} · {group.split} split"
    return (
        _table(group, group.title, columns, rows)._replace(note=note),
        _table(group, title, spreads, {})._replace(is_folded=True) if spreads else None,
        _table(group, group.title, transfers, no_model) if transfers else None,
    )


def region_tables(group: Group) -> list[Table]:
    """PSNR of each region, one table per label set; rows are regions."""
    label_sets = collections.defaultdict(list)
    for model in group.models:
        if model.evaluated(group.split):
            key = model.config["data.num_labels"], model.config["data.label_map"]
            label_sets[key].append(model)
    tables = []
    for (num_labels, label_map), models in label_sets.items():
        some = group._replace(models=models)
        names = max((run.evaluations[group.split].label_names for run in some.evaluated), key=len)
        rows = {}
        for (kind, _), found in some.figures().items():
            figures = [f for of_model in found for _, f in of_model]
            if (label := figures[0].label) is not None:
                counts = {f.count for f in figures if f.count is not None}
                head = [Cell(figures[0].part_named(names)), Cell(_either(counts))]
                rows[label] = [*head, *_cells(some, kind, found)]
        title = f"{group.title} · {num_labels} labels" + (f" by {label_map!r}" * bool(label_map))
        head = [Cell("region"), Cell("images")]
        head += [Cell(f"{model.name} ↑", style="number") for model in models]
        tables += [Table(title, head, [rows[label] for label in sorted(rows)])] if rows else []
    return tables


def _table(
    group: Group,
    title: str,
    columns: Mapping[_Kind, Sequence[Cell]],
    references: Mapping[str, Mapping[_Kind, str]],
) -> Table:
    """A table with one row per model of the columns' cells, and rows that are no models."""
    order = {metric: i for i, metric in enumerate(_DECIMALS)}
    kinds = sorted(
        {*columns}.union(*references.values()),
        key=lambda kind: (kind[0], order.get(kind[1], len(order)), kind[1]),
    )
    head = [Cell("model"), Cell("seeds")]
    for protocol, metric, unit, higher_is_better in kinds:
        text = (f"{metric}, {unit}" if unit else metric) + _ARROWS[higher_is_better]
        head.append(Cell(text, protocol, "number"))
    rows = []
    for i, model in enumerate(group.models):
        seeds = [str(run.seed) for run in model.evaluated(group.split)]
        of_all = f" of {len(model.runs)}" if len(seeds) < len(model.runs) else ""
        about = Cell(f"{len(seeds)}{of_all}", f"({', '.join(seeds)})")
        cells = [columns[kind][i] if kind in columns else Cell("–") for kind in kinds]
        rows.append([Cell(model.name), about if seeds else Cell("not evaluated"), *cells])
    for name, values in references.items():
        cells = [Cell(values.get(kind, "–")) for kind in kinds]
        rows.append([Cell(name, style="reference"), Cell(""), *cells])
    return Table(title, head, rows)


def _cells(group: Group, kind: _Kind, found: Sequence[_Found]) -> list[Cell]:
    """One cell per model; the best is marked if there are several."""
    _, metric, _, higher_is_better = kind
    means = [statistics.fmean(f.mean for _, f in some) if some else math.nan for some in found]
    finite = [mean for mean in means if math.isfinite(mean)]
    best = _formatted((max if higher_is_better else min)(finite), metric) if finite else ""
    cells = []
    for model, figures, mean in zip(group.models, found, means, strict=True):
        text, rest = _formatted(mean, metric), _deviation(figures, metric)
        if len(figures) < len(model.evaluated(group.split)):
            rest = f"{rest} (n = {len(figures)})".strip()
        style = "best" if text == best and len(finite) > 1 else ""
        detail = ", ".join(f"seed {seed}: {_formatted(f.mean, metric)}" for seed, f in figures)
        cells.append(Cell(text, rest, style, detail) if figures else Cell("–"))
    return cells


def _deviation(figures: _Found, metric: str) -> str:
    """'± 0.12', the standard deviation (n − 1) over runs, or over evaluation seeds of one run."""
    values = figures[0][1].values if len(figures) == 1 else [f.mean for _, f in figures]
    if len(values) < 2 or not all(map(math.isfinite, values)):
        return ""
    deviation = statistics.stdev(values)
    text = _formatted(deviation, metric)
    if deviation > 1e-6 and not float(text):
        text = np.format_float_positional(deviation, precision=1, fractional=False, trim="-")
    return f"± {text}" + (OF_EVALUATION if len(figures) == 1 else "")


def _formatted(value: float, metric: str) -> str:
    return f"{value:.{_DECIMALS[metric]}f}" if metric in _DECIMALS else number(value)


def _either(numbers: Iterable[int]) -> str:
    return " or ".join(f"{n:,}" for n in sorted(numbers))
