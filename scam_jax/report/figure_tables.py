"""The tables of figures: by data set and split, of regions, and of transfers against the truth."""

import dataclasses
import shlex
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from scam_jax.evaluation.results import AUTHORS, OURS, Figure
from scam_jax.report import published
from scam_jax.report.runs import SPLITS, DataSet, Model, Run
from scam_jax.report.tables import (
    COMPARED,
    NOTHING,
    PUBLISHED_ROW,
    RUN,
    Cell,
    Column,
    Row,
    Summary,
    Table,
    best_of,
    formatted,
    short_list,
)

GROUPS = {
    AUTHORS: "the authors' protocol",
    published.PUBLISHED: "published",
    OURS: "our protocol",
}
HEADS = ("model", "seeds")
_TRANSFERS = ("transfer PSNR", "subject transfer PSNR")
_ORDER = ("PSNR", "SSIM", "L1", "LPIPS", "R-FID", "S-FID", "REIDSim", "REIDAcc", *_TRANSFERS)
# A model and its number in the report, for its colour.
Numbered = tuple[int, Model]


class Key(NamedTuple):
    """What a column is of, see `figures.Figure`."""

    metric: str
    protocol: str
    part: str = ""

    @property
    def place(self) -> tuple:
        """Of its column, left to right."""
        known = self.metric in _ORDER
        rank = _ORDER.index(self.metric) if known else len(_ORDER)
        protocols = [*GROUPS]
        group = protocols.index(self.protocol) if self.protocol in GROUPS else len(protocols)
        return group, self.protocol, rank, self.metric


class Kind(NamedTuple):
    """What all figures of a key have in common."""

    unit: str
    higher_is_better: bool


Keys = Mapping[Key, Kind]


class Group(NamedTuple):
    """Models whose figures can be compared: of one data set and split."""

    data: DataSet
    split: str
    models: Sequence[Numbered]

    def evaluations(self) -> Iterator[tuple[Numbered, Run]]:
        for numbered in self.models:
            for run in numbered[1].evaluated(self.split):
                yield numbered, run

    @property
    def title(self) -> str:
        counts = {run.evaluations[self.split].count for _, run in self.evaluations()}
        images = " or ".join(f"{count:,}" for count in sorted(counts))
        return f"{self.data} · {self.split} split" + (f" · {images} images" if counts else "")


def groups_of(models: Sequence[Model]) -> list[Group]:
    """By data set, the splits that any of its models was evaluated on; 'test' if none was."""
    groups = []
    for data in dict.fromkeys(model.data for model in models):
        same = [(i, model) for i, model in enumerate(models) if model.data == data]
        splits = [s for s in SPLITS if any(model.evaluated(s) for _, model in same)]
        groups += [Group(data, split, same) for split in splits or SPLITS[:1]]
    return groups


def evaluate_command(run: Run, split: str) -> str:
    """The command that evaluates a run."""
    command = f"python main.py --mode=eval --workdir={shlex.quote(str(run.folder))}"
    return command if split == SPLITS[0] else f"{command} --split={split}"


def figures_of(model: Model, split: str, key: Key) -> list[tuple[int, Figure]]:
    """A figure of each run that has it, with the training seed."""
    return [
        (run.seed, figure)
        for run in model.evaluated(split)
        for figure in run.evaluations[split].figures
        if (figure.metric, figure.protocol, figure.part) == key
    ]


def summary_of(model: Model, split: str, key: Key) -> Summary | None:
    """Of all runs that have the figure; None if none has."""
    figures = figures_of(model, split, key)
    return Summary.of(figures) if figures else None


def keys_of(group: Group) -> Keys:
    """All figures that any model has."""
    return {
        Key(f.metric, f.protocol, f.part): Kind(f.unit, f.higher_is_better)
        for _, run in group.evaluations()
        for f in run.evaluations[group.split].figures
    }


def main_table(group: Group, paper: published.DataSet | None) -> Table:
    """All metrics of whole images, and the published rows under them.

    Args:
      group: of models.
      paper: the data set of the paper whose figures can stand beside these; or None.
    """
    keys = {
        key: kind
        for key, kind in keys_of(group).items()
        if not key.part and key.metric not in _TRANSFERS
    }
    if paper is not None:
        for metric in paper.values("SCAM"):
            protocol, *kind = published.METRICS[metric]
            keys.setdefault(Key(metric, protocol), Kind(*kind))
    keys = dict(sorted(keys.items(), key=lambda item: item[0].place))
    rows = model_rows(group, keys)
    if paper is not None:
        rows += [_published_row(paper, method, keys) for method in reversed(paper.rows)]
    return Table(group.title, HEADS, _columns(keys) or [Column("")], rows)


