"""Opens the data set that `config.data` describes (see configs/common.py)."""

import functools
import hashlib
from collections.abc import Callable, Collection

import numpy as np
from absl import logging

from data import augment, kinds, label_names
from data.folder import FolderSource
from data.kinds import KINDS, Config, Skipped
from data.pipeline import Augment
from data.sources import Augmented, Mapped, Subset
from scam_jax import buckets, console
from scam_jax.examples import Example, Picture, Source
from scam_jax.inference import label_orders
from scam_jax.inference.fitting import FITTING, fit

SPLITS = ("train", "validation", "test")
# The authors train on the whole train split, and select checkpoints on the split that they report.
TRAIN_SPLITS = ("train", "authors_train")
# If a data set has no validation split, one in this many examples of train is held out for it.
HELD_OUT_EVERY = 20


def check(config: Config) -> None:
    """Checks the configuration of a data set, but not the contents of `config.directory`.

    Args:
      config: `config.data`.

    Raises:
      ValueError: a value is impossible; names the value and a remedy.
    """
    _require(config, "name", KINDS)
    _require(config, "augmentation", augment.TRAINING)
    _require(config, "train_split", TRAIN_SPLITS)
    if config.num_workers < 0:
        raise ValueError(f"config.data.num_workers = {config.num_workers}: use 0 or more")
    colors = kinds.label_colors(config)
    if colors and config.name != "folder":
        raise ValueError(
            f"config.data.colors = {config.colors!r}: only label maps in folders can have colours, "
            f"those of {config.name} have numbers: leave it empty"
        )
    num_labels = KINDS[config.name].num_labels
    if num_labels and not config.label_map and config.num_labels != num_labels:
        raise ValueError(
            f"{config.name} has {num_labels} labels: set config.data.num_labels = {num_labels}, "
            f"not {config.num_labels}, or merge labels with config.data.label_map"
        )
    if config.name != "folder" and config.skip_bad_files:
        raise ValueError(
            f"config.data.skip_bad_files = True: only folders can be used without their bad files; "
            f"{config.name} is either complete or not prepared"
        )
    if config.name == "folder" and buckets.is_in_bucket(config.directory):
        raise ValueError(
            f"config.data.directory = {config.directory}: photos in folders are read from a file "
            "system, not from a bucket: copy them to every host: gcloud storage cp -r "
            f"{config.directory.rstrip('/')} photos, and give --config.data.directory=photos"
        )
    if not config.directory:
        raise ValueError("config.data.directory is empty: say where the data is or should be put")
    KINDS[config.name].check(config)


def prepare(config: Config) -> None:
    """Draws or converts the data set if it is not prepared yet, and checks the user's files.

    An interrupted preparation starts again from the beginning. Only one process may prepare a
    directory at a time; the others must wait for it.

    Args:
      config: `config.data`.

    Raises:
      FileNotFoundError: files that the user provides are missing.
      ValueError: the configuration is impossible, or files are invalid.
    """
    check(config)
    if config.name == "folder" and not console.path(config.directory).is_dir():
        raise FileNotFoundError(
            f"config.data.directory = {config.directory}: there is no such folder; give "
            "--config.data.directory=DIR with the photos"
        )
    KINDS[config.name].prepare(config)


def load(config: Config, split: str, skipped: Skipped | None = None) -> Source:
    """Opens a split of a prepared data set, fitted for evaluation.

    Args:
      config: `config.data`.
      split: 'train', 'validation' or 'test'. Train does not include examples that are held out for
        validation. Validation may be empty if the data set is small.
      skipped: bad files to skip, from `find_bad_files`.

    Returns:
      Random access to `{'image': uint8 [height, width, 3], 'label': uint8 [height, width]}`.

    Raises:
      FileNotFoundError, ValueError: see `prepare`; also ValueError if there is no such split.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}; the splits are {', '.join(SPLITS)}")
    return Mapped(_open(config, split, skipped or {}), for_evaluation(config))


def load_for_training(config: Config, skipped: Skipped | None = None) -> tuple[Source, Augment]:
    """Opens the training examples, and returns them with their augmentation.

    Args:
      config: `config.data`. `train_split` says whether a part of the train split is held out for
        validation ('train') or not ('authors_train').
      skipped: bad files to skip, from `find_bad_files`.

    Returns:
      Random access to the examples, in their own sizes, and the augmentation, which gives them the
      size `[height, width]`. Both are arguments of `pipeline.train_batches`.

    Raises:
      FileNotFoundError, ValueError: see `prepare`.
    """
    source = _open(config, config.train_split, skipped or {})
    return source, _for_training(config)


def load_transfers(config: Config, split: str = "test") -> Source | None:
    """Opens the subject transfers of a split whose true result is known.

    Args:
      config: `config.data`.
      split: 'validation' or 'test'.

    Returns:
      Random access to examples with `subject_image`, `target_image` and `transfer_image`, uint8
      `[height, width, 3]`, and `subject_label` and `target_label`, uint8 `[height, width]`. The
      transfer image shows the subject in the target's pose and scene; its label map is the
      target's. None if the data set has no such transfers.

    Raises:
      FileNotFoundError, ValueError: see `prepare`.
    """
    check(config)
    return kinds.synthetic_transfers(config, split) if config.name == "synthetic_people" else None


def load_real(
    config: Config, *, augmented: bool, skipped: Skipped | None = None
) -> tuple[str, Source]:
    """Opens the real images to compare generated images with.

    Args:
      config: `config.data`.
      augmented: if True, the images are the whole train split, augmented once with a fixed seed, as
        the authors compare. If False, they are the training examples, fitted for evaluation.
      skipped: bad files to skip, from `find_bad_files`.

    Returns:
      A unique name of the images, usable as a file name; and random access to `{'image': uint8
      [height, width, 3], 'label': ...}`. The name consists of data set, split, augmentation, size
      and a digest of the set of images.

    Raises:
      FileNotFoundError, ValueError: see `prepare`.
    """
    skipped = skipped or {}
    split = "authors_train" if augmented else config.train_split
    opened = _open(config, split, skipped)
    source: Source
    if augmented:
        source = Augmented(opened, _for_training(config), seed=0)
        way = augment.TRAINING[config.augmentation].__name__
    else:
        source, way = Mapped(opened, for_evaluation(config)), FITTING[config.augmentation].__name__
    contents = KINDS[config.name].contents(config, skipped)
    digest = hashlib.sha256(f"{contents} {len(opened)}".encode()).hexdigest()[:12]
    size = f"{config.height}x{config.width}"
    return f"{config.name}_{split}_{way}_{size}_{digest}", source


def names_of_labels(config: Config) -> tuple[str, ...]:
    """Returns the names of the model's labels from 0 on, empty if unknown."""
    return label_orders.joined(_label_parts(config))


