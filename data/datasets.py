"""The data sets by name, as a configuration asks for them.

A configuration has the fields `name` (one of `NAMES`), `directory` (where the data lies, or is
put), `height`, `width` and `num_labels`.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import ml_collections
import numpy as np

from data import scenes
from data.folder import FolderSource
from data.pipeline import Example, Source
from data.synthetic_people import SyntheticPeople

_SPLITS = ("train", "test")


def prepare(config: ml_collections.ConfigDict) -> None:
    """Makes sure that the data set is there: draws what is drawn, checks what the user provides.

    Does nothing where the data is there already. Only one process may prepare a directory at a
    time; the others have to wait until it has.

    Args:
        config: the data set's configuration.

    Raises:
        FileNotFoundError: if files that the user provides are missing.
        ValueError: if the configuration names what there is not, or files are not as they must be.
    """
    _lookup(_PREPARE, config)(config)


def load(config: ml_collections.ConfigDict, split: str) -> Source:
    """Opens a split of a data set, which is prepared first where it is not.

    Args:
        config: the data set's configuration.
        split: 'train' or 'test'.

    Returns:
        Random access to `{'image': uint8 [height, width, 3], 'label': uint8 [height, width]}`.

    Raises:
        FileNotFoundError, ValueError: as `prepare`; ValueError if there is no such split.
    """
    if split not in _SPLITS:
        raise ValueError(f"unknown split {split!r}; the splits are {', '.join(_SPLITS)}")
    return _lookup(_LOAD, config)(config, split)


def load_transfers(config: ml_collections.ConfigDict) -> Source | None:
    """Opens the subject transfers whose true result is known, from the test split.

    Args:
        config: the data set's configuration.

    Returns:
        Random access to `subject_image`, `target_image`, `transfer_image` (uint8
        `[height, width, 3]`), `subject_label` and `target_label` (uint8 `[height, width]`):
        `transfer_image` is the subject in the target's pose and scene, and its label map is the
        target's. None if the data set does not know any.

    Raises:
        FileNotFoundError, ValueError: as `prepare`.
    """
    return _lookup(_LOAD_TRANSFERS, config)(config)


def _lookup(table: dict[str, Any], config: ml_collections.ConfigDict) -> Any:
    if config.name not in table:
        raise ValueError(f"unknown data set {config.name!r}; there are {', '.join(sorted(table))}")
    return table[config.name]


@dataclasses.dataclass(frozen=True)
class _Pairs:
    """Images with label maps, out of a TFDS source."""

    records: Sequence[dict[str, Any]]

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Example:
        record = self.records[index]
        return {"image": record["image"], "label": _plane(record["label"])}


@dataclasses.dataclass(frozen=True)
class _Transfers:
    """The transfers of a TFDS source whose records hold one each."""

    records: Sequence[dict[str, Any]]

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Example:
        record = self.records[index]
        transfer = record["transfer"]
        return {
            "subject_image": record["image"],
            "subject_label": _plane(record["label"]),
            "target_image": transfer["target_image"][0],
            "target_label": _plane(transfer["target_label"][0]),
            "transfer_image": transfer["image"][0],
        }


def _plane(label: np.ndarray) -> np.ndarray:
    return label[..., 0]


def _synthetic_people(config: ml_collections.ConfigDict) -> SyntheticPeople:
    """Returns the prepared builder."""
    sizes = {(c.height, c.width): c.name for c in SyntheticPeople.BUILDER_CONFIGS}
    size = (config.height, config.width)
    if size not in sizes:
        known = ", ".join(f"{height}×{width}" for height, width in sizes)
        raise ValueError(f"synthetic_people is drawn at {known}, not at {size[0]}×{size[1]}")
    if config.num_labels != scenes.NUM_LABELS:
        raise ValueError(
            f"synthetic_people has {scenes.NUM_LABELS} labels ({', '.join(scenes.LABELS)}): set "
            f"num_labels={scenes.NUM_LABELS}, not {config.num_labels}"
        )
    if not config.directory:
        raise ValueError("synthetic_people needs a directory to be drawn into: set directory")
    builder = SyntheticPeople(config=sizes[size], data_dir=config.directory)
    builder.download_and_prepare()
    return builder


def _load_synthetic_people(config: ml_collections.ConfigDict, split: str) -> Source:
    return _Pairs(_synthetic_people(config).as_data_source(split=split))


def _load_synthetic_transfers(config: ml_collections.ConfigDict) -> Source:
    return _Transfers(_synthetic_people(config).as_data_source(split="test"))


def _load_folder(config: ml_collections.ConfigDict, split: str) -> Source:
    return FolderSource(config.directory, split, config.height, config.width, config.num_labels)


def _prepare_folder(config: ml_collections.ConfigDict) -> None:
    for split in _SPLITS:
        _load_folder(config, split)


_PREPARE = {"synthetic_people": _synthetic_people, "folder": _prepare_folder}
_LOAD = {"synthetic_people": _load_synthetic_people, "folder": _load_folder}
_LOAD_TRANSFERS = {"synthetic_people": _load_synthetic_transfers, "folder": lambda config: None}
NAMES = tuple(sorted(_LOAD))
