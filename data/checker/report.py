"""What a check finds: the contents of a folder's splits, warnings and faults."""

import collections
import dataclasses
import pathlib

import numpy as np

from data.folder import Pair
from scam_jax.inference.label_colors import LabelColors
from scam_jax.inference.label_map import LabelMap

NUM_VALUES = 256


@dataclasses.dataclass
class Split:
    """The contents of one split. All counts are over the usable pairs.

    Attributes:
      num_pairs: number of pairs found in the folders.
      faults: one message per fault, with the file's name.
      layout_faults: how many of them `data.skip_bad_files` does not pass over: files without a
        counterpart, of another kind, or missing folders.
      usable: the pairs that can be read and trained on, keyed by name.
      sizes: number of photos of each size `(height, width)`.
      resized: names of the pairs whose label map has the photo's aspect ratio but another size.
      misshapen: names of the pairs whose label map has another aspect ratio than the photo.
      pixels: number of pixels of each label, int `[256]`.
      containing: number of photos that contain each label, int `[256]`.
      left_out: number of pixels that are left out.
      transparent: number of transparent pixels of the photos that have some, keyed by name.
      digests: SHA-256 digests of the photo files, keyed by name.
    """

    num_pairs: int
    faults: list[str]
    layout_faults: int = 0
    usable: dict[str, Pair] = dataclasses.field(default_factory=dict)
    sizes: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    left_out: int = 0
    resized: list[str] = dataclasses.field(default_factory=list)
    misshapen: list[str] = dataclasses.field(default_factory=list)
    pixels: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(NUM_VALUES, int))
    containing: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(NUM_VALUES, int))
    transparent: dict[str, int] = dataclasses.field(default_factory=dict)
    digests: dict[str, bytes] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Report:
    """The result of a check.

    Attributes:
      directory: the folder that was checked.
      label_map: the label map that was applied. If no number of labels was given, it has as many
        labels as occur in the files or in the list of colours.
      colors: the colours of the label numbers, or None if the values of files are the numbers.
      label_names: names of the labels, empty if unknown.
      splits: the splits, keyed by name, in order.
      warnings: messages about things that are allowed but probably unintended.
      faults: one message per fault, with the file's name.
      samples: (split, name) of some usable pairs, spread over the splits.
    """

    directory: pathlib.Path
    label_map: LabelMap
    colors: LabelColors | None
    label_names: tuple[str, ...]
    splits: dict[str, Split]
    warnings: tuple[str, ...]
    faults: tuple[str, ...]
    samples: tuple[tuple[str, str], ...]
