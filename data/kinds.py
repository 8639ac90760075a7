"""The kinds of data sets: how each is prepared and opened, with a TFDS builder or from a folder."""

import dataclasses
import functools
import io
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import ml_collections
import numpy as np
import tensorflow_datasets as tfds
from absl import logging
from etils import epath

from data import label_names
from data.builders import ade20k, ccp, celeba_mask_hq
from data.builders.ade20k import Ade20k
from data.builders.ccp import Ccp
from data.builders.celeba_mask_hq import CelebaMaskHq
from data.folder import FolderSource
from data.sources import Mapped
from data.synthetic import scenes
from data.synthetic.synthetic_people import SyntheticPeople
from scam_jax import buckets, console
from scam_jax.examples import Example, Source
from scam_jax.inference import decoding, photos
from scam_jax.inference.label_colors import LabelColors
from scam_jax.inference.label_map import LabelMap
from scam_jax.inference.label_orders import CCP

Config: TypeAlias = ml_collections.ConfigDict
# The faults of skipped pairs, keyed by split and then by the name of the pair.
Skipped = Mapping[str, Mapping[str, str]]


# The file that TFDS writes into each prepared data set.
_INFO = "dataset_info.json"


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of data set.

    Attributes:
      prepare: prepares the data set if needed.
      is_prepared: returns whether it is there.
      open: opens one of its own splits, without the skipped examples.
      has_validation: returns whether it has a validation split of its own.
      check: checks the values of a config that are about this kind only; raises ValueError.
      num_labels: number of labels in its label maps, or 0 if the user sets it.
      contents: returns a string that changes whenever the training examples change.
      label_names: returns the names of its label numbers from 0 on, empty if they are unknown or
        `label_orders` knows them.
    """

    prepare: Callable[[Config], Any]
    is_prepared: Callable[[Config], bool]
    open: Callable[[Config, str, Skipped], Source]
    has_validation: Callable[[Config], bool]
    check: Callable[[Config], Any]
    num_labels: int
    contents: Callable[[Config, Skipped], str]
    label_names: Callable[[Config], tuple[str, ...]]


def label_map(config: Config) -> LabelMap:
    """Returns the map from the label numbers of the data set to the model's labels."""
    return LabelMap.of(config)


def label_colors(config: Config) -> LabelColors | None:
    """Returns the colours of the label numbers, None if the values of files are the numbers."""
    return LabelColors.of(config, label_map(config))


def synthetic_transfers(config: Config, split: str) -> Source:
    """Opens the subject transfers of synthetic people, see `datasets.load_transfers`."""
    records = _prepared(_synthetic_people(config), config).as_data_source(split=split)
    return Mapped(records, functools.partial(_transfer, labels=label_map(config)))


def folder(config: Config, split: str, skipped: Skipped | None = None) -> FolderSource:
    """Opens a split of a folder, without the skipped pairs."""
    skip = (skipped or {}).get(split, {})
    labels, colors = label_map(config), label_colors(config)
    return FolderSource(config.directory, split, labels, skip, colors)


def folder_splits(config: Config) -> tuple[str, ...]:
    """Returns the splits of a folder. Train and test are required, validation is optional."""
    return ("train", "validation", "test") if _has_validation(config) else ("train", "test")


def _names_in_folder(config: Config) -> tuple[str, ...]:
    names = label_names.read(config.directory)
    label_names.require_all(names, label_map(config), config.directory)
    return names


def _has_validation(config: Config) -> bool:
    return (console.path(config.directory) / "validation").is_dir()


def _prepare_folder(config: Config) -> None:
    for split in folder_splits(config):
        source = folder(config, split)
        # The header of a bad file may be unreadable, so `find_bad_files` reports the others later.
        if not config.skip_bad_files:
            report_sizes(source, split)


def report_sizes(source: FolderSource, split: str) -> None:
    """Logs a warning if label maps of a split have another size or shape than their photos."""
    outcomes: dict[photos.Relation, str] = {
        "resized": "another size than their photos, such as %s: they are resized to the nearest "
        "pixel",
        "misshapen": "another shape than their photos, such as %s: stretched to fit, they may not "
        "lie where the photo's regions are; make them from the photos as they are",
    }
    found = source.compare_sizes()
    for relation, outcome in outcomes.items():
        if names := found[relation]:
            count = len(names), len(source), split
            logging.warning(f"%d of %d label maps of %s have {outcome}", *count, names[0])


