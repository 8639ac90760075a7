"""Maps the label numbers of files to labels of the model, as a line of the config describes.

The line consists of groups separated by '|'. Group i lists the numbers of files that become label
i. '*' in one group stands for all numbers that no group lists. A group may be empty; then its label
does not occur.

    '0|1,2,4,13|*'  0 becomes 0; 1, 2, 4 and 13 become 1; all others become 2
    '0|255'         a mask of 0 and 255 becomes labels 0 and 1
    ''              numbers remain unchanged

One number of the files may mark pixels to leave out. They get the number `num_labels`, one more
than the last label: networks, losses and metrics leave such pixels out.
"""

import dataclasses
import functools
from collections.abc import Iterable, Sequence

import numpy as np
from ml_collections import ConfigDict

# Entry of a table for a number without a label.
UNMAPPED = -1

_NUM_VALUES = 256
_VALUES_SHOWN = 5


@dataclasses.dataclass(frozen=True)
class LabelMap:
    """A map of label numbers, see the module's docstring.

    Attributes:
      text: the map; '' keeps numbers unchanged.
      num_labels: number of labels of the model, 1 … 256, or 1 … 255 with an `ignore_label`.
      ignore_label: number of the pixels to leave out, or -1 if there are none.

    Raises:
      ValueError: the map is invalid, see `table`.
    """

    text: str
    num_labels: int
    ignore_label: int = -1

    def __post_init__(self):
        _ = self._table  # Raises at once if the map is invalid.

    @classmethod
    def of(cls, data: ConfigDict) -> "LabelMap":
        """Returns the map of `config.data`; raises ValueError if it is invalid."""
        # Runs of older versions lack the key.
        return cls(data.label_map, data.num_labels, data.get("ignore_label", -1))

    @property
    def ignores(self) -> bool:
        """Whether there may be pixels to leave out."""
        return self.ignore_label >= 0

    def without_label(self, numbers: Iterable[int]) -> list[int]:
        """Returns those of some numbers of files that have no label."""
        return [number for number in numbers if self._table[number] == UNMAPPED]

    @functools.cached_property
    def numbers(self) -> np.ndarray:
        """The smallest number of a file for each label, int16 `[L]`; -1 if there is none."""
        found = [np.flatnonzero(self._table == label) for label in range(self.num_labels)]
        return np.array([places[0] if len(places) else -1 for places in found], np.int16)

    def __call__(self, labels: np.ndarray, name: str) -> np.ndarray:
        """Maps the numbers of a label map.

        Args:
          labels: numbers of the file, uint8 of any shape.
          name: name of the label map in errors, such as 'label map a.png'.

        Returns:
          Labels below `num_labels`, and `num_labels` for pixels to leave out, uint8 of the same
          shape; `labels` itself if nothing changes by the map.

        Raises:
          ValueError: a value has no label; names the label map, up to five values, and a remedy.
        """
        if not self.text.strip() and not self.ignores:
            if labels.max(initial=0) >= self.num_labels:
                raise self._without_label(labels, name)
            return labels
        mapped = self._table.take(labels)
        if mapped.min(initial=0) == UNMAPPED:
            raise self._without_label(labels, name)
        return mapped.astype(np.uint8)

    @functools.cached_property
    def _table(self) -> np.ndarray:
        return table(self.text, self.num_labels, self.ignore_label)

    def _without_label(self, labels: np.ndarray, name: str) -> ValueError:
        values = np.unique(labels)
        missing = self.without_label(values.tolist())
        listed = ", ".join(map(str, missing[:_VALUES_SHOWN]))
        listed += ", …" if len(missing) > _VALUES_SHOWN else ""
        plural, them = ("s", "them") if len(missing) > 1 else ("", "it")
        holds = f"{name} holds the value{plural} {listed}"
        if self.text.strip():
            return ValueError(
                f"{holds} without a label: name {them} in config.data.label_map = {self.text!r}, "
                "or use '*' there"
            )
        if set(values.tolist()) <= {0, 255}:
            remedy = (
                "for masks of 0 and 255, set config.data.label_map='0|255' and "
                "config.data.num_labels=2"
            )
        else:
            remedy = (
                f"set config.data.num_labels to at least {missing[-1] + 1}, or correct the label "
                f"map, or give {them} a label with config.data.label_map"
            )
            if len(missing) == 1 and not self.ignores:
                remedy += f", or leave its pixels out with config.data.ignore_label={missing[0]}"
        return ValueError(f"{holds}, but config.data.num_labels = {self.num_labels}: {remedy}")


