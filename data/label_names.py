"""Names of the label numbers in a folder of photos, from its file label_names.json."""

import json
import os
from collections.abc import Sequence
from typing import Any

from scam_jax import console
from scam_jax.inference.decoding import printable
from scam_jax.inference.label_map import LabelMap

FILE = "label_names.json"
_REMEDY = 'write a list such as ["background", "hair"], whose first name is that of number 0'


def read(directory: str | os.PathLike) -> tuple[str, ...]:
    """Returns the names of the numbers from 0 on, empty if the folder has no such file.

    Args:
      directory: the folder that contains the splits.

    Raises:
      ValueError: the file cannot be read or is no list of different names; names it.
    """
    file = console.path(os.fspath(directory)) / FILE
    if not file.exists():
        return ()
    try:
        names: Any = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{printable(file)} cannot be read ({error}): {_REMEDY}") from error
    fault = _fault(names)
    if fault:
        raise ValueError(f"{printable(file)} {fault}: {_REMEDY}")
    return tuple(printable(name.strip()) for name in names)


def require_all(names: Sequence[str], label_map: LabelMap, directory: str | os.PathLike) -> None:
    """Raises ValueError unless there are as many names as numbers, or a name for each label.

    A forgotten name would shift all that follow.

    Args:
      names: what `read` returned; empty if unknown.
      label_map: the map from numbers to labels.
      directory: the folder, for the error.
    """
    if not names:
        return
    file, count = printable(console.path(os.fspath(directory)) / FILE), label_map.num_labels
    may_name_ignored = not label_map.text.strip() and label_map.ignore_label == count
    if (highest := label_map.numbers.max()) >= len(names):
        raise ValueError(
            f"{file} names the numbers 0 … {len(names) - 1}, but {highest} has a label, too: name "
            "every number from 0 on, the background first"
        )
    if not label_map.text.strip() and len(names) > count + may_name_ignored:
        raise ValueError(
            f"{file} has {len(names)} names, but config.data.num_labels = {count}: set it to "
            f"{len(names)}, or remove the names of numbers that do not occur"
        )


def _fault(names: Any) -> str:
    if not isinstance(names, list) or not names or not all(isinstance(n, str) for n in names):
        return "is no list of names"
    stripped = [name.strip() for name in names]
    for name in stripped:
        if not name or name.isdigit():
            return f"has {name!r}, which is no name"
        if stripped.count(name) > 1:
            return f"has the name {name!r} more than once"
    return ""
