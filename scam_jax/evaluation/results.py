"""What an evaluation found: figures by protocol, what is missing and why; as JSON and Markdown."""

import dataclasses
import json
import math
import pathlib
import statistics
from collections.abc import Sequence

AUTHORS, OURS = "authors", "ours"
FILE = "figures.json"


@dataclasses.dataclass(frozen=True)
class Figure:
    """One metric by one protocol.

    Attributes:
      metric: its name: 'PSNR', 'R-FID', ….
      protocol: AUTHORS (as the published numbers came about) or OURS.
      values: one a seed of the evaluation (pairs, noise), in the metric's unit.
      unit: 'dB' or ''.
      higher_is_better: whether it is.
      part: '' for the whole; 'label 3' for a region; the name of a method that is compared with.
      spread: standard deviation over images at the first seed, if the metric is an image's.
      count: images or pairs that it is of.
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
        return statistics.fmean(self.values)

    @property
    def deviation(self) -> float | None:
        """Standard deviation over the seeds; None of one."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None


@dataclasses.dataclass(frozen=True)
class Missing:
    """A metric that could not be computed, and why: what to do about it."""

    metric: str
    protocol: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """All figures of a trained model on a split.

    Attributes:
      step: the checkpoint's.
      data: name of the data set.
      split: 'validation' or 'test'.
      count: images in the split.
      figures, missing: what was found, and what could not be.
      warnings: what to know before believing a figure.
      label_names: of the labels from 0 on, where they are known.
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
        """The figures of the whole split by name, 'eval/PROTOCOL/METRIC'."""
        return {f"eval/{f.protocol}/{f.metric}": f.mean for f in self.figures if not f.part}

    def save(self, folder: pathlib.Path) -> None:
        """Writes `folder/figures.json` and `folder/figures.md`."""
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(dataclasses.asdict(self), indent=2, ensure_ascii=False)
        (folder / FILE).write_text(text + "\n")
        (folder / "figures.md").write_text(self.markdown())

    @classmethod
    def load(cls, folder: pathlib.Path) -> "Evaluation":
        """What `save` wrote.

        Raises:
          FileNotFoundError: nothing was evaluated there.
        """
        file = folder / FILE
        if not file.is_file():
            raise FileNotFoundError(f"{file} is missing: run main.py --mode=eval first")
        kept = json.loads(file.read_text())
        figures = [Figure(**{**f, "values": tuple(f["values"])}) for f in kept.pop("figures")]
        missing = [Missing(**m) for m in kept.pop("missing")]
        return cls(figures=figures, missing=missing, **kept)

    def markdown(self) -> str:
        """A table of all figures, then what is missing and what to know."""
        lines = [
            "| metric | of | protocol | value | over images | count |",
            "|---|---|---|---|---|---|",
        ]
        for f in self.figures:
            spread = "" if f.spread is None else f"± {number(f.spread)}"
            cells = [f.metric, f.part, f.protocol, with_deviation(f.mean, f.deviation, f.unit)]
            lines.append("| " + " | ".join([*cells, spread, str(f.count or "")]) + " |")
        lines += [""] if self.missing or self.warnings else []
        lines += [f"- missing: {what}: {reason}" for reason, what in self._missing_by_reason()]
        lines += [f"- {warning}" for warning in self.warnings]
        return "\n".join(lines) + "\n"

    def _missing_by_reason(self) -> list[tuple[str, str]]:
        """Each reason once, with all metrics that are missing for it."""
        protocols: dict[str, dict[str, list[str]]] = {}
        for m in self.missing:
            protocols.setdefault(m.reason, {}).setdefault(m.metric, []).append(m.protocol)
        return [
            (reason, ", ".join(f"{metric} ({', '.join(by)})" for metric, by in metrics.items()))
            for reason, metrics in protocols.items()
        ]


def number(value: float) -> str:
    """Four significant digits."""
    return f"{value:.4g}" if abs(value) < 1000 or not math.isfinite(value) else f"{value:.0f}"


def with_deviation(mean: float, deviation: float | None, unit: str = "") -> str:
    """'21.42 ± 0.031 dB'."""
    parts = [number(mean)] + ([] if deviation is None else [f"± {deviation:.2g}"])
    return " ".join([*parts, unit]).strip()
