"""Results of an evaluation: figures by protocol, and missing metrics, as JSON and Markdown."""

import dataclasses
import math
import statistics
from collections.abc import Sequence

from etils import epath

from scam_jax.files import read_json, write, write_json

AUTHORS, OURS = "authors", "ours"
FILE = "figures.json"
_OF_LABEL = "label "


def of_label(label: int) -> str:
    """Returns the `part` of a figure of a label's region."""
    return f"{_OF_LABEL}{label}"


@dataclasses.dataclass(frozen=True)
class Figure:
    """The values of one metric by one protocol.

    Attributes:
      metric: name of the metric, such as 'PSNR' or 'R-FID'.
      protocol: AUTHORS (the protocol of the published figures) or OURS.
      values: one value per seed of pairs and noise, in the metric's unit.
      unit: 'dB' or ''.
      higher_is_better: whether a higher value is better.
      part: '' for the whole; 'label 3' for a region; or the name of a method to compare with.
      spread: standard deviation over images at the first seed, for metrics of single images.
      count: number of images or pairs.
    """

    metric: str
    protocol: str
    values: tuple[float, ...]
    unit: str = ""
    higher_is_better: bool = True
    part: str = ""
    spread: float | None = None
    count: int | None = None

    @property
    def mean(self) -> float:
        """The mean over the seeds."""
        return statistics.fmean(self.values)

    @property
    def deviation(self) -> float | None:
        """The standard deviation over the seeds; None for one seed, or if a value is infinite."""
        if len(self.values) < 2 or not all(map(math.isfinite, self.values)):
            return None
        return statistics.stdev(self.values)

    @property
    def label(self) -> int | None:
        """The label whose region the figure is of; None for other figures."""
        is_region = self.part.startswith(_OF_LABEL)
        return int(self.part.removeprefix(_OF_LABEL)) if is_region else None

    def part_named(self, label_names: Sequence[str]) -> str:
        """Returns the part with the label's name, such as '3 skin', or as it is without a name."""
        if self.label is None or self.label >= len(label_names):
            return self.part
        return f"{self.label} {label_names[self.label]}"


@dataclasses.dataclass(frozen=True)
class Missing:
    """A metric that could not be computed.

    Attributes:
      metric: name of the metric.
      protocol: AUTHORS or OURS.
      reason: why it is missing, and what to do about it.
    """

    metric: str
    protocol: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """All figures of a trained model on a split.

    Attributes:
      step: training step of the checkpoint.
      data: name of the data set.
      split: 'validation' or 'test'.
      count: number of images in the split.
      figures: the figures.
      missing: metrics that could not be computed.
      warnings: reservations about figures.
      label_names: names of the labels from 0 on, empty if unknown.
    """

    step: int
    data: str
    split: str
    count: int
    figures: Sequence[Figure]
    missing: Sequence[Missing] = ()
    warnings: Sequence[str] = ()
    label_names: Sequence[str] = ()

    def scalars(self) -> dict[str, float]:
        """Returns the figures of the whole split, keyed 'eval/PROTOCOL/METRIC'."""
        return {f"eval/{f.protocol}/{f.metric}": f.mean for f in self.figures if not f.part}

    def save(self, folder: epath.Path) -> None:
        """Writes `folder/figures.json` and `folder/figures.md`."""
        write_json(folder / FILE, dataclasses.asdict(self))
        write(folder / "figures.md", self.markdown())

    @classmethod
    def load(cls, folder: epath.Path) -> "Evaluation":
        """Reads the evaluation that `save` wrote.

        Raises:
          FileNotFoundError: the folder holds no evaluation.
          ValueError: the file is damaged.
        """
        file = folder / FILE
        if not file.is_file():
            raise FileNotFoundError(f"{file} is missing: run main.py --mode=eval first")
        remedy = "run main.py --mode=eval again"
        kept = read_json(file, remedy)
        try:
            figures = [Figure(**{**f, "values": tuple(f["values"])}) for f in kept.pop("figures")]
            missing = [Missing(**m) for m in kept.pop("missing")]
            return cls(figures=figures, missing=missing, **kept)
        except (KeyError, TypeError) as error:
            raise ValueError(
                f"{file} is not what an evaluation writes ({error}): {remedy}"
            ) from error

    def markdown(self) -> str:
        """Returns a table of all figures, followed by missing metrics and warnings."""
        lines = [
            "| metric | of | protocol | value | over images | count |",
            "|---|---|---|---|---|---|",
        ]
        for f in self.figures:
            spread = "" if f.spread is None else f"± {number(f.spread)}"
            value = with_deviation(f.mean, f.deviation, f.unit)
            cells = [f.metric, f.part_named(self.label_names), f.protocol, value, spread]
            lines.append("| " + " | ".join([*cells, str(f.count or "")]) + " |")
        lines += [""] if self.missing or self.warnings else []
        lines += [f"- missing: {what}: {reason}" for reason, what in self._missing_by_reason()]
        lines += [f"- {warning}" for warning in self.warnings]
        return "\n".join(lines) + "\n"

    def _missing_by_reason(self) -> list[tuple[str, str]]:
        """Returns each reason once, with all metrics that are missing for this reason."""
        protocols: dict[str, dict[str, list[str]]] = {}
        for m in self.missing:
            protocols.setdefault(m.reason, {}).setdefault(m.metric, []).append(m.protocol)
        return [
            (reason, ", ".join(f"{metric} ({', '.join(by)})" for metric, by in metrics.items()))
            for reason, metrics in protocols.items()
        ]


def number(value: float) -> str:
    """Formats a number with four significant digits, or without decimals from 1000 on."""
    return f"{value:.4g}" if abs(value) < 1000 or not math.isfinite(value) else f"{value:.0f}"


def with_deviation(mean: float, deviation: float | None, unit: str = "") -> str:
    """Formats a mean with its deviation and unit, such as '21.42 ± 0.031 dB'."""
    parts = [number(mean)] + ([] if deviation is None else [f"± {deviation:.2g}"])
    return " ".join([*parts, unit]).strip()
