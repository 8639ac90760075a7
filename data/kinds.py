"""How each data set is prepared and opened: a builder of TFDS, or a folder."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import ml_collections
import numpy as np
import tensorflow_datasets as tfds
from absl import logging
from etils import epath

from data.builders import ade20k, celeba_mask_hq
from data.builders.ade20k import Ade20k
from data.builders.celeba_mask_hq import CelebaMaskHq
from data.folder import FolderSource
from data.sources import Mapped
from data.synthetic import scenes
from data.synthetic.synthetic_people import SyntheticPeople
from scam_jax.examples import Example, Source
from scam_jax.inference.label_map import LabelMap

Config = ml_collections.ConfigDict
# By split, what is wrong with the pairs that are left out, by name.
Skipped = Mapping[str, Mapping[str, str]]


@dataclasses.dataclass(frozen=True)
class Kind:
    """A data set.

    Attributes:
        prepare: makes sure that it is there.
        open: the examples of a split of its own, but for those skipped.
        has_validation: whether it has a validation split of its own.
        num_labels: how many labels its label maps have; 0 if that is the user's to say.
        label_names: of its labels from 0 on, where they are known.
        contents: a text that is another one if the examples of train are others.
    """

    prepare: Callable[[Config], Any]
    open: Callable[[Config, str, Skipped], Source]
    has_validation: Callable[[Config], bool]
    num_labels: int
    contents: Callable[[Config, Skipped], str]
    label_names: tuple[str, ...] = ()


def label_map(config: Config) -> LabelMap:
    """From the label numbers of the data set to the model's."""
    return LabelMap(config.label_map, config.num_labels)


def synthetic_transfers(config: Config, split: str) -> Source:
    """The subject transfers of synthetic people, see `datasets.load_transfers`."""
    records = _synthetic_people(config).as_data_source(split=split)
    return Mapped(records, functools.partial(_transfer, labels=label_map(config)))


def folder(config: Config, split: str, skipped: Skipped | None = None) -> FolderSource:
    """A split of a folder."""
    skip = (skipped or {}).get(split, {})
    return FolderSource(config.directory, split, label_map(config), skip)


def folder_splits(config: Config) -> tuple[str, ...]:
    """The splits that a folder has; train and test are needed."""
    return ("train", "validation", "test") if _has_validation(config) else ("train", "test")


def _has_validation(config: Config) -> bool:
    return (pathlib.Path(config.directory).expanduser() / "validation").is_dir()


def _prepare_folder(config: Config) -> None:
    for split in folder_splits(config):
        source = folder(config, split)
        # The header of a bad file may be unreadable: then find_bad_files counts the others.
        if not config.skip_bad_files:
            report_resized(source, split)


def report_resized(source: FolderSource, split: str) -> None:
    """Says how many label maps of a split have another size than their photos."""
    resized = source.find_resized()
    if resized:
        logging.warning(
            "%d of %d label maps of %s have another size than their photos, such as %s: they are "
            "resized, nearest",
            len(resized),
            len(source),
            split,
            resized[0],
        )


def _prepared(builder: tfds.core.DatasetBuilder, config: Config) -> tfds.core.DatasetBuilder:
    """Prepares a data set, from the user's own download if it needs one."""
    if not builder.data_path.exists():
        for leftover in builder.data_path.parent.glob("incomplete.*"):
            logging.warning("%s is left of a killed preparation: it can be removed", leftover)
    manual_dir = epath.Path(config.manual_dir).expanduser() if config.manual_dir else None
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(manual_dir=manual_dir)
    )
    return builder


def _synthetic_people(config: Config) -> SyntheticPeople:
    sizes = {(c.height, c.width): c.name for c in SyntheticPeople.BUILDER_CONFIGS}
    size = (config.height, config.width)
    if size not in sizes:
        known = ", ".join(f"{height}×{width}" for height, width in sizes)
        raise ValueError(f"synthetic_people is drawn at {known}, not at {size[0]}×{size[1]}")
    return _prepared(SyntheticPeople(config=sizes[size], data_dir=config.directory), config)


def _celeba_mask_hq(config: Config, labels: str) -> CelebaMaskHq:
    builder_config = celeba_mask_hq.config_for(config.height, config.width, labels)
    return _prepared(CelebaMaskHq(config=builder_config, data_dir=config.directory), config)


def _ade20k(config: Config) -> Ade20k:
    return _prepared(Ade20k(data_dir=config.directory), config)


def _pair(record: Mapping[str, Any], labels: LabelMap) -> Example:
    """The image and label map of a record."""
    name = f"the label map of {record['id'].decode()}"
    return {"image": record["image"], "label": labels(_plane(record["label"]), name)}


def _transfer(record: Mapping[str, Any], labels: LabelMap) -> Example:
    """The transfer that a record of synthetic people holds."""
    subject = _pair(record, labels)
    transfer = {name: entries[0] for name, entries in record["transfer"].items()}
    return {
        "subject_image": subject["image"],
        "subject_label": subject["label"],
        "target_image": transfer["target_image"],
        "target_label": labels(_plane(transfer["target_label"]), "the target's label map"),
        "transfer_image": transfer["image"],
    }


def _plane(label: np.ndarray) -> np.ndarray:
    return label.reshape(label.shape[:2])


def _built(
    builder_of: Callable[[Config], tfds.core.DatasetBuilder],
    num_labels: int,
    has_validation: bool = False,
    label_names: tuple[str, ...] = (),
) -> Kind:
    """A data set that `builder_of` prepares."""

    def open_split(config: Config, split: str, skipped: Skipped) -> Source:
        records = builder_of(config).as_data_source(split=split)
        return Mapped(records, functools.partial(_pair, labels=label_map(config)))

    def contents(config: Config, skipped: Skipped) -> str:
        return builder_of(config).info.full_name  # with its version

    return Kind(
        builder_of, open_split, lambda config: has_validation, num_labels, contents, label_names
    )


_FACE = dict(num_labels=len(celeba_mask_hq.LABELS), label_names=celeba_mask_hq.LABELS)
KINDS = {
    "ade20k": _built(_ade20k, ade20k.NUM_LABELS),
    "celeba_mask_hq": _built(functools.partial(_celeba_mask_hq, labels="official"), **_FACE),
    "celeba_mask_hq_sean": _built(functools.partial(_celeba_mask_hq, labels="sean"), **_FACE),
    "folder": Kind(
        _prepare_folder,
        folder,
        _has_validation,
        0,
        lambda config, skipped: folder(config, "train", skipped).contents(),
    ),
    "synthetic_people": _built(_synthetic_people, scenes.NUM_LABELS, True, tuple(scenes.LABELS)),
}
