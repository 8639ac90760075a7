"""Tables of metrics: by protocol, transfers against the truth, PSNR by region."""

import collections
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from scam_jax.evaluation.results import Figure, number
from scam_jax.report import published
from scam_jax.report.document import Cell, Column, Table
from scam_jax.report.runs import SPLITS, Model, Run

# Follows a deviation over the seeds of an evaluation.
OF_EVALUATION = "ᵉ"
_TRANSFERS = ("transfer PSNR", "subject transfer PSNR")
# Decimals by metric, in the order of the columns; other metrics have four significant digits.
_DECIMALS = dict(PSNR=2, SSIM=4, L1=4, LPIPS=4) | {"R-FID": 2, "S-FID": 2}
_DECIMALS |= dict(REIDSim=3, REIDAcc=3) | dict.fromkeys(_TRANSFERS, 2)
_REGION = "label "
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


def main_table(group: Group, of_folders: str | None) -> Table:
    """Metrics of whole images, with comparable published rows, see `published.rows_beside`."""
    columns = {
        kind: _cells(group, kind, found)
        for (kind, part), found in group.figures().items()
        if not part and kind[1] not in _TRANSFERS
    }
    rows, note = published.rows_beside(group.models[0].config, group.split, of_folders)
    return _table(group, group.title, columns, rows)._replace(note=note)


def spread_table(group: Group) -> Table | None:
    """Standard deviations over images, averaged over runs; None if no metric has one."""
    columns: dict[_Kind, list[Cell]] = {}
    for (kind, part), found in group.figures().items():
        spreads = [[f.spread for _, f in some if f.spread is not None] for some in found]
        if not part and any(spreads):
            texts = [_formatted(statistics.fmean(s), kind[1]) if s else "–" for s in spreads]
            columns[*kind[:3], None] = [Cell(text) for text in texts]
    title = f"Standard deviation over images · {group.data} · {group.split} split"
    return _table(group, title, columns)._replace(is_folded=True) if columns else None


def transfer_table(group: Group) -> Table | None:
    """Transfers against the truth, with methods that need no model; None if no truth is known."""
    columns: dict[_Kind, list[Cell]] = {}
    references: dict[str, dict[_Kind, str]] = collections.defaultdict(dict)
    for (kind, part), found in group.figures().items():
        if kind[1] in _TRANSFERS and part:
            # Equal for all evaluations of the same images.
            values = {_formatted(f.mean, f.metric) for some in found for _, f in some}
            references[f"{part} (no model)"][kind] = " or ".join(sorted(values))
        elif kind[1] in _TRANSFERS:
            columns[kind] = _cells(group, kind, found)
    return _table(group, group.title, columns, references) if columns else None


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
        evaluations = [run.evaluations[group.split] for run in some.evaluated]
        names = next((e.label_names for e in evaluations if e.label_names), ())
        rows = {}
        for (kind, part), found in some.figures().items():
            if part.startswith(_REGION):
                label = int(part.removeprefix(_REGION))
                name = f"{label} {names[label]}" if label < len(names) else part
                counts = {f.count for figures in found for _, f in figures if f.count is not None}
                rows[label] = [Cell(name), Cell(_either(counts)), *_cells(some, kind, found)]
        title = f"{group.title} · {num_labels} labels" + (f" by {label_map!r}" * bool(label_map))
        heads = [Column("region"), Column("images")]
        heads += [Column(f"{model.name} ↑", is_number=True) for model in models]
        tables += [Table(title, heads, [rows[label] for label in sorted(rows)])] if rows else []
    return tables


def _table(
    group: Group,
    title: str,
    columns: Mapping[_Kind, Sequence[Cell]],
    references: Mapping[str, Mapping[_Kind, str]] | None = None,
) -> Table:
    """A table with one row per model of the columns' cells, and rows that are no models."""
    references = references or {}
    order = {metric: i for i, metric in enumerate(_DECIMALS)}
    kinds = sorted(
        {*columns}.union(*references.values()),
        key=lambda kind: (kind[0], order.get(kind[1], len(order)), kind[1]),
    )
    heads = [Column("model"), Column("seeds")]
    for protocol, metric, unit, higher_is_better in kinds:
        text = (f"{metric}, {unit}" if unit else metric) + _ARROWS[higher_is_better]
        heads.append(Column(text, protocol, is_number=True))
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
    return Table(title, heads, rows)


def _cells(group: Group, kind: _Kind, found: Sequence[_Found]) -> list[Cell]:
    """One cell per model; the best is marked if there are several."""
    cells, means = [], []
    for model, figures in zip(group.models, found, strict=True):
        if not figures:
            cells.append(Cell("–"))
            continue
        means.append(statistics.fmean(f.mean for _, f in figures))
        rest = _deviation(figures, kind[1])
        if len(figures) < len(model.evaluated(group.split)):
            rest = f"{rest} (n = {len(figures)})".strip()
        detail = ", ".join(f"seed {seed}: {_formatted(f.mean, kind[1])}" for seed, f in figures)
        cells.append(Cell(_formatted(means[-1], kind[1]), rest, detail=detail))
    finite = [mean for mean in means if math.isfinite(mean)]
    if len(finite) > 1:
        best = _formatted((max if kind[3] else min)(finite), kind[1])
        cells = [c._replace(style="best") if c.text == best else c for c in cells]
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
