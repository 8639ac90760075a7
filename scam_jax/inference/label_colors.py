"""Label maps in colours: a list of colours says which colour is which label number.

The list is a text file. Its first line is the colour of number 0, the second that of number 1, and
so on. A line holds a colour, as #rrggbb or as three numbers 0 … 255, and then a name if you like:

    #000000 background
    255 0 0 hair
"""

import dataclasses
import functools
import re

import numpy as np
from ml_collections import ConfigDict

from scam_jax import buckets
from scam_jax.inference import label_orders
from scam_jax.inference.decoding import printable
from scam_jax.inference.label_map import LabelMap

_MOST = 256
_LINE = re.compile(
    r"(?:#(?P<hex>[0-9a-fA-F]{6})|(?P<red>\d{1,3})[\s,]+(?P<green>\d{1,3})[\s,]+(?P<blue>\d{1,3}))"
    r"(?:[\s,]+(?P<name>.*))?"
)
_SHOWN = 3
# Pixels that are looked up at a time, which bounds the memory.
_CHUNK = 2**20

Color = tuple[int, int, int]


@dataclasses.dataclass(frozen=True)
class LabelColors:
    """A list of colours, see the module's docstring.

    Attributes:
      file: the file of the list, for errors.
      colors: (red, green, blue) of each label number.
      names: name of each label number; its colour where the list has no name.
    """

    file: str
    colors: tuple[Color, ...]
    names: tuple[str, ...]

    @classmethod
    def load(cls, file: str) -> "LabelColors":
        """Reads a list.

        Args:
          file: its file, a value of `config.data.colors`.

        Raises:
          ValueError: the file cannot be read, or a line is no colour, repeats one or has a number
            as its name; names it.
        """
        colors: dict[Color, str] = {}
        for number, line in enumerate(_lines(file), start=1):
            color, name = _parse(line, f"{printable(file)}, line {number}")
            if color in colors:
                first = 1 + list(colors).index(color)
                raise ValueError(
                    f"{printable(file)}, line {number}: {_text(color)} is in line {first} already: "
                    "write each colour once, and merge labels with config.data.label_map"
                )
            if name.isdigit():
                raise ValueError(
                    f"{printable(file)}, line {number}: the name {name!r} is a number: write a "
                    "name, or none; the label number of a colour is its place in the list"
                )
            colors[color] = name or _text(color)
        if not 1 <= len(colors) <= _MOST:
            raise ValueError(
                f"{printable(file)} has {len(colors)} colours: write 1 … {_MOST} lines, one for "
                "each label"
            )
        return cls(printable(file), tuple(colors), tuple(colors.values()))

    @classmethod
    def of(cls, data: ConfigDict, label_map: LabelMap) -> "LabelColors | None":
        """Reads the list of a config, None if it names none.

        Args:
          data: `config.data`. Runs of older versions lack `colors`.
          label_map: the map of its label numbers.

        Raises:
          ValueError: see `load` and `require_labels`.
        """
        if not data.get("colors", ""):
            return None
        colors = cls.load(data.colors)
        colors.require_labels(label_map)
        return colors

    def require_labels(self, label_map: LabelMap) -> None:
        """Raises ValueError unless a map gives each colour a label, and each label a colour.

        No two labels may have one name.
        """
        if label_map.ignore_label >= len(self.colors):
            raise ValueError(
                f"config.data.ignore_label = {label_map.ignore_label}, but {self.file} (config."
                f"data.colors) has the numbers 0 … {len(self.colors) - 1}: count its lines from 0"
            )
        if label_map.text.strip():
            if missing := label_map.without_label(range(len(self.colors))):
                shown = ", ".join(f"{n} ({self.names[n]})" for n in missing[:_SHOWN])
                raise ValueError(
                    f"config.data.label_map = {label_map.text!r} has no label for {shown} of "
                    f"{self.file}: name every number, or use '*'"
                )
            if without := np.flatnonzero(label_map.numbers >= len(self.colors)).tolist():
                raise ValueError(
                    f"config.data.label_map = {label_map.text!r} has label {without[0]} only for "
                    f"numbers that {self.file} lacks (it has 0 … {len(self.colors) - 1}): leave "
                    "that group empty, or remove it"
                )
        elif label_map.num_labels != (needed := self.num_labels(label_map.ignore_label)):
            raise ValueError(
                f"config.data.num_labels = {label_map.num_labels}, but {self.file} (config.data."
                f"colors) has {needed} labels: set it to {needed}, or merge labels with "
                "config.data.label_map"
            )
        names = self.label_names(label_map)
        if repeated := [name for name in names if name and names.count(name) > 1]:
            raise ValueError(
                f"{self.file} (config.data.colors) has the name {repeated[0]!r} for more than one "
                "label: give each a name of its own, or merge them with config.data.label_map"
            )

    def num_labels(self, ignore_label: int = -1) -> int:
        """Returns the number of labels if no map merges them.

        Args:
          ignore_label: number of the colour whose pixels are left out, or -1.
        """
        return len(self.colors) - (ignore_label == len(self.colors) - 1)

    def label_names(self, label_map: LabelMap) -> tuple[str, ...]:
        """Returns the names of a map's labels, empty if unknown; see `label_orders.joined`."""
        return label_orders.joined(self.label_parts(label_map))

    def label_parts(self, label_map: LabelMap) -> label_orders.Parts:
        """Returns the names that each label is made of, empty if no colour has a name."""
        if self.names == tuple(map(_text, self.colors)):
            return ()
        return label_orders.merged(self.names, label_map)

    def numbers(self, image: np.ndarray, name: str) -> np.ndarray:
        """Looks up the label number of each pixel.

        Args:
          image: uint8 `[H, W, 3]`.
          name: name of the label map in errors, such as 'label map a.png'.

        Returns:
          uint8 `[H, W]`.

        Raises:
          ValueError: a colour is not in the list; names the most frequent one.
        """
        codes, numbers = self._table
        flat, found = image.reshape(-1, 3), np.empty(image.shape[0] * image.shape[1], np.uint8)
        unknown: list[np.ndarray] = []
        for start in range(0, len(flat), _CHUNK):
            chunk = _codes(flat[start : start + _CHUNK])
            place = np.minimum(np.searchsorted(codes, chunk), len(codes) - 1)
            unknown.append(chunk[codes[place] != chunk])
            found[start : start + _CHUNK] = numbers[place]
        if any(map(len, unknown)):
            raise self._without_number(np.concatenate(unknown), name)
        return found.reshape(image.shape[:2])

    @functools.cached_property
    def _table(self) -> tuple[np.ndarray, np.ndarray]:
        """The codes of the colours, sorted, and the number of each."""
        codes = _codes(np.array(self.colors, np.uint8))
        order = codes.argsort()
        return codes[order], order.astype(np.uint8)

    def _without_number(self, unknown: np.ndarray, name: str) -> ValueError:
        codes, counts = np.unique(unknown, return_counts=True)
        code = int(codes[counts.argmax()])
        color = code >> 16, code >> 8 & 255, code & 255
        squares = np.square(np.array(self.colors) - color).sum(1)
        nearest = int(squares.argmin())
        more = len(codes) - 1
        others = f" (and {more} more colour{'s' * (more > 1)} missing)" if more else ""
        return ValueError(
            f"{name} has {_text(color)} at {counts.max()} pixels, but {self.file} (config.data."
            f"colors) has no such colour; the nearest is {_text(self.colors[nearest])}, "
            f"{self.names[nearest]}{others}: add it there, or save the label map without smoothing "
            "or compression with losses"
        )


