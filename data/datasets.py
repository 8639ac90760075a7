"""The data sets, as `config.data` of an experiment asks for them (see configs/common.py)."""

import functools
import hashlib
from collections.abc import Callable, Collection

from absl import logging

from data import augment, kinds
from data.kinds import KINDS, Config, Skipped
from data.pipeline import Augment
from data.sources import Augmented, Mapped, Subset
from scam_jax.examples import Example, Picture, Source
from scam_jax.inference import label_map as labels
from scam_jax.inference.fitting import FITTING, fit

SPLITS = ("train", "validation", "test")
# The authors train on the whole train split, and choose the checkpoint on the split they report.
TRAIN_SPLITS = ("train", "authors_train")
# Where a data set has no validation split, every so many-th example of train is held out for it.
HELD_OUT_EVERY = 20


def check(config: Config) -> None:
    """Checks every value of a data set's configuration, but for what is in `directory`.

    Raises:
        ValueError: names the value that is impossible, and what to do.
    """
    _require(config, "name", KINDS)
    _require(config, "augmentation", augment.TRAINING)
    _require(config, "train_split", TRAIN_SPLITS)
    if config.num_workers < 0:
        raise ValueError(f"config.data.num_workers = {config.num_workers}: use 0 or more")
    kinds.label_map(config)
    num_labels = KINDS[config.name].num_labels
    if num_labels and not config.label_map and config.num_labels != num_labels:
        raise ValueError(
            f"{config.name} has {num_labels} labels: set config.data.num_labels = {num_labels}, "
            f"not {config.num_labels}, or merge labels by config.data.label_map"
        )
    if config.name != "folder" and config.skip_bad_files:
        raise ValueError(
            f"config.data.skip_bad_files = True: only folders can be used without their bad files; "
            f"{config.name} is complete or not prepared at all"
        )
    if not config.directory:
        raise ValueError("config.data.directory is empty: say where the data lies, or is to be put")


def prepare(config: Config) -> None:
    """Makes sure that the data set is there: draws or converts it, checks what the user provides.

    Does nothing where the data is there already; what was interrupted is started afresh. Only one
    process may prepare a directory at a time; the others have to wait until it has.

    Args:
        config: the data set's configuration.

    Raises:
        FileNotFoundError: if files that the user provides are missing.
        ValueError: if the configuration names what there is not, or files are not as they must be.
    """
    check(config)
    KINDS[config.name].prepare(config)