def table(label_map: str, num_labels: int, ignore_label: int = -1) -> np.ndarray:
    """Returns the label of each number that a file can hold.

    Args:
      label_map: the map, see the module's docstring.
      num_labels: number of labels of the model, 1 … 256, or 1 … 255 with an `ignore_label`.
      ignore_label: number of the pixels to leave out, or -1.

    Returns:
      int16 `[256]`: labels below `num_labels`, `num_labels` for pixels to leave out, or `UNMAPPED`.

    Raises:
      ValueError: a number is out of range, or the map cannot be parsed, lists a number twice or one
        that is left out, or does not have `num_labels` groups.
    """
    _require_range(num_labels, ignore_label)
    numbers = np.arange(_NUM_VALUES, dtype=np.int16)
    if not label_map.strip():
        found = np.where(numbers < num_labels, numbers, np.int16(UNMAPPED))
    else:
        labels = _groups(label_map, num_labels)
        if ignore_label in labels:
            raise _refusal(
                label_map,
                f"{ignore_label} is there, but config.data.ignore_label = {ignore_label} leaves "
                "its pixels out: remove it from one of them",
            )
        others = labels.get("*", UNMAPPED)
        found = np.array([labels.get(int(number), others) for number in numbers], np.int16)
    if ignore_label >= 0:
        found[ignore_label] = num_labels
    return found


def _require_range(num_labels: int, ignore_label: int) -> None:
    most = _NUM_VALUES - (ignore_label >= 0)
    if not 1 <= num_labels <= most:
        beside = " beside config.data.ignore_label" if ignore_label >= 0 else ""
        raise ValueError(
            f"config.data.num_labels = {num_labels}: use 1 … {most}{beside}, label maps hold bytes"
        )
    if not -1 <= ignore_label < _NUM_VALUES:
        raise ValueError(
            f"config.data.ignore_label = {ignore_label}: use the number 0 … {_NUM_VALUES - 1} of "
            "the pixels to leave out, or -1 if there are none"
        )


def _groups(label_map: str, num_labels: int) -> dict[str | int, int]:
    """Parses a map; returns the label of each number that it lists, and of '*'."""
    groups = [group.split(",") if group.strip() else [] for group in label_map.split("|")]
    labels: dict[str | int, int] = {}
    for label, group in enumerate(groups):
        for entry in group:
            key = _parse(entry.strip(), label_map)
            if key in labels:
                raise _refusal(label_map, f"{key} is there twice: keep it in one group only")
            labels[key] = label
    if len(groups) != num_labels:
        raise _refusal(
            label_map,
            f"it has {len(groups)} groups, separated by '|', but config.data.num_labels = "
            f"{num_labels}: set that to {len(groups)}, or write one group for each label",
        )
    return labels


def _parse(entry: str, label_map: str) -> str | int:
    """Parses an entry of a group: a number, or '*'."""
    if entry == "*":
        return entry
    if not (entry.isascii() and entry.isdecimal()):
        raise _refusal(
            label_map,
            f"{entry!r} is not a number: write numbers with ',' between them, '|' between groups, "
            "and '*' for all others",
        )
    if int(entry) >= _NUM_VALUES:
        raise _refusal(label_map, f"{entry} is above 255: remove it, label maps hold 0 … 255")
    return int(entry)


def _refusal(label_map: str, message: str) -> ValueError:
    return ValueError(f"config.data.label_map = {label_map!r}: {message}")


def reorder(source: Sequence[str], target: Sequence[str]) -> str:
    """Returns the map between two orders of the same label names.

    For example, `reorder(FACE_PARSING, CELEBA_MASK_HQ)` maps the face parser's label maps.

    Args:
      source: names of the labels 0, 1, … in files.
      target: names of the model's labels. Names that `source` lacks become empty groups.

    Returns:
      The map, for `LabelMap` and `config.data.label_map`.

    Raises:
      ValueError: a name of `source` is not in `target`, or a name occurs twice.
    """
    for kind, names in (("source", source), ("target", target)):
        repeated = sorted({name for name in names if list(names).count(name) > 1})
        if repeated:
            raise ValueError(
                f"{kind} has {', '.join(repeated)} more than once: give every label its own name"
            )
    unknown = [name for name in source if name not in target]
    if unknown:
        raise ValueError(
            f"target does not have {', '.join(unknown)}: add the name there, or merge labels with "
            "a map of your own"
        )
    numbers = {name: str(number) for number, name in enumerate(source)}
    return "|".join(numbers.get(name, "") for name in target)