def spread_table(group: Group) -> Table | None:
    """Standard deviations over images, a mean over runs; None where no figure has one."""
    keys = [key for key in keys_of(group) if not key.part]
    cells: dict[Key, list[Cell]] = {}
    for key in sorted(keys, key=lambda key: key.place):
        spreads = [
            [f.spread for _, f in figures_of(model, group.split, key) if f.spread is not None]
            for _, model in group.models
        ]
        if any(spreads):
            means = [formatted(statistics.fmean(s), key.metric) if s else None for s in spreads]
            cells[key] = [NOTHING if mean is None else Cell(mean) for mean in means]
    if not cells:
        return None
    kinds = keys_of(group)
    columns = [
        dataclasses.replace(column, arrow="") for column in _columns({k: kinds[k] for k in cells})
    ]
    rows = [
        Row(
            model.name,
            RUN,
            [column[i] for column in cells.values()],
            about_seeds(model, group.split),
            number,
        )
        for i, (number, model) in enumerate(group.models)
        if model.evaluated(group.split)
    ]
    title = f"Standard deviation over images · {group.data} · {group.split} split"
    return Table(title, HEADS, columns, rows)


def transfer_table(group: Group) -> Table | None:
    """Transfers against their truth, beside what needs no model; None where no truth is known."""
    keys = keys_of(group)
    wholes = {key: kind for key, kind in keys.items() if key.metric in _TRANSFERS and not key.part}
    if not wholes:
        return None
    rows = model_rows(group, wholes)
    parts = dict.fromkeys(key.part for key in keys if key.metric in _TRANSFERS and key.part)
    rows += [_compared_row(group, part, wholes) for part in parts]
    return Table(group.title, HEADS, _columns(wholes), rows)


def model_rows(group: Group, keys: Keys) -> list[Row]:
    """A row a model, the best of each column marked."""
    models = [model for _, model in group.models]
    cells: list[list[Cell]] = [[] for _ in models]
    for key, kind in keys.items():
        summaries = [summary_of(model, group.split, key) for model in models]
        best = best_of(summaries, kind.higher_is_better)
        for row, model, summary in zip(cells, models, summaries, strict=True):
            row.append(cell_of(summary, len(model.evaluated(group.split)), best))
    return [
        Row(model.name, RUN, row, about_seeds(model, group.split), number)
        if model.evaluated(group.split)
        else _not_evaluated(number, model, group.split)
        for (number, model), row in zip(group.models, cells, strict=True)
    ]


def about_seeds(model: Model, split: str) -> str:
    """'3 (0–2)' or '2 of 3 (0, 1)': how many training seeds were evaluated, and which."""
    seeds = [run.seed for run in model.evaluated(split)]
    of_all = "" if len(seeds) in (0, len(model.runs)) else f" of {len(model.runs)}"
    return f"{len(seeds) or len(model.runs)}{of_all} ({short_list(seeds or model.seeds)})"


def cell_of(summary: Summary | None, runs: int, best: str | None) -> Cell:
    """A figure in a table, `best` being what the best of its column reads like."""
    if summary is None:
        return NOTHING
    cell = summary.cell(runs)
    return dataclasses.replace(cell, is_best=cell.value == best)


def _not_evaluated(number: int, model: Model, split: str) -> Row:
    commands = [evaluate_command(run, split) for run in model.runs]
    message = "not evaluated"
    return Row(model.name, RUN, (), about_seeds(model, split), number, message, commands)


def _published_row(paper: published.DataSet, method: str, keys: Keys) -> Row:
    values = {
        Key(metric, published.METRICS[metric].protocol): value
        for metric, value in paper.values(method).items()
    }
    cells = [Cell(values[key]) if key in values else NOTHING for key in keys]
    return Row(f"{method} (published)", PUBLISHED_ROW, cells)


def _compared_row(group: Group, part: str, keys: Keys) -> Row:
    """What no model is in; all evaluations say the same if they saw the same images."""
    cells = []
    for key in keys:
        of_part = key._replace(part=part)
        means = [f.mean for _, m in group.models for _, f in figures_of(m, group.split, of_part)]
        values = dict.fromkeys(formatted(mean, key.metric) for mean in sorted(means))
        cells.append(Cell(" or ".join(values)) if values else NOTHING)
    return Row(part, COMPARED, cells, "no model")


def _columns(keys: Keys) -> list[Column]:
    return [
        Column(
            f"{key.metric}, {kind.unit}" if kind.unit else key.metric,
            "↑" if kind.higher_is_better else "↓",
            GROUPS[key.protocol],
        )
        for key, kind in keys.items()
    ]
