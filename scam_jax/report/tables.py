"""Tables of a report: figures of models by metric and protocol, apart from how they are written."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from scam_jax.evaluation.results import Figure, number

RUN, PUBLISHED_ROW, COMPARED = "run", "published", "compared"
_DECIMALS = {metric: 2 for metric in ("PSNR", "transfer PSNR", "subject transfer PSNR")}
_DECIMALS |= {metric: 2 for metric in ("R-FID", "S-FID")}
_DECIMALS |= {metric: 4 for metric in ("SSIM", "L1", "LPIPS")}
_DECIMALS |= {metric: 3 for metric in ("REIDSim", "REIDAcc")}


@dataclasses.dataclass(frozen=True)
class Cell:
    """What stands in a row's column.

    Attributes:
      value: a number, or a word in its place.
      deviation: of the value, without '±'; '' for none.
      of_evaluation: the deviation is over seeds of the evaluation of one run, not over runs.
      note: such as a number of runs that is not the row's.
      is_best: of the runs in this column.
      is_quiet: there is no number.
      detail: what it was made from.
    """

    value: str
    deviation: str = ""
    of_evaluation: bool = False
    note: str = ""
    is_best: bool = False
    is_quiet: bool = False
    detail: str = ""


NOTHING = Cell("–", is_quiet=True)


@dataclasses.dataclass(frozen=True)
class Column:
    """A metric by one protocol.

    Attributes:
      title: with its unit.
      arrow: '↑' where more is better, '↓', or ''.
      group: what stands above neighbours of one protocol.
    """

    title: str
    arrow: str = ""
    group: str = ""


@dataclasses.dataclass(frozen=True)
class Row:
    """A row.

    Attributes:
      title: such as a model's name.
      kind: RUN, PUBLISHED_ROW or COMPARED.
      cells: one a column; empty if there is a message.
      about: such as training seeds.
      model: number of the model, for its colour.
      message: in the place of cells, with `commands` that mend it.
    """

    title: str
    kind: str
    cells: Sequence[Cell] = ()
    about: str = ""
    model: int | None = None
    message: str = ""
    commands: Sequence[str] = ()


@dataclasses.dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
      title: what it is of.
      heads: of the row's title and of what stands beside it.
      columns: of the cells.
      rows: top to bottom.
      notes: below it.
    """

    title: str
    heads: tuple[str, str]
    columns: Sequence[Column]
    rows: Sequence[Row]
    notes: Sequence[str] = ()

    @property
    def groups(self) -> list[tuple[str, int]]:
        """What stands above neighbouring columns, and above how many."""
        groups: list[tuple[str, int]] = []
        for column in self.columns:
            if groups and groups[-1][0] == column.group:
                groups[-1] = (column.group, groups[-1][1] + 1)
            else:
                groups.append((column.group, 1))
        return groups if any(name for name, _ in groups) else []


@dataclasses.dataclass(frozen=True)
class Summary:
    """One metric of one model.

    Attributes:
      mean: over runs, of each run's mean over seeds of the evaluation.
      deviation: standard deviation over runs (n − 1), of one run over the evaluation's seeds; None
        of one value.
      runs: how many.
      by_seed: each run's mean, by training seed.
    """

    metric: str
    mean: float
    deviation: float | None
    runs: int
    by_seed: tuple[tuple[int, float], ...]

    @classmethod
    def of(cls, figures: Sequence[tuple[int, Figure]]) -> "Summary":
        """Of at least one (training seed, figure) of the same metric and protocol."""
        by_seed = tuple((seed, figure.mean) for seed, figure in figures)
        values = [mean for _, mean in by_seed]
        of_one = figures[0][1].values if len(figures) == 1 else values
        mean = float(np.mean(values))
        return cls(figures[0][1].metric, mean, deviation_of(of_one), len(figures), by_seed)

    def cell(self, expected_runs: int) -> Cell:
        """What a table says; with the number of runs if that is not as expected."""
        spread = "" if self.deviation is None else _deviation(self.deviation, self.metric)
        seeds = ", ".join(f"seed {s}: {formatted(v, self.metric)}" for s, v in self.by_seed)
        return Cell(
            formatted(self.mean, self.metric),
            spread,
            of_evaluation=bool(spread) and self.runs == 1,
            note=f"n = {self.runs}" if self.runs != expected_runs else "",
            detail=seeds,
        )


def deviation_of(values: Sequence[float]) -> float | None:
    """Standard deviation with n − 1; None of one value, or where one is not finite."""
    if len(values) < 2 or not np.isfinite(values).all():
        return None
    return float(np.std(values, ddof=1))


def formatted(value: float, metric: str) -> str:
    """A value of a metric, to the decimals that its figures are given in."""
    if metric not in _DECIMALS or not math.isfinite(value):
        return number(value)
    return f"{value:.{_DECIMALS[metric]}f}"


def _deviation(value: float, metric: str) -> str:
    """As its figure, with a digit that is not 0 if it is more than rounding."""
    text = formatted(value, metric)
    if value < 1e-6 or float(text):
        return text
    return np.format_float_positional(value, precision=1, fractional=False, trim="-")


def best_of(summaries: Sequence[Summary | None], higher_is_better: bool) -> str | None:
    """What the best reads like; None where fewer than two models have a figure."""
    found = [s for s in summaries if s is not None and math.isfinite(s.mean)]
    if len(found) < 2:
        return None
    best = (max if higher_is_better else min)(found, key=lambda s: s.mean)
    return formatted(best.mean, best.metric)


def short_list(numbers: Sequence[int]) -> str:
    """'0–2, 5' for 0, 1, 2 and 5."""
    spans: list[list[int]] = []
    for value in sorted(numbers):
        if spans and value == spans[-1][-1] + 1:
            spans[-1].append(value)
        else:
            spans.append([value])
    ends = [[span[0], span[-1]] if len(span) > 2 else span for span in spans]
    joints = ["–" if len(span) > 2 else ", " for span in spans]
    return ", ".join(joint.join(map(str, end)) for joint, end in zip(joints, ends, strict=True))