def _prepared(builder: tfds.core.DatasetBuilder, config: Config) -> tfds.core.DatasetBuilder:
    """Prepares a data set with its builder, from the user's download if it needs one.

    Raises:
      ValueError: it is to be in a bucket, and is not prepared there. Records cannot be written to a
        bucket.
    """
    if buckets.is_in_bucket(config.directory):
        if not (builder.data_path / _INFO).exists():
            raise ValueError(
                f"config.data.directory = {config.directory}: there is no {config.name} of this "
                "size, and it cannot be prepared in a bucket: prepare it in a folder with "
                "--config.data.directory=datasets, then copy it: gcloud storage cp -r datasets/"
                f"{builder.name} {config.directory.rstrip('/')}/"
            )
        return builder
    if not builder.data_path.exists():
        for leftover in builder.data_path.parent.glob("incomplete.*"):
            logging.warning("%s is left of a killed preparation: you can remove it", leftover)
    manual_dir = epath.Path(console.path(config.manual_dir)) if config.manual_dir else None
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(manual_dir=manual_dir)
    )
    return builder


def _directory(config: Config) -> epath.Path:
    return buckets.path(config.directory)


def _size_of_people(config: Config) -> str:
    sizes = {(c.height, c.width): c.name for c in SyntheticPeople.BUILDER_CONFIGS}
    size = (config.height, config.width)
    if size not in sizes:
        known = ", ".join(f"{height}×{width}" for height, width in sizes)
        raise ValueError(
            f"config.data.height, width = {size[0]}, {size[1]}: synthetic_people is drawn at "
            f"{known}: use one of these"
        )
    return sizes[size]


def _synthetic_people(config: Config) -> SyntheticPeople:
    return SyntheticPeople(config=_size_of_people(config), data_dir=_directory(config))


def _celeba_mask_hq(config: Config, labels: str) -> CelebaMaskHq:
    builder_config = celeba_mask_hq.config_for(config.height, config.width, labels)
    return CelebaMaskHq(config=builder_config, data_dir=_directory(config))


def _ade20k(config: Config) -> Ade20k:
    return Ade20k(data_dir=_directory(config))


def _ccp(config: Config) -> Ccp:
    builder_config = ccp.config_for(config.height, config.width)
    return Ccp(config=builder_config, data_dir=_directory(config))


def _pair(record: Mapping[str, Any], labels: LabelMap) -> Example:
    """Converts a record to an image and a label map with the model's labels."""
    name = record["id"].decode()
    image = record["image"]
    if isinstance(image, bytes):
        image = np.asarray(decoding.decode(io.BytesIO(image), pathlib.Path(name)))
    return {"image": image, "label": labels(_plane(record["label"]), f"the label map of {name}")}


def _transfer(record: Mapping[str, Any], labels: LabelMap) -> Example:
    """Converts a record of synthetic people to the transfer that it holds."""
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
    names: tuple[str, ...] = (),
    jpeg: bool = False,
    check: Callable[[Config], Any] = lambda config: None,
) -> Kind:
    """Returns the kind of data set that a TFDS builder prepares.

    Args:
      builder_of: returns the builder.
      num_labels: number of labels.
      has_validation: whether it has a validation split.
      names: the names of the labels, unless `label_orders` knows them.
      jpeg: whether its photos are kept as they are.
      check: see `Kind`.
    """
    # TFDS would decode photos with OpenCV where that is installed, and give other pixels.
    decoders = {"image": tfds.decode.SkipDecoding()} if jpeg else None

    def prepared(config: Config) -> tfds.core.DatasetBuilder:
        return _prepared(builder_of(config), config)

    def is_prepared(config: Config) -> bool:
        return (builder_of(config).data_path / _INFO).exists()

    def open_split(config: Config, split: str, skipped: Skipped) -> Source:
        records = prepared(config).as_data_source(split=split, decoders=decoders)
        return Mapped(records, functools.partial(_pair, labels=label_map(config)))

    def contents(config: Config, skipped: Skipped) -> str:
        return prepared(config).info.full_name  # with its version

    return Kind(
        prepared,
        is_prepared,
        open_split,
        lambda config: has_validation,
        check,
        num_labels,
        contents,
        lambda config: names,
    )


def _faces(labels: str) -> Kind:
    builder_of = functools.partial(_celeba_mask_hq, labels=labels)
    return _built(builder_of, len(celeba_mask_hq.LABELS))


KINDS = {
    "ade20k": _built(_ade20k, ade20k.NUM_LABELS, jpeg=True),
    "ccp": _built(_ccp, len(CCP), True),
    "celeba_mask_hq": _faces("official"),
    "celeba_mask_hq_sean": _faces("sean"),
    "folder": Kind(
        _prepare_folder,
        lambda config: console.path(config.directory).is_dir(),
        folder,
        _has_validation,
        lambda config: None,
        0,
        lambda config, skipped: folder(config, "train", skipped).contents(),
        _names_in_folder,
    ),
    "synthetic_people": _built(
        _synthetic_people,
        scenes.NUM_LABELS,
        has_validation=True,
        names=tuple(scenes.LABELS),
        check=_size_of_people,
    ),
}
