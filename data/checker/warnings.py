"""Warnings about things that are allowed but probably not meant."""

import itertools
import shlex
from collections.abc import Collection, Iterator

import numpy as np

from data.checker.report import Split
from data.folder import first_names
from scam_jax.inference.label_colors import LabelColors
from scam_jax.inference.label_map import LabelMap

_MAX_RENUMBERED = 32


def warnings_of(
    splits: dict[str, Split], label_map: LabelMap, colors: LabelColors | None
) -> Iterator[str]:
    """Yields the warnings about all splits.

    Args:
      splits: the splits, keyed by name.
      label_map: the label map that was applied.
      colors: the colours of the label numbers, or None.
    """
    yield from _sizes(splits)
    yield from _transparency(splits)
    yield from _leaks(splits)
    yield from _labels(splits, label_map, colors)


def _sizes(splits: dict[str, Split]) -> Iterator[str]:
    for name, split in splits.items():
        if split.misshapen:
            yield (
                f"{len(split.misshapen)} of {split.num_pairs} label maps of {name} have another "
                f"SHAPE than their photos ({first_names(split.misshapen)}): stretched to fit, they "
                "may not lie where the photo's regions are; make them from the photos as they are"
            )
        if split.resized:
            yield (
                f"{len(split.resized)} of {split.num_pairs} label maps of {name} have another size "
                f"than their photos ({first_names(split.resized)}): they are resized, nearest"
            )


def _transparency(splits: dict[str, Split]) -> Iterator[str]:
    for name, split in splits.items():
        if found := split.transparent:
            pixels = [f"{photo}: {count} pixels" for photo, count in found.items()]
            yield (
                f"{len(found)} of {split.num_pairs} photos of {name} have transparent pixels "
                f"({first_names(pixels)}): they are read as on white; if that is not meant, save "
                "the photos without transparency"
            )


def _leaks(splits: dict[str, Split]) -> Iterator[str]:
    for (first, one), (second, other) in itertools.combinations(splits.items(), 2):
        photos = {digest: photo for photo, digest in one.digests.items()}
        digests = other.digests.items()
        same = [f"{second}'s {p} is {first}'s {photos[d]}" for p, d in digests if d in photos]
        if same:
            yield (
                f"byte for byte in {first} too: {_photos(len(same))} of {second} "
                f"({first_names(same)}); remove from either, or the figures of {second} flatter "
                "the model"
            )
    photos = {}
    same = []
    for photo, digest in splits["train"].digests.items():
        if (original := photos.setdefault(digest, photo)) != photo:
            same.append(f"{photo} is {original}")
    if same:
        warning = f"byte for byte twice in train: {_photos(len(same))} ({first_names(same)})"
        if "validation" not in splits:
            warning += "; validation is taken out of train, and may get one of the two: remove one"
        yield warning


def _photos(count: int) -> str:
    return "1 photo" if count == 1 else f"{count} photos"


def _labels(
    splits: dict[str, Split], label_map: LabelMap, colors: LabelColors | None
) -> Iterator[str]:
    occurring = {name: set(np.flatnonzero(split.pixels).tolist()) for name, split in splits.items()}
    for name, labels in occurring.items():
        unseen = labels - occurring["train"]
        if unseen:
            yield f"in {name} but never in train, where they could be learned: {_ranges(unseen)}"
    everywhere = set().union(*occurring.values())
    numbers_are_labels = not label_map.text and colors is None
    if everywhere == {0, 255} and numbers_are_labels:
        flags = label_flags(LabelMap("0|255", 2))
        yield f"the only values are 0 and 255: make them labels 0 and 1 with {flags}"
        return
    if 0 not in everywhere and everywhere:
        yield "label 0, which is the background, does not occur"
    # Label 0 keeps its number whether it occurs or not.
    kept = sorted(everywhere | {0})
    missing = set(range(label_map.num_labels)) - {*kept}
    if missing and everywhere:
        warning = f"never used, of labels 0–{label_map.num_labels - 1}: {_ranges(missing)}"
        # Pairs with faults may contain the missing labels.
        complete = not any(split.faults for split in splits.values())
        if complete and numbers_are_labels and len(kept) <= _MAX_RENUMBERED:
            text = "|".join("" if n == label_map.ignore_label else str(n) for n in kept)
            flags = label_flags(LabelMap(text, len(kept), label_map.ignore_label))
            warning += f"; leave them out with {flags}"
        yield warning


def label_flags(label_map: LabelMap, colors: LabelColors | None = None) -> str:
    """Returns the flags of main.py that say how label maps are read."""
    flags = [f"--config.data.colors={shlex.quote(colors.file)}"] if colors else []
    if label_map.text:
        flags.append(f"--config.data.label_map={shlex.quote(label_map.text)}")
    if label_map.ignores:
        flags.append(f"--config.data.ignore_label={label_map.ignore_label}")
    return " ".join([*flags, f"--config.data.num_labels={label_map.num_labels}"])


def _ranges(labels: Collection[int]) -> str:
    """Formats label numbers, such as 'labels 2–4, 7'."""
    starts = sorted(label for label in labels if label - 1 not in labels)
    ends = sorted(label for label in labels if label + 1 not in labels)
    runs = (f"{a}–{b}" if a < b else str(a) for a, b in zip(starts, ends, strict=True))
    return f"label{'s' * (len(labels) > 1)} {', '.join(runs)}"