def _lines(file: str) -> list[str]:
    try:
        # A byte order mark, which some editors write, is no part of the first colour.
        text = buckets.path(file).read_bytes().decode("utf-8-sig", errors="backslashreplace")
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ValueError(
            f"config.data.colors = {printable(file)!r} cannot be read ({reason}): give the file "
            "that lists the colours of the label maps"
        ) from error
    return text.rstrip().splitlines()


def _parse(line: str, place: str) -> tuple[Color, str]:
    """Returns the colour of a line, and its name."""
    match = _LINE.fullmatch(line.strip())
    if not match:
        raise ValueError(
            f"{place}: {line.strip()[:40]!r} is no colour: write #rrggbb or three numbers 0 … 255, "
            "such as '#ff0000 hair' or '255 0 0 hair'; every line is a label, the first is label 0"
        )
    digits = match["hex"]
    if digits:
        red, green, blue = bytes.fromhex(digits)
    else:
        red, green, blue = (int(match[part]) for part in ("red", "green", "blue"))
    if max(red, green, blue) > 255:
        raise ValueError(f"{place}: {max(red, green, blue)} is above 255: write 0 … 255")
    return (red, green, blue), printable((match["name"] or "").strip())


def _codes(colors: np.ndarray) -> np.ndarray:
    """Returns one number for each colour: uint8 `[N, 3]` to uint32 `[N]`."""
    red, green, blue = np.moveaxis(colors.astype(np.uint32), -1, 0)
    return red << 16 | green << 8 | blue


def _text(color: Color) -> str:
    return "#" + bytes(color).hex()