def load(config: Config, split: str, skipped: Skipped | None = None) -> Source:
    """Opens a split of a prepared data set, in the form it is evaluated in.

    Args:
        config: the data set's configuration.
        split: 'train', 'validation' or 'test'. Train is without what is held out for validation;
            validation may hold no example if the data set is small.
        skipped: what `find_bad_files` found, to be left out.

    Returns:
        Random access to `{'image': uint8 [height, width, 3], 'label': uint8 [height, width]}`.

    Raises:
        FileNotFoundError, ValueError: as `prepare`; ValueError if there is no such split.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}; the splits are {', '.join(SPLITS)}")
    return Mapped(_open(config, split, skipped or {}), for_evaluation(config))


def load_for_training(config: Config, skipped: Skipped | None = None) -> tuple[Source, Augment]:
    """Opens what is trained on, and what is to be done to each example to train on it.

    Args:
        config: the data set's configuration; `train_split` says whether a validation part is held
            out ('train'), or the whole train split is trained on ('authors_train').
        skipped: what `find_bad_files` found, to be left out.

    Returns:
        Random access to the examples, at their own sizes, and the augmentation, which turns them to
        `[height, width]`; both for `pipeline.train_batches`.

    Raises:
        FileNotFoundError, ValueError: as `prepare`.
    """
    source = _open(config, config.train_split, skipped or {})
    function = augment.TRAINING[config.augmentation]
    return source, functools.partial(function, height=config.height, width=config.width)


def load_transfers(config: Config, split: str = "test") -> Source | None:
    """Opens the subject transfers of a split whose true result is known.

    Args:
        config: the data set's configuration.
        split: 'validation' or 'test'.

    Returns:
        Random access to `subject_image`, `target_image`, `transfer_image` (uint8
        `[height, width, 3]`), `subject_label` and `target_label` (uint8 `[height, width]`):
        `transfer_image` is the subject in the target's pose and scene, and its label map is the
        target's. None if the data set does not know any.

    Raises:
        FileNotFoundError, ValueError: as `prepare`.
    """
    check(config)
    return kinds.synthetic_transfers(config, split) if config.name == "synthetic_people" else None


def load_real(
    config: Config, *, augmented: bool, skipped: Skipped | None = None
) -> tuple[str, Source]:
    """Opens the images that generated ones are compared with, and a name that is theirs alone.

    Args:
        config: the data set's configuration.
        augmented: the whole train split with the augmentation of training, once and always the
            same, as the authors compare; or the train split, without what is held out, as it is.
        skipped: what `find_bad_files` found, to be left out.

    Returns:
        The name, that of a file: data set, split, augmentation, size, and a digest of which images
        these are. And random access to `{'image': uint8 [height, width, 3], 'label': ...}`.

    Raises:
        FileNotFoundError, ValueError: as `prepare`.
    """
    skipped = skipped or {}
    split = "authors_train" if augmented else config.train_split
    opened = _open(config, split, skipped)
    if augmented:
        function = augment.TRAINING[config.augmentation]
        sized = functools.partial(function, height=config.height, width=config.width)
        source = Augmented(opened, sized, seed=0)
    else:
        function = FITTING[config.augmentation]
        source = Mapped(opened, for_evaluation(config))
    contents = KINDS[config.name].contents(config, skipped)
    digest = hashlib.sha256(f"{contents} {len(opened)}".encode()).hexdigest()[:12]
    size = f"{config.height}x{config.width}"
    return f"{config.name}_{split}_{function.__name__}_{size}_{digest}", source


def label_names(config: Config) -> tuple[str, ...]:
    """Names of the model's labels from 0 on; none where they are not known."""
    if config.label_map == labels.BODY_FACE_BACKGROUND:
        return labels.BODY_FACE_BACKGROUND_NAMES
    return () if config.label_map else KINDS[config.name].label_names


def for_evaluation(config: Config) -> Callable[[Example], Example]:
    """A function that fits an example of any size to the model's, see `fitting.fit`."""
    return functools.partial(_fitted, config=config)


def _fitted(example: Example, config: Config) -> Example:
    picture = fit(Picture.of(example), config)
    return {"image": picture.image, "label": picture.labels}


def find_bad_files(config: Config) -> dict[str, dict[str, str]]:
    """Reads every pair of a folder data set; returns what is wrong with those that are unusable.

    Raises:
        FileNotFoundError, ValueError: as `prepare`.
    """
    check(config)
    found = {}
    for split in kinds.folder_splits(config):
        source = kinds.folder(config, split)
        logging.info("reading all %d pairs of %s to find those that cannot be", len(source), split)
        found[split] = source.find_bad()
        if len(found[split]) < len(source):
            kinds.report_resized(kinds.folder(config, split, found), split)
    return {split: bad for split, bad in found.items() if bad}


def _require(config: Config, key: str, choices: Collection[str]) -> None:
    if config[key] not in choices:
        raise ValueError(
            f"config.data.{key} = {config[key]!r}: use one of {', '.join(sorted(choices))}"
        )


def _open(config: Config, split: str, skipped: Skipped) -> Source:
    """Opens a split, 'authors_train' being the whole of train."""
    check(config)
    kind = KINDS[config.name]
    if split == "test" or (split == "validation" and kind.has_validation(config)):
        return kind.open(config, split, skipped)
    whole = kind.open(config, "train", skipped)
    if split == "authors_train" or kind.has_validation(config):
        return whole
    held_out = range(HELD_OUT_EVERY - 1, len(whole), HELD_OUT_EVERY)
    if split == "validation":
        return Subset(whole, held_out if config.train_split == "train" else ())
    return Subset(whole, [i for i in range(len(whole)) if i not in held_out])
