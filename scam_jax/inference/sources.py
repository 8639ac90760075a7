"""Whose latents each label takes in a transfer, and what stands in for labels that are absent.

The sources of a transfer are integers `[B, L]`: a label of the subject, or -1 for the target's own
latents of this label.

A subject may lack a label that the target shows, such as a coat. A rule says what stands in:

  guess              the model's latents without pixels, as published. Their colour is of chance.
  target             the latents of the target: the coat stays.
  outerwear<top      the subject's top for the coat, by name or number; the latents of the target if
                     the subject lacks both. Commas divide several: `outerwear<dress<top,dress<top`.
"""

import dataclasses
import difflib
from collections.abc import Collection, Mapping, Sequence

import numpy as np

GUESS, TARGET = "guess", "target"
# Labels to take from the subject, by number or name.
Labels = Sequence[int | str]


@dataclasses.dataclass(frozen=True)
class AbsentRule:
    """What stands in for labels that the subject lacks.

    Attributes:
      stand_ins: labels of the subject that stand in for a label, the first that it has.
      guess: whether the model's latents without pixels do, if nothing else does; otherwise the
        target's.
    """

    stand_ins: Mapping[int, Sequence[int]]
    guess: bool = False

    @classmethod
    def parse(cls, text: str, num_labels: int, names: Sequence[str] = ()) -> "AbsentRule":
        """Parses a rule, see the module's docstring.

        Raises:
          ValueError: the rule is wrong, or names a label that does not exist.
        """
        if text in (GUESS, TARGET):
            return cls({}, text == GUESS)
        stand_ins: dict[int, list[int]] = {}
        for part in text.split(","):
            label, *others = (find_label(name, num_labels, names) for name in part.split("<"))
            if not others:
                raise ValueError(
                    f"absent={text!r}: need {GUESS}, {TARGET} or LABEL<STAND-IN, such as 4<3"
                )
            if 0 in (label, *others):
                raise ValueError(f"absent={text!r}: label 0, the background, has no stand-in")
            stand_ins.setdefault(label, []).extend(others)
        return cls(stand_ins)


# The rule of the published figures.
PUBLISHED = AbsentRule({}, guess=True)
KEEP_TARGET = AbsentRule({})


def find_label(label: int | str, num_labels: int, names: Sequence[str] = ()) -> int:
    """Returns the number of a label.

    Args:
      label: its number or its name.
      num_labels: L.
      names: names of the labels, empty if unknown.

    Raises:
      ValueError: there is no such label.
    """
    text = str(label).strip()
    if text in names and not isinstance(label, int):
        return names.index(text)
    if not text.lstrip("-").isdigit():
        near = difflib.get_close_matches(text, names, 1)
        meant = f": did you mean {near[0]!r}?" if near else ""
        known = ", ".join(names) if names else f"numbers 0 … {num_labels - 1}"
        raise ValueError(f"there is no label {text!r}{meant or f': this model has {known}'}")
    if not 0 <= int(text) < num_labels:
        raise ValueError(f"there is no label {text}: this model has 0 … {num_labels - 1}")
    return int(text)


def taken(num_labels: int, labels: Labels | None, names: Sequence[str] = ()) -> np.ndarray:
    """Converts the labels to take from the subject to a mask, bool `[L]`.

    Args:
      num_labels: L.
      labels: labels to take from the subject, or None for all except the background.
      names: names of the labels, empty if unknown.

    Raises:
      ValueError: there is no such label.
    """
    chosen = range(1, num_labels) if labels is None else labels
    numbers = [find_label(label, num_labels, names) for label in chosen]
    return np.isin(np.arange(num_labels), numbers)


def published(taken: np.ndarray) -> np.ndarray:
    """Returns the sources of the published transfers, int32 `[1, L]`: the same for all images.

    Args:
      taken: bool `[L]`, whether a label takes its latents from the subject.
    """
    return np.where(taken, np.arange(len(taken)), -1)[None].astype(np.int32)


def find(taken: np.ndarray, subject_labels: np.ndarray, rule: AbsentRule) -> np.ndarray:
    """Returns the sources of a transfer.

    Args:
      taken: bool `[L]`, whether a label takes its latents from the subject.
      subject_labels: the subjects' labels, `[B, H, W]`.
      rule: what stands in for labels that a subject lacks.

    Returns:
      int32 `[B, L]`: a label of the subject, or -1 for the target's own latents.
    """
    own = np.arange(len(taken))
    here = np.stack([np.isin(own, labels) for labels in subject_labels])
    sources = np.where(here | rule.guess, own, -1)
    for label, others in rule.stand_ins.items():
        for other in reversed(others):
            sources[~here[:, label] & here[:, other], label] = other
    return np.where(taken, sources, -1).astype(np.int32)


def remarks(
    taken: np.ndarray,
    subject_labels: np.ndarray,
    target_labels: np.ndarray,
    rule: AbsentRule,
    names: Sequence[str] = (),
    giver: str = "subject",
    target_lacks: Collection[int] = (),
) -> list[str]:
    """Returns what a transfer cannot do for lack of labels, one sentence each.

    Args:
      taken: bool `[L]`, whether a label takes its latents from the subject.
      subject_labels: the subject's label map, `[H, W]`.
      target_labels: the label map of the picture, `[H, W]`: the target's, or a painted one.
      rule: what stands in for labels that the subject lacks.
      names: names of the labels, empty if unknown.
      giver: what to call the subject.
      target_lacks: labels of a painted label map that the target itself lacks.
    """
    count = len(taken)
    chosen = {*np.flatnonzero(taken).tolist()}
    has, shown = {*np.unique(subject_labels).tolist()}, {*np.unique(target_labels).tolist()}
    if not chosen & shown:
        return [
            "the target shows no label that is taken from the subject: the transfer has nothing of "
            "the subject"
        ]
    sources = find(taken, subject_labels[None], rule)[0]
    called = [*names] if len(names) == count else [f"label {i}" for i in range(count)]

    def remedy(label: int) -> str:
        source = sources[label]
        if source < 0:
            return "a guess stands in" if label in target_lacks else "the target's stays"
        return f"{'a guess' if source == label else f'its {called[source]}'} stands in"

    return [
        f"the {giver} has no {called[label]}, which the label map shows: {remedy(label)}"
        for label in sorted(chosen & shown - has)
    ]