def _label_parts(config: Config) -> label_orders.Parts:
    label_map = kinds.label_map(config)
    if colors := kinds.label_colors(config):
        return colors.label_parts(label_map)
    return label_orders.parts_of(config.name, label_map, KINDS[config.name].label_names(config))


def training_data(config: Config) -> str:
    """Returns a digest of the training examples, without regard to skipped files.

    It changes with the photos, the label maps, the split, and which labels mirroring exchanges.

    Args:
      config: `config.data`.
    """
    kind = KINDS[config.name]
    # Without a split of its own, validation takes a part of these.
    contents = f"{kind.contents(config, {})} {kind.has_validation(config)}"
    if config.augmentation != "none":
        contents += f" {augment.mirrored_labels(_label_parts(config)).tolist()}"
    return hashlib.sha256(contents.encode()).hexdigest()[:16]


def _for_training(config: Config) -> Augment:
    parts = _label_parts(config)
    could_have_names = config.name == "folder" and config.num_labels > 2
    if not parts and could_have_names and config.augmentation != "none":
        logging.warning(
            "the labels have no names, so mirroring exchanges none: if some are left or right "
            "parts, name them in %s (docs/data.md)",
            config.get("colors") or f"{config.directory}/{label_names.FILE}",
        )
    return functools.partial(
        augment.TRAINING[config.augmentation],
        height=config.height,
        width=config.width,
        mirrored=augment.mirrored_labels(parts),
    )


def for_evaluation(config: Config) -> Callable[[Example], Example]:
    """Returns a function that fits examples of any size to the model's, see `fitting.fit`."""
    return functools.partial(_fitted, config=config)


def _fitted(example: Example, config: Config) -> Example:
    picture = fit(Picture.of(example), config)
    return {"image": picture.image, "label": picture.labels}


def find_bad_files(config: Config) -> dict[str, dict[str, str]]:
    """Reads every pair of a folder data set, and returns the unusable ones.

    Args:
      config: `config.data`.

    Returns:
      The fault of each unusable pair, keyed by split and then by the name of the pair.

    Raises:
      FileNotFoundError, ValueError: see `prepare`.
    """
    check(config)
    found = {}
    for split in kinds.folder_splits(config):
        source = kinds.folder(config, split)
        logging.info("reading all %d pairs of %s to find unreadable ones", len(source), split)
        found[split] = source.find_bad()
        if len(found[split]) < len(source):
            kinds.report_sizes(kinds.folder(config, split, found), split)
    return {split: bad for split, bad in found.items() if bad}


def _require(config: Config, key: str, choices: Collection[str]) -> None:
    if config[key] not in choices:
        raise ValueError(
            f"config.data.{key} = {config[key]!r}: use one of {', '.join(sorted(choices))}"
        )


def _open(config: Config, split: str, skipped: Skipped) -> Source:
    """Opens a split; 'authors_train' is the whole train split."""
    check(config)
    kind = KINDS[config.name]
    if split == "test" or (split == "validation" and kind.has_validation(config)):
        return kind.open(config, split, skipped)
    whole = kind.open(config, "train", skipped)
    if split == "authors_train" or kind.has_validation(config):
        return whole
    places = whole.places if isinstance(whole, FolderSource) else np.arange(len(whole))
    held_out = places % HELD_OUT_EVERY == HELD_OUT_EVERY - 1
    if split == "validation":
        is_held_out = config.train_split == "train"
        return Subset(whole, np.flatnonzero(held_out).tolist() if is_held_out else ())
    return Subset(whole, np.flatnonzero(~held_out).tolist())
